"""Whole jobs in which simulated nodes really train: memory that ends, and an audit from outside."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from dpin.base.ids import Round
from dpin.cli.app import run
from dpin.cli.auditing import blob_in
from dpin.cli.exits import ExitCode
from dpin.cli.recount import DIFFERS, SAME, Plan, Told, judge, plan
from dpin.compute.door import Door
from dpin.compute.executor import Disk
from dpin.compute.reporting import Progress
from dpin.compute.session import Session
from dpin.compute.task import Report
from dpin.ledger.accounts import UnitState
from dpin.market.messages import Reason
from dpin.node.descents import descent_of
from tests.support.ledger_logs import home_of, write_segment
from tests.support.realworks import Played, order, play, real

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as on Linux")

SHORT, SHORT_FROM = 1, Round(2)  # whom memory ends for, the cheapest, and in which round
SEATS = 3


@pytest.fixture(scope="module")
def played() -> Played:
    """One of three providers runs out of memory in the third round of four."""
    found = play(order(SEATS), {SHORT: real(SHORT_FROM)})
    assert found.outcome.problems == []
    return found


def test_who_runs_out_of_memory_leaves_with_the_reason_paid_for_what_it_did(
    played: Played,
) -> None:
    works = played.works
    peer, short = works.node(0).peer, works.nodes[SHORT]
    job, state = works.job(), peer.state
    [lease] = [one for one in job.leases if state.leases[one].provider == short]
    units = [state.units.get((lease, record.round)) for record in job.rounds]
    paid = [unit is not None and unit.state == UnitState.PAID for unit in units]
    assert paid == [True, True, False, False]
    assert not works.slashed()
    said = played.own.supply.declines[short]
    assert said.code == Reason.FAULTY
    assert said.detail.startswith("training: out of memory on this machine: ")
    taken = [len(record.included) for record in job.rounds]
    assert taken[:2] == [SEATS, SEATS]
    assert min(taken[2:]) >= SEATS - 1  # The run goes on with those that are left.
    assert state.leases[lease].stopped


@pytest.fixture(scope="module")
def archive(played: Played, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger that the requester has seen, exported from its log; its home is gone."""
    folder = tmp_path_factory.mktemp("archive")
    home = home_of(folder / "home", played.works.founding.genesis)
    write_segment(home, 1, played.written.records[played.works.nodes[0]])
    assert run(["ledger", "export", str(folder / "town.dpin"), "--home", str(home.root)]) == 0
    shutil.rmtree(home.root)
    return folder / "town.dpin"


@pytest.fixture
def stranger(
    played: Played, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where nobody has a node: the archive, the job's blobs and what its requester published."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DPIN_HOME", raising=False)
    for name in ("blobs", "result"):
        (tmp_path / name).mkdir()
    shelf = played.works.depot.shelf(played.works.nodes[0])
    for blob, data in shelf.blobs.items():
        (tmp_path / "blobs" / blob.hex()).write_bytes(data)
    for path in played.own.output_files:
        (tmp_path / "result" / Path(path).name).write_bytes(shelf.files[path])
    shutil.copy(archive, tmp_path / "town.dpin")
    return tmp_path


def audited(played: Played, folder: Path) -> int:
    """`dpin audit` with files alone; its exit status."""
    places = {"--ledger": "town.dpin", "--blobs": "blobs", "--result": "result"}
    words = [word for name, place in places.items() for word in (name, str(folder / place))]
    return run(["audit", played.works.job().id.hex(), *words, "--replay", "--json"])


def test_somebody_without_a_node_finds_states_and_scores_again(
    played: Played, stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in stranger.iterdir()}
    assert audited(played, stranger) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verified"], found["same_class"], found["problems"]) == (True, True, [])
    assert [one["state"] for one in found["rounds"]] == ["same"] * 4
    assert [len(one["scores"]) for one in found["rounds"]] == [
        len(record.included) for record in played.works.job().rounds
    ]
    units = [one["units"] for one in found["rounds"]]
    assert [len(one) for one in units] == [len(one["scores"]) for one in found["rounds"]]
    assert {unit["state"] for one in units for unit in one} == {"same"}
    requester = played.works.nodes[0].hex()
    assert [one["signed"] for one in found["rounds"]] == [{requester: "same"}] * 4
    assert {path.name for path in stranger.iterdir()} == before  # No home of a node was made.


def done_here(made: Plan) -> list[Report]:
    """What a worker in this process finds."""
    reports: list[Report] = []
    session = Session(Door(Disk(), lambda: 0, reports.append, lambda: None))
    for command in made.commands:
        session.run(command)
    return [report for report in reports if not isinstance(report, Progress)]


def test_an_update_that_its_work_does_not_give_is_named(
    played: Played, stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stranger)
    view = descent_of(played.works.node(0).peer.state, played.works.job().id.hex())
    one, other, honest = view.rounds[0].taken
    swapped = [replace(one, update=other.update), replace(other, update=one.update), honest]
    told = replace(view, rounds=[replace(view.rounds[0], taken=swapped)])
    made = plan(told, partial(blob_in, stranger / "blobs"), 1, replay=True)
    verdict = judge(made, done_here(made), Told())
    [units] = [redone.units for redone in verdict.rounds]
    found = {provider: state for _, provider, state in units}
    assert found == {one.provider: DIFFERS, other.provider: DIFFERS, honest.provider: SAME}
    named = [text for text in verdict.problems if "is not what its work gives here" in text]
    assert len(named) == 2


def test_a_blob_that_is_not_what_the_ledger_names_ends_an_audit(
    played: Played, stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (included.update.hex() for included in played.works.job().rounds[1].included[:2])
    shutil.copy(stranger / "blobs" / one, stranger / "blobs" / other)
    assert audited(played, stranger) == ExitCode.NOT_VERIFIED
    assert f"{other} is another blob" in capsys.readouterr().err
    (stranger / "blobs" / other).unlink()
    assert audited(played, stranger) == ExitCode.NOT_FOUND
    assert f"blob {other} is not in" in capsys.readouterr().err
