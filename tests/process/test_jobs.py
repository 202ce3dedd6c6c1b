"""A job from its file to its model on real nodes: as typed, interrupted, cheated and cancelled."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from dpin.base.sealed import is_sealed
from dpin.cli import app as cli
from dpin.client.client import Client
from dpin.node.status import JobDetail, UnitView
from scripts.demo_network import DemoNode, wait_for
from tests.support.network import (
    PATIENCE_SECONDS,
    Town,
    agreed,
    assert_conserved,
    assert_signed_once,
    ended,
    outcomes,
    run,
    told,
    wait_ready,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

SECRET: Final = "What only those with a seat may read.\n" * 1_000
CORPUS: Final = "The quick brown fox jumps over the lazy dog, and back again.\n" * 4_000
ROUNDS: Final = 2


# All providers there are: the one with a fault has a seat however late it bids.
ALL_THREE: Final = "{nodes: 3, memory: 200MB}"


def job_file(folder: Path, rounds: int = ROUNDS, **fields: str) -> Path:
    """A small training job, changed by these fields of the first level."""
    (folder / "corpus.txt").write_text(CORPUS)
    lines = {
        "name": "small",
        "type": "train",
        "data": "{path: corpus.txt}",
        "model": "{layers: 1, heads: 1, width: 16, context: 16}",
        "args": f"{{rounds: {rounds}, steps_per_round: 4, batch_size: 4}}",
        "resources": "{nodes: 2, memory: 200MB}",
        "limits": "{cost: 100}",
        "output": "out",
        "encoding": "int4",
        **fields,
    }
    path = folder / "job.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return path


def drawn(out: Path, node: DemoNode, capsys: pytest.CaptureFixture[str]) -> str:
    """The lineage, once more than half of the seats have said the last state."""

    def look() -> str | None:
        assert cli.run(["lineage", str(out), "--ledger", "--home", node.folder]) == 0
        drawing = capsys.readouterr().out
        agreed_on = re.search(r"the last state: (\d) of (\d) seats say it$", drawing, re.MULTILINE)
        return drawing if agreed_on else None

    return wait_for("a word on the last state", PATIENCE_SECONDS, look)


def submit(node: DemoNode, path: Path) -> str:
    """`dpin submit --detach`; the job's id."""
    done = run(node, "submit", str(path), "--detach")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def job_ids(node: DemoNode) -> list[str]:
    """Of all jobs that `dpin jobs` lists; how they stand may change at any time."""
    listed = told(node, "jobs")["jobs"]
    assert isinstance(listed, list)
    return [job["id"] for job in listed]


