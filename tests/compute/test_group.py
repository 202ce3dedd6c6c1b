"""A provider that is several processes on torch.distributed makes the bits of one."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import trio
from msgspec.structs import replace

from dpin.base.codec import decode, encode
from dpin.base.crypto import digest
from dpin.base.ids import Digest, Round
from dpin.base.leaf import Leaf
from dpin.compute.child import WorkerOptions
from dpin.compute.crew import Surroundings
from dpin.compute.door import Door
from dpin.compute.engine import FSDP2, PARAMETER_SERVER, Engine
from dpin.compute.heldjob import HeldJob
from dpin.compute.probe import settle
from dpin.compute.reporting import Preparing, Progress
from dpin.compute.session import Session
from dpin.compute.sharded import ShardedTrainer
from dpin.compute.task import (
    Opened,
    OpenJob,
    Prepared,
    Report,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.compute.torchrun import TorchRun
from dpin.compute.weights import parameter_count
from dpin.compute.worker import Ended, Worker, open_worker
from tests.support.training import CORPUS, TINY, Desk, MemoryFiles, lease, open_job, prepare

pytestmark = pytest.mark.process

WAIT_SECONDS = 110.0
PARTS = 4  # of a batch
Bits = tuple[tuple[Leaf, ...], Digest]  # the leaves of a unit, and a digest of its update


def in_parts(command: OpenJob) -> OpenJob:
    """The same job with batches in parts."""
    manifest = decode(TrainManifest, command.manifest)
    inner = replace(manifest.inner, accumulation=PARTS)
    return replace(command, manifest=encode(replace(manifest, inner=inner)))


def unit() -> TrainUnit:
    return TrainUnit(lease(0), 0, Round(0), fresh_optimizer=True, limit_ms=0, fault="")


@dataclass
class Stage:
    """Rank 0 in this process, and what happens after each of its steps."""

    engine: Engine = field(default_factory=Engine)
    at_step: Callable[[Session, int], None] = lambda _session, _step: None
    said: list[str] = field(default_factory=list)

    def trained(self) -> Bits:
        """One unit, and all that others see of it."""
        files = MemoryFiles({"corpus.txt": CORPUS})
        desk = Desk(files)

        def pulse() -> None:
            desk.pulse()
            self.at_step(session, desk.steps)

        door = Door(files, desk.clock_ms, desk.reports.append, pulse)
        around = Surroundings(TorchRun(self.engine), lambda: 0, self.said.append)
        session = Session(door, self.engine, around)
        try:
            session.run(prepare("made"))
            prepared = desk.reports[-1]
            assert isinstance(prepared, Prepared)
            session.run(in_parts(open_job(prepared, "worker-1")))
            session.run(unit())
        finally:
            session.close()
        report = desk.reports[-1]
        assert isinstance(report, Trained), report
        return report.leaves, digest("test", files.read(report.update))


def wait_for_others(session: Session) -> None:
    """Until the other process has come, so that it takes part in the next step."""
    assert session._crew is not None
    end = time.monotonic() + WAIT_SECONDS
    while not session._crew.joined:
        assert time.monotonic() < end, "nobody comes"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone() -> Bits:
    """What one process makes."""
    settle()
    return Stage().trained()


def members(of: int | None = None) -> list[psutil.Process]:
    """The processes of rank 1 and up that a process has started."""
    return [one for one in psutil.Process(of).children(recursive=True) if is_member(one)]


def is_member(one: psutil.Process) -> bool:
    """What has ended since it was listed, or is about to, is none."""
    try:
        return "dpin.compute.member" in one.cmdline()[:5]
    except psutil.NoSuchProcess:
        return False


def meets(other: psutil.Process) -> bool:
    """Whether a process has connections to the group, beside that to rank 0's store."""
    try:
        return len(other.net_connections()) > 1
    except psutil.NoSuchProcess:
        return False  # It has ended since it was listed.


async def answer(worker: Worker) -> Report | Ended:
    """The next report that is not of progress."""
    with trio.fail_after(WAIT_SECONDS):
        while isinstance(report := await worker.reports.receive(), Progress | Preparing):
            pass
    return report


async def test_a_worker_of_two_processes_makes_the_bits_of_one(tmp_path: Path, alone: Bits) -> None:
    (tmp_path / "corpus.txt").write_bytes(CORPUS)
    engine = Engine(nproc_per_node=2)
    async with open_worker(WorkerOptions(tmp_path, nice=0, engine=engine)) as worker:
        await worker.send(prepare("made"))
        prepared = await answer(worker)
        assert isinstance(prepared, Prepared)
        await worker.send(in_parts(open_job(prepared, "worker-1")))
        assert isinstance(await answer(worker), Opened)
        with trio.fail_after(WAIT_SECONDS):
            while not any(meets(other) for other in members(worker.pid)):
                await worker.send(unit())
                report = await answer(worker)
                assert isinstance(report, Trained), report
                data = await trio.Path(report.update).read_bytes()
                assert (report.leaves, digest("test", data)) == alone
        [other] = members(worker.pid)
        await worker.stop()
    with trio.fail_after(WAIT_SECONDS):
        while other.is_running():
            await trio.sleep(0.05)


def test_a_rank_that_dies_costs_a_step_and_no_bit(alone: Bits) -> None:
    died: list[int] = []

    def at_step(session: Session, step: int) -> None:
        if step in {1, 5}:  # the next step is the group's
            wait_for_others(session)
        if step in {3, 6}:  # torchrun starts it again once
            [other] = members()
            other.kill()
            died.append(step)

    engine = Engine(nproc_per_node=2, topology=PARAMETER_SERVER, max_restarts=1)
    stage = Stage(engine, at_step)
    assert stage.trained() == alone
    assert died == [3, 6]
    assert [line.partition(":")[0] for line in stage.said] == [
        "a group of 2, epoch 1",
        "the group of epoch 1 is over",
        "a group of 2, epoch 2",
        "the group of epoch 2 is over",
    ]
    assert members() == []


def test_processes_that_share_one_model_make_its_bits_and_begin_again_where_one_dies(
    alone: Bits,
) -> None:
    died: list[int] = []
    held: list[float] = []

    def at_step(session: Session, step: int) -> None:
        assert isinstance(session._held, HeldJob)
        trainer = session._held._trainer
        assert isinstance(trainer, ShardedTrainer)
        assert trainer._shards is not None
        held.append(trainer._shards.bytes_held / (16 * parameter_count(TINY)))
        if step == 3:  # torchrun starts it again
            [other] = members()
            other.kill()
            died.append(step)

    engine = Engine(nproc_per_node=2, topology=FSDP2, max_restarts=1)
    stage = Stage(engine, at_step)
    assert stage.trained() == alone
    assert died == [3]
    assert [line.partition(":")[0] for line in stage.said] == [
        "a group of 2, epoch 1",
        "the group of epoch 1 is over",
        "a group of 2, epoch 2",
    ]
    assert max(held) < 0.51  # of parameters, gradients and moments in float32
    assert members() == []
