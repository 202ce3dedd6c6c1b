"""What an order would do and cost; and what it needs before it can be one."""

import os
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from dpin.base.errors import Misuse, OverBudget
from dpin.base.ids import NO_DIGEST, NodeId, Round
from dpin.base.units import MicroTokens
from dpin.ledger.accounts import Account
from dpin.ledger.transactions import Credit, Register
from dpin.ledger.wishes import Wish
from dpin.market.orders import InferOrder, TrainOrder
from dpin.node.jobfile import read_job
from dpin.node.planning import check_output, check_price, order_of, plan_of
from dpin.node.status import PeerView
from dpin.node.trying import Tried
from tests.support.alone import Alone
from tests.support.market import BUDGET, infer_order, train_order

TRAIN = "type: train\ndata: {path: corpus}\n"
INFER = "type: inference\nmodel: model\nprompt: hello\n"
CONFIG = '{"model": {"layers": 2, "heads": 4, "width": 64, "context": 32}}'
PROVIDES = Register("p", "cpu", 8 * 10**9, NO_DIGEST, True, NO_DIGEST, Round(0))
PROVIDER = PeerView("00", "p", "", True, True, "cpu", True, 0, 0, 0, 0, "")


async def test_paths_of_a_job_file_are_those_beside_it(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    order = await order_of(read_job(TRAIN), str(tmp_path), "mine")
    assert isinstance(order, TrainOrder)
    assert (order.corpus, order.output) == (str(tmp_path / "corpus"), str(tmp_path / "out"))
    assert order.name == "mine"


async def test_data_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"data\.path: there is no"):
        await order_of(read_job(TRAIN), str(tmp_path), "")


async def test_noise_that_does_not_last_is_refused_before_anything_is_proposed(
    tmp_path: Path,
) -> None:
    (tmp_path / "corpus").mkdir()
    noise = "privacy: {mode: dp, noise: 4}\nargs: {rounds: "
    await order_of(read_job(f"{TRAIN}{noise}50}}\n"), str(tmp_path), "")
    with pytest.raises(Misuse, match=r"100 rounds spend an epsilon of 14\.1") as caught:
        await order_of(read_job(f"{TRAIN}{noise}100}}\n"), str(tmp_path), "")
    assert caught.value.fix.startswith("args.rounds: ")


async def test_a_model_folder_needs_its_two_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in (("model.safetensors", "x"), ("config.json", CONFIG)):
        with pytest.raises(Misuse, match=f"is not a model directory: it has no {name}"):
            await order_of(read_job(INFER), str(tmp_path), "")
        (folder / name).write_text(content)
    order = await order_of(read_job(INFER), str(tmp_path), "")
    assert isinstance(order, InferOrder)
    assert order.model_file == str(folder / "model.safetensors")


def test_a_plan_costs_no_more_than_the_budget() -> None:
    node = Alone()
    plan = plan_of(Tried(train_order(seats=1, rounds=3)), node.peer, [PROVIDER])
    assert (plan.kind, plan.seats, plan.rounds, plan.steps) == ("train", 1, 3, 40)
    assert 0 < plan.cost_max <= BUDGET
    assert plan.parameters > 0
    assert plan.warnings == []


def test_a_plan_of_a_generation_is_one_unit() -> None:
    plan = plan_of(Tried(infer_order()), Alone().peer, [PROVIDER])
    assert (plan.kind, plan.seats, plan.rounds, plan.windows) == ("inference", 1, 1, 1)


def test_a_plan_warns_of_what_would_keep_it_from_running() -> None:
    node = Alone()
    dear = msgspec.structs.replace(train_order(seats=2), budget=MicroTokens(10**14))
    assert plan_of(Tried(dear), node.peer, [PROVIDER]).warnings == [
        "2 seats, but 1 provider known",
        "limits.cost is more than the balance",
    ]
    cheap = msgspec.structs.replace(train_order(), budget=MicroTokens(1))
    [warning] = plan_of(Tried(cheap), node.peer, [PROVIDER]).warnings
    assert warning.startswith("limits.cost leaves 0 for a unit, and most providers ask 1: ")
    needed = MicroTokens(int(Decimal(warning.rpartition(" ")[2]) * 10**6))
    enough = msgspec.structs.replace(cheap, budget=needed)
    assert plan_of(Tried(enough), node.peer, [PROVIDER]).warnings == []
    short = msgspec.structs.replace(cheap, budget=MicroTokens(needed - 1))
    assert len(plan_of(Tried(short), node.peer, [PROVIDER]).warnings) == 1


def test_a_plan_warns_of_more_memory_than_any_provider_has() -> None:
    peer = Alone().peer
    other = NodeId(b"\1" * 32)
    peer.state.accounts[other] = Account(registration=PROVIDES)
    asked = msgspec.structs.replace(train_order(), memory_bytes=500 * 10**9)
    [warning] = plan_of(Tried(asked), peer, [PROVIDER]).warnings
    assert warning.startswith("resources.memory asks for 500.0GB, and no provider known has more ")
    fitting = msgspec.structs.replace(train_order(), memory_bytes=8 * 10**9)
    assert plan_of(Tried(fitting), peer, [PROVIDER]).warnings == []


def test_a_job_that_cannot_pay_for_a_unit_is_refused_before_it_begins() -> None:
    node = Alone()
    check_price(train_order(), node.peer)
    for order in (train_order(), infer_order()):
        with pytest.raises(OverBudget, match="cannot pay for"):
            check_price(msgspec.structs.replace(order, budget=MicroTokens(0)), node.peer)


def test_credit_counts_where_a_job_is_paid() -> None:
    node = Alone()
    grant = node.genesis.params.founder_grant
    gift = Credit(node.key.node_id, MicroTokens(grant - 1), b"")
    node.step(Wish("credit", gift))
    node.wait(2)
    account = node.peer.state.accounts[node.key.node_id]
    assert (account.free, account.credit) == (1, grant - 1)
    plan = plan_of(Tried(train_order(seats=1, rounds=3)), node.peer, [PROVIDER])
    assert (plan.balance, plan.warnings) == (grant, [])


@pytest.mark.parametrize("output", ["notes/file/out", "notes/file"])
async def test_a_place_where_no_result_can_lie_is_refused_before_anything_is_paid(
    tmp_path: Path, output: str
) -> None:
    (tmp_path / "notes").mkdir()
    for name in ("notes/file", "corpus"):
        (tmp_path / name).write_text("text")
    with pytest.raises(Misuse, match=r"output: .*/notes/file is no folder"):
        await order_of(read_job(f"{TRAIN}output: {output}\n"), str(tmp_path), "")


def test_a_folder_of_somebody_else_is_refused_for_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_output(tmp_path / "new" / "folder")
    monkeypatch.setattr(os, "access", lambda path, _rights: path != tmp_path)
    with pytest.raises(Misuse, match="may not write") as caught:
        check_output(tmp_path / "new" / "folder")
    assert str(tmp_path) in str(caught.value)
    assert "let the user" in caught.value.fix


def test_a_place_where_even_root_makes_no_folder_is_refused_and_a_good_one_left_as_it_was(
    tmp_path: Path,
) -> None:
    check_output(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Misuse, match=r"output: .*/proc") as caught:
        check_output(Path("/proc/x"))
    assert "name another folder" in caught.value.fix
