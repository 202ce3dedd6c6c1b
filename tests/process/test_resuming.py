"""A requester that is killed in its job and comes back rounds later, or when the job is over."""

from pathlib import Path

import pytest

from dpin.base.ids import NO_DIGEST
from dpin.cli.descent import compared, read_folder
from dpin.client.client import Client
from dpin.node.descentviews import DescentView
from scripts.demo_network import DemoNode, wait_for
from tests.process.test_jobs import job_file, submit, wait_running
from tests.support.network import PATIENCE_SECONDS, Town, ended, wait_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]
ROUNDS = 8


def on_ledger(node: DemoNode, job: str) -> DescentView:
    with Client(node.home) as client:
        return client.descent(job)


@pytest.mark.parametrize("away", [4, ROUNDS])
def test_a_requester_killed_in_its_job_comes_back_rounds_later_to_the_same_model(
    network: Town, tmp_path: Path, away: int
) -> None:
    ada, other = network.ada, network.nodes[2]
    job = submit(ada, job_file(tmp_path, rounds=ROUNDS))
    wait_running(ada, job)
    with Client(ada.home) as client:
        name = client.job(job).job.ledger_id
    assert name is not None
    ada.kill()

    def gone_on() -> bool | None:
        closed = sum(one.closed for one in on_ledger(other, name).rounds)
        return True if closed >= away else None

    try:
        wait_for("rounds are closed without the requester", PATIENCE_SECONDS, gone_on)
    finally:
        ada.start()
    wait_ready(ada)
    detail = ended(ada, job)
    assert (detail.job.state, len(detail.rounds)) == ("done", ROUNDS), detail.job.reason
    assert detail.holdout_before is not None
    assert all(one.holdout is not None for one in detail.rounds)  # What it missed is measured.
    assert any(one.missed for one in detail.rounds) or away < ROUNDS
    lineage, _ = read_folder(tmp_path / "out", "")
    assert NO_DIGEST not in [entry.state_hash for entry in lineage.entries]

    def told() -> bool | None:
        return True if on_ledger(other, name).ended_in is not None else None

    wait_for("seats say what the job has ended in", PATIENCE_SECONDS, told)
    ledger = on_ledger(other, name)
    assert compared(lineage, ledger)  # Every state that the ledger names, and the last.
    assert ledger.ended_in == lineage.entries[-1].state_hash.hex()
