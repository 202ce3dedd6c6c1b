"""A network ends and is opened again while a lease runs: the job goes on as if nothing was."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from msgspec import structs

from dpin.base.crypto import digest
from dpin.ledger.beacon import Chain
from dpin.ledger.genesis import Genesis, found
from dpin.ledger.params import DEVELOPMENT
from dpin.node.control import SubmitRequest, TransferRequest
from dpin.node.desk import Desk
from dpin.node.settings import LedgerSection, NetworkSection, Settings
from dpin.node.status import JobDetail
from dpin.sim.ledgers import short_table
from tests.support.cluster import START, key
from tests.support.faraway import far_line
from tests.support.running import LISTEN, kill, lasting, running_node

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(300)]

PATIENCE_SECONDS = 200
CORPUS = "The quick brown fox jumps over the lazy dog, and back again.\n" * 2_000
JOB = """
name: small
type: train
data: {path: corpus.txt}
model: {layers: 1, heads: 1, width: 16, context: 16}
args: {rounds: 3, steps_per_round: 6, batch_size: 4}
resources: {nodes: 1, memory: 200MB}
limits: {cost: 100}
output: out
"""


def table(number: int) -> bytes:
    """A chain of reveals of which enough are real."""
    return short_table(digest("test/chain", bytes([number])), 8)


def genesis() -> Genesis:
    """Of a network that gives everybody minutes: what is asked here is not who is quick."""
    patient = structs.replace(
        DEVELOPMENT, award_ticks=600, ready_ticks=1_500, commit_ticks=1_500, leaf_ticks=600
    )
    return found("healing", START // 1_000, {key(0).node_id: Chain().anchor(table(0))}, patient)


async def until(what: str, holds: Callable[[], bool]) -> None:
    with trio.move_on_after(PATIENCE_SECONDS) as waiting:
        while not holds():
            await trio.sleep(0.05)
    assert not waiting.cancelled_caught, what


@asynccontextmanager
async def two_nodes(folder: Path, *, far: bool = False) -> AsyncIterator[tuple[Desk, Desk]]:
    """The only validator, who gives work, and one provider, who may be far away."""
    for number in range(2):
        (folder / str(number)).mkdir()
        (folder / str(number) / "beacon.table").write_bytes(table(number))
    made = genesis()
    async with AsyncExitStack() as stack:
        giver = await stack.enter_async_context(running_node(folder / "0", 0, made))
        [address] = giver.node().addresses
        if far:
            port = int(address.split("/")[4])
            through, _ = await stack.enter_async_context(far_line(port))
            address = address.replace(f"/tcp/{port}/", f"/tcp/{through}/")
        worker = Settings(
            network=NetworkSection(listen=(LISTEN,), bootstrap=(address,)),
            ledger=LedgerSection(verifiers=0),
        )
        taker = await stack.enter_async_context(running_node(folder / "1", 1, made, worker))
        await giver.transfer(TransferRequest(to=key(1).node_id.hex(), amount="3000"))
        await until(
            "the provider is ready",
            lambda: taker.node().device is not None and taker.node().money.stake > 0,
        )
        yield giver, taker


async def submitted(giver: Desk, folder: Path) -> Callable[[], JobDetail]:
    """A job, and how it stands."""
    (folder / "corpus.txt").write_text(CORPUS)
    job = (await giver.submit(SubmitRequest(text=JOB, folder=str(folder)))).id
    return lambda: giver.job(job)


async def paid(detail: Callable[[], JobDetail]) -> None:
    """The job ends well, and one lease has done all of it."""
    await until("the job ends", lambda: detail().job.state in {"done", "failed"})
    assert detail().job.state == "done", detail().job.reason
    [lease] = detail().leases
    assert [unit.state for unit in lease.units] == ["paid"] * 3


async def _restarted(node: Desk, detail: Callable[[], JobDetail]) -> None:
    """End the host of a node while the job runs; both go on."""
    host, before = lasting(node), detail().job.round
    assert detail().job.state == "running"
    kill(host)
    await until("the host is back", lambda: host.restarts == 1)
    await until(
        "the job goes on", lambda: detail().job.round > before or detail().job.state == "done"
    )


async def test_hosts_that_are_restarted_lose_no_lease_and_no_ledger(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (giver, taker):
        detail = await submitted(giver, tmp_path)
        await until("a round is done", lambda: detail().job.round >= 1)
        [lease] = detail().leases
        heights = giver.node().ledger.height
        for node in (taker, giver):
            await _restarted(node, detail)
        await paid(detail)
        assert [one.lease for one in detail().leases] == [lease.lease]
        assert giver.node().ledger.height > heights


async def test_a_job_is_done_over_a_line_that_is_long_and_loses(tmp_path: Path) -> None:
    """200 ms there and back, 2 % of the segments are lost."""
    async with two_nodes(tmp_path, far=True) as (giver, taker):
        detail = await submitted(giver, tmp_path)
        await paid(detail)
        [link] = taker.links()
        assert link.round_trip is not None
        assert link.round_trip > 150_000  # microseconds