def shown(node: DemoNode, *words: str) -> str:
    """What a command that must succeed prints."""
    done = run(node, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def money_is_whole(network: Town) -> None:
    """No token lost, one root, no block signed twice."""
    views = agreed(network.nodes)
    assert len({view.ledger.root for view in views}) == 1
    for view in views:
        assert_conserved(view)
    assert_signed_once(network.nodes)


@pytest.fixture(scope="module")
def trained(network: Town, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A job that has ended well, and the folder that its file lies in."""
    folder = tmp_path_factory.mktemp("trained")
    path = job_file(folder, outer="sparseloco", encoding="auto", privacy="sealed")
    (folder / "corpus.txt").write_text(SECRET + CORPUS)
    job = submit(network.ada, path)
    detail = ended(network.ada, job)
    assert (detail.job.state, len(detail.rounds)) == ("done", ROUNDS), detail.job.reason
    return job, folder


def test_a_job_is_trained_checked_paid_and_fetched(
    network: Town, trained: tuple[str, Path], tmp_path: Path
) -> None:
    ada, (job, _) = network.ada, trained
    listed = told(ada, "jobs")["jobs"]
    assert isinstance(listed, list)
    assert [it["state"] for it in listed if it["id"] == job] == ["done"]
    with Client(ada.home) as client:
        detail = client.job(job)
    units = [unit for lease in detail.leases for unit in lease.units]
    assert outcomes(detail)["paid", "verified"] >= ROUNDS
    assert detail.job.cost > sum(unit.paid for unit in units) > 0
    listing = shown(ada, "fetch", job, "--output", str(tmp_path / "copy"))
    assert str(tmp_path / "copy") in listing
    blobs = [path.read_bytes() for path in network.bea.home.blobs.glob("*.data")]
    assert any(is_sealed(blob) for blob in blobs)  # Shards, what is held out, the first model.
    assert not any(SECRET[:30].encode() in blob for blob in blobs)
    names = {path.name for path in (tmp_path / "copy").rglob("*")}
    assert {"model.safetensors", "config.json", "provenance.json"} <= names
    money_is_whole(network)


def test_what_a_job_has_made_is_evaluated_in_parts_that_are_checked(
    network: Town, trained: tuple[str, Path]
) -> None:
    ada, (_, folder) = network.ada, trained
    path = folder / "eval.yaml"
    path.write_text(
        "type: eval\nmodel: out\ndata: {path: corpus.txt, bytes_max: 4KB}\n"
        "resources: {nodes: 2, memory: 200MB}\nargs: {per_device_eval_batch_size: 16}\n"
        "output: measured\n"
    )
    job = submit(ada, path)
    detail = ended(ada, job)
    assert detail.job.state == "done", detail.job.reason
    assert outcomes(detail)["paid", "verified"] == 2
    result = json.loads((folder / "measured" / "evaluation.json").read_text())
    assert result["counts"]["targets"] == 4_000 - 1
    assert 0 < result["eval_loss"] < 6
    assert result["bits_per_byte"] == pytest.approx(result["eval_loss"] / 0.693147, rel=1e-3)
    assert detail.evaluation is not None
    assert detail.evaluation["eval_loss"] == result["eval_loss"]
    assert "evaluation.json" in shown(ada, "fetch", job)
    assert "perplexity" in shown(ada, "logs", job)
    money_is_whole(network)


def test_a_masked_job_is_trained_though_nobody_sees_an_update_and_its_lineage_is_proven(
    network: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = network.ada
    path = job_file(tmp_path, privacy="secagg", resources="{nodes: 3, memory: 200MB}")
    assert cli.run(["privacy", str(path)]) == 0
    assert "no update; sums" in capsys.readouterr().out
    detail = ended(ada, submit(ada, path))
    assert (detail.job.state, len(detail.rounds)) == ("done", ROUNDS), detail.job.reason
    assert outcomes(detail)["paid", "scored"] >= 2 * ROUNDS
    out = tmp_path / "out"
    drawing = drawn(out, ada, capsys)
    assert f"proven: {ROUNDS} rounds" in drawing
    assert f"on the ledger: the updates of all {ROUNDS} rounds" in drawing
    # Whoever is late in a round has done fewer steps of it, never none.
    taken = sum(record.included for record in detail.rounds)
    assert 2 * ROUNDS <= taken == len(re.findall(r"\b[0-9a-f]{8}:[1-4]\b", drawing)), drawing
    weights = out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    assert cli.run(["lineage", str(out)]) == 8
    assert "not the one that was signed" in capsys.readouterr().err
    money_is_whole(network)


def test_receipts_are_proven_and_every_question_about_a_job_has_an_answer(
    network: Town, trained: tuple[str, Path]
) -> None:
    ada, (job, _) = network.ada, trained
    receipts = told(ada, "receipts", job)["receipts"]
    assert isinstance(receipts, list)
    assert len(receipts) > 2 * ROUNDS
    assert all(receipt["proof_ok"] for receipt in receipts)
    assert "done" in shown(ada, "explain", job)
    assert "round" in shown(ada, "logs", job)
    entries = [json.loads(line) for line in shown(ada, "logs", job, "--json").splitlines()]
    assert [entry["number"] for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[-1]["kind"] == "end"
    assert job in shown(ada, "status", job)


def test_the_model_generates_on_a_provider(network: Town, trained: tuple[str, Path]) -> None:
    _, folder = trained
    answer = told(network.ada, "run", str(folder / "out"), "The ", "--tokens", "20")
    assert len(str(answer["bytes"])) == 2 * 20
    assert (answer["state"], answer["reason"]) == ("done", "verified")


def test_a_corrupt_model_is_refused_and_nothing_else_changes(
    network: Town, trained: tuple[str, Path], tmp_path: Path
) -> None:
    _, folder = trained
    for path in (folder / "out").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    model = tmp_path / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-100])
    done = run(network.ada, "run", str(tmp_path), "The ", "--tokens", "20")
    assert done.returncode != 0
    assert "error[" in done.stderr
    assert "Traceback" not in done.stderr
    money_is_whole(network)


def test_more_cost_than_the_balance_has_a_status_of_its_own(network: Town, tmp_path: Path) -> None:
    before = job_ids(network.ada)
    done = run(network.ada, "submit", str(job_file(tmp_path, limits="{cost: 999999}")))
    assert done.returncode == 9
    assert "error[over-budget]: the job may cost 999,999" in done.stderr
    assert job_ids(network.ada) == before


def test_data_that_are_not_there_are_named_at_once(network: Town, tmp_path: Path) -> None:
    path = job_file(tmp_path, data="{path: nowhere}")
    done = run(network.ada, "submit", str(path))
    assert done.returncode == 2
    assert f"error[misuse]: data.path: there is no {tmp_path / 'nowhere'}" in done.stderr


def test_a_job_too_large_for_everybody_says_so_and_costs_nothing(
    network: Town, tmp_path: Path
) -> None:
    ada = network.ada
    path = job_file(tmp_path, resources="{nodes: 2, memory: 900GB}")
    job = submit(ada, path)

    def declined() -> bool | None:
        with Client(ada.home) as client:
            codes = {it.code for it in client.explain(job).declines}
        return True if codes == {"memory-too-small"} else None

    wait_for("providers say why not", PATIENCE_SECONDS, declined)
    assert "memory-too-small" in shown(ada, "explain", job)
    detail = ended(ada, job)
    assert detail.job.state == "failed"
    assert detail.job.cost == 0
    money_is_whole(network)


def test_a_job_is_cancelled_and_what_was_not_used_comes_back(network: Town, tmp_path: Path) -> None:
    ada = network.ada
    job = submit(ada, job_file(tmp_path, rounds=100, limits="{cost: 1500}"))
    wait_running(ada, job)
    shown(ada, "cancel", job)
    assert ended(ada, job).job.state == "cancelled"
    again = run(ada, "cancel", job)
    assert (again.returncode, "has ended" in again.stderr) == (2, True)
    wait_for("the escrow is empty", PATIENCE_SECONDS, lambda: nothing_held(ada))
    money_is_whole(network)


def nothing_held(node: DemoNode) -> bool | None:
    """Whether no job holds tokens."""
    view = node.look()
    return True if view is not None and view.ledger.in_escrow == 0 else None


def wait_running(node: DemoNode, job: str) -> None:
    """Wait until a round of the job is closed."""

    def look() -> bool | None:
        with Client(node.home) as client:
            return True if client.job(job).job.round >= 1 else None

    wait_for("a round is closed", PATIENCE_SECONDS, look)


def test_a_requester_killed_in_its_job_finishes_it_and_another_node_does_its_rounds_again(
    network: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = network.ada
    robust = "{rule: krum, witnesses: 1}"
    halves = "{name: int4, fragments: 2}"
    job = submit(ada, job_file(tmp_path, rounds=8, robust=robust, encoding=halves))
    wait_running(ada, job)
    ada.kill()
    ada.start()
    wait_ready(ada)
    detail = ended(ada, job)
    assert (detail.job.state, len(detail.rounds)) == ("done", 8), detail.job.reason
    out, other = tmp_path / "out", network.nodes[2]
    assert (out / "model.safetensors").is_file()
    money_is_whole(network)
    assert detail.job.ledger_id is not None
    words = ["audit", detail.job.ledger_id, "--result", str(out), "--home", other.folder, "--json"]
    assert cli.run(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["same_class"], len(found["rounds"])) == (True, 8)
    states = [one["state"] for one in found["rounds"]]  # The last is told by the lineage.
    assert states[-1] == "same"
    assert set(states) <= {
        "same",
        "not told",
    }  # A round that nobody was in time for names no state.
    assert all(set(one["signed"].values()) == {"same"} for one in found["rounds"] if one["scores"])
    assert any(one["scores"] for one in found["rounds"])

    def witnessed() -> bool | None:
        with Client(ada.home) as client:
            said = [one for record in client.job(job).rounds for one in record.witnesses]
        assert not any(one.differs for one in said)
        return bool(said) or None

    wait_for("a node without a part has scored a round as well", PATIENCE_SECONDS, witnessed)


@pytest.fixture
def faulty(network: Town, request: pytest.FixtureRequest) -> Iterator[DemoNode]:
    """The cheapest provider, with a fault; honest again afterwards."""
    bea = network.bea
    bea.stop()
    bea.start(str(request.param))
    wait_ready(bea)
    agreed(network.nodes)  # Who has not caught up bids too late.
    yield bea
    bea.stop()
    bea.start()


def units_of(detail: JobDetail, node: DemoNode) -> list[UnitView]:
    """What a node was asked to do in a job."""
    leases = [lease for lease in detail.leases if lease.provider == node.node_id]
    return [unit for lease in leases for unit in lease.units]


@pytest.mark.parametrize("faulty", ["vanish"], indirect=True)
def test_whoever_vanishes_earns_nothing_and_stops_no_round(
    network: Town, faulty: DemoNode, tmp_path: Path
) -> None:
    detail = ended(
        network.ada, submit(network.ada, job_file(tmp_path, rounds=3, resources=ALL_THREE))
    )
    assert (detail.job.state, len(detail.rounds)) == ("done", 3), detail.job.reason
    vanished = units_of(detail, faulty)
    assert vanished, [(lease.name, lease.reason) for lease in detail.leases]
    assert not [unit for unit in vanished if unit.state == "paid"]
    # On a busy machine the two others may miss an exchange: such a round closes without updates.
    assert sum(record.included for record in detail.rounds) >= 2
    money_is_whole(network)


@pytest.mark.parametrize("faulty", ["wrong-weights"], indirect=True)
def test_whoever_sends_wrong_weights_is_slashed(
    network: Town, faulty: DemoNode, tmp_path: Path
) -> None:
    before = faulty.look()
    assert before is not None
    detail = ended(
        network.ada, submit(network.ada, job_file(tmp_path, rounds=3, resources=ALL_THREE))
    )
    assert (detail.job.state, len(detail.rounds)) == ("done", 3), detail.job.reason
    units = units_of(detail, faulty)
    slashed = [unit for unit in units if unit.state == "slashed"]
    assert slashed
    assert all(unit.lost > 0 for unit in slashed)
    others = [it for lease in detail.leases for it in lease.units if it not in units]
    assert not [unit for unit in others if unit.state == "slashed"]
    money_is_whole(network)
