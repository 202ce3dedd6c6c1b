"""Real worker processes: they work, fail politely, and never outlive their node."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio
from msgspec.structs import replace

import dpin.compute.forkserver as forkserver_module
from dpin.base.errors import Unavailable
from dpin.base.ids import Round
from dpin.compute.child import WorkerOptions
from dpin.compute.forkserver import Forkserver
from dpin.compute.reporting import Preparing, Progress
from dpin.compute.task import (
    Contribution,
    Evaluate,
    Failed,
    Merged,
    MergeRound,
    ModelSpec,
    Opened,
    Prepared,
    Probe,
    Probed,
    Report,
    Trained,
    TrainUnit,
)
from dpin.compute.worker import Ended, Worker, open_worker
from tests.support.files import no_more_files
from tests.support.training import CORPUS, lease, open_job, prepare

pytestmark = pytest.mark.process

WAIT_SECONDS = 110.0  # Workers are nice: on a busy machine one loads torch in a minute.


@pytest.fixture(params=["executed", "forked"])
async def forkserver(request: pytest.FixtureRequest, nursery: trio.Nursery) -> Forkserver | None:
    """Who forks workers, or nobody: then each is a program of its own."""
    return Forkserver(nursery) if request.param == "forked" else None


async def answer(worker: Worker) -> Report | Ended:
    """The next report that is not of progress."""
    with trio.fail_after(WAIT_SECONDS):
        while isinstance(report := await worker.reports.receive(), Progress | Preparing):
            pass
    return report


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(*pids: int) -> None:
    """Wait until there are no such processes: some are not our children, so nobody tells us."""
    with trio.fail_after(WAIT_SECONDS):
        while any(runs(pid) for pid in pids):
            await trio.sleep(0.02)


def unit() -> TrainUnit:
    return TrainUnit(lease(0), 0, Round(0), fresh_optimizer=True, limit_ms=0, fault="")


async def test_a_worker_trains_merges_and_lives_on_after_a_command_that_fails(
    tmp_path: Path, forkserver: Forkserver | None
) -> None:
    (tmp_path / "corpus.txt").write_bytes(CORPUS)
    async with open_worker(WorkerOptions(tmp_path), forkserver) as worker:
        await worker.send(Evaluate())
        failed = await answer(worker)
        assert failed == Failed("Evaluate", "no job is open")
        await worker.send(Probe())
        probed = await answer(worker)
        assert isinstance(probed, Probed)
        assert probed.devices
        await worker.send(prepare("made"))
        prepared = await answer(worker)
        assert isinstance(prepared, Prepared)
        assert Path(prepared.initial) == tmp_path / "made" / "checkpoint-0.safetensors"
        assert prepared.fingerprint == probed.fingerprint
        await worker.send(open_job(prepared, "worker-1"))
        assert await answer(worker) == Opened(Round(0), prepared.state_hash)
        await worker.send(unit())
        trained = await answer(worker)
        assert isinstance(trained, Trained)
        await worker.send(MergeRound(Round(0), (Contribution(trained.update, 8),)))
        merged = await answer(worker)
        assert isinstance(merged, Merged)
        assert merged.round == 1
        assert await trio.Path(merged.checkpoint).is_file()
        await worker.stop()
    await gone(worker.pid)


async def test_a_killed_worker_is_reported_with_its_exit_code(
    tmp_path: Path, forkserver: Forkserver | None
) -> None:
    async with open_worker(WorkerOptions(tmp_path), forkserver) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        ended = await answer(worker)
        assert ended == Ended(-signal.SIGKILL, ())
        with pytest.raises(Unavailable):
            await worker.send(Probe())


async def test_the_last_words_of_a_worker_are_kept(
    tmp_path: Path, forkserver: Forkserver | None
) -> None:
    async with open_worker(WorkerOptions(tmp_path), forkserver) as worker:
        await worker._child.stdin.send_all(b"\0\0\0\1?")
        ended = await answer(worker)
    assert isinstance(ended, Ended)
    assert ended.code == 1
    assert "PeerFault" in ended.stderr[-1]
    assert len(ended.stderr) <= 20


async def test_a_command_that_needs_more_memory_than_allowed_fails_alone(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    forkserver = Forkserver(nursery)
    large = replace(
        prepare("made"), model=ModelSpec(layers=1, heads=1, width=1 << 15, context=1 << 16)
    )
    (tmp_path / "corpus.txt").write_bytes(CORPUS * 200)
    async with open_worker(WorkerOptions(tmp_path, memory_bytes=8 << 30), forkserver) as worker:
        await worker.send(large)
        failed = await answer(worker)
        assert isinstance(failed, Failed)
        assert "alloc" in failed.reason or "Memory" in failed.reason
        await worker.send(prepare("made"))
        assert isinstance(await answer(worker), Prepared)


async def test_cancelling_the_node_leaves_no_worker_behind(
    tmp_path: Path, forkserver: Forkserver | None
) -> None:
    pids = []
    with trio.CancelScope() as node:
        async with open_worker(WorkerOptions(tmp_path), forkserver) as worker:
            pids.append(worker.pid)
            node.cancel()
            await trio.sleep(WAIT_SECONDS)
    assert node.cancelled_caught
    await gone(*pids)


async def test_a_worker_knows_nothing_of_the_nodes_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forkserver: Forkserver | None
) -> None:
    monkeypatch.setenv("DPIN_SECRET", "swordfish")
    async with open_worker(WorkerOptions(tmp_path), forkserver) as worker:
        await worker.send(Evaluate())
        await answer(worker)  # It is the program that it will be.
        environment = trio.Path(f"/proc/{worker.pid}/environ")
        if not await environment.exists():
            pytest.skip("no /proc on this system")
        known = await environment.read_bytes()
    assert b"swordfish" not in known
    assert b"OMP_NUM_THREADS=1" in known


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has a worker of each kind and tells their pids."""
    program = (
        "import trio, pathlib\n"
        "from dpin.compute.child import WorkerOptions\n"
        "from dpin.compute.forkserver import Forkserver\n"
        "from dpin.compute.worker import open_worker\n"
        "async def main():\n"
        f"    options = WorkerOptions(pathlib.Path({str(tmp_path)!r}))\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        forkserver = Forkserver(nursery)\n"
        "        async with (\n"
        "            open_worker(options) as executed,\n"
        "            open_worker(options, forkserver) as forked,\n"
        "        ):\n"
        "            print(executed.pid, forked.pid, flush=True)\n"
        "            await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603  # Our own.
        yield process
        process.kill()


async def test_workers_end_when_their_node_is_killed(parent: subprocess.Popen[bytes]) -> None:
    assert parent.stdout is not None
    pids = [int(word) for word in (await trio.to_thread.run_sync(parent.stdout.readline)).split()]
    assert len(pids) == 2
    parent.kill()
    await gone(*pids)


async def test_forked_workers_share_one_load_of_torch_end_apart_and_compute_like_any_other(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    forkserver = Forkserver(nursery)
    options = WorkerOptions(tmp_path)
    async with (
        open_worker(options) as alone,
        open_worker(options, forkserver) as first,
        open_worker(options, forkserver) as second,
    ):
        for worker in (alone, first, second):
            await worker.send(Probe())
        assert parent_of(first.pid) == parent_of(second.pid) != parent_of(alone.pid) == os.getpid()
        await second.stop()
        await gone(second.pid)
        assert runs(first.pid)
        probed = [await answer(worker) for worker in (alone, first)]
    assert probed[0] == probed[1]
    assert isinstance(probed[0], Probed)


async def test_who_forks_is_killed_and_its_workers_end_and_the_next_has_another(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    forkserver = Forkserver(nursery)
    async with open_worker(WorkerOptions(tmp_path), forkserver) as worker:
        os.kill(parent_of(worker.pid), signal.SIGKILL)
        assert await answer(worker) == Ended(-signal.SIGKILL, ())
    async with open_worker(WorkerOptions(tmp_path), forkserver) as worker:
        await worker.send(Probe())
        assert isinstance(await answer(worker), Probed)


async def test_who_forks_is_ended_when_nobody_needs_it(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver_module, "IDLE_SECONDS", 0.1)
    async with open_worker(WorkerOptions(tmp_path), Forkserver(nursery)) as worker:
        parent = parent_of(worker.pid)
        await trio.sleep(0.3)
        assert runs(parent)
    await gone(parent)


async def test_where_nothing_can_be_forked_a_worker_is_a_program_of_its_own(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver_module, "POSSIBLE", False)
    async with open_worker(WorkerOptions(tmp_path), Forkserver(nursery)) as worker:
        assert parent_of(worker.pid) == os.getpid()


def parent_of(pid: int) -> int:
    """The process that has started this one."""
    return psutil.Process(pid).ppid()


async def test_a_system_without_room_for_a_worker_is_said_to_have_none_and_nothing_stays_open(
    tmp_path: Path, forkserver: Forkserver | None
) -> None:
    gc.collect()  # What earlier tests left is closed by now, not in between.
    before = psutil.Process().num_fds()
    with no_more_files(), pytest.raises(Unavailable, match="no worker can be started"):
        async with open_worker(WorkerOptions(tmp_path), forkserver):
            raise AssertionError
    assert psutil.Process().num_fds() == before
