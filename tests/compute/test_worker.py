"""Real worker processes: they work, fail politely, and never outlive their node."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from dpin.base.errors import Unavailable
from dpin.base.ids import Round
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
    Progress,
    Report,
    Trained,
    TrainUnit,
)
from dpin.compute.worker import Ended, Worker, WorkerOptions, open_worker
from tests.support.training import CORPUS, lease, open_job, prepare

pytestmark = pytest.mark.process

WAIT_SECONDS = 60.0


async def answer(worker: Worker) -> Report | Ended:
    """The next report that is not of progress."""
    with trio.fail_after(WAIT_SECONDS):
        while isinstance(report := await worker.reports.receive(), Progress):
            pass
    return report


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def unit() -> TrainUnit:
    return TrainUnit(lease(0), 0, Round(0), fresh_optimizer=True, limit_ms=0, fault="")


async def test_a_worker_trains_merges_and_lives_on_after_a_command_that_fails(
    tmp_path: Path,
) -> None:
    (tmp_path / "corpus.txt").write_bytes(CORPUS)
    async with open_worker(WorkerOptions(tmp_path)) as worker:
        await worker.send(Evaluate())
        failed = await answer(worker)
        assert failed == Failed("Evaluate", "Misuse: no job is open")
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
    assert not runs(worker.pid)


async def test_a_killed_worker_is_reported_with_its_exit_code(tmp_path: Path) -> None:
    async with open_worker(WorkerOptions(tmp_path)) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        ended = await answer(worker)
        assert ended == Ended(-signal.SIGKILL, ())
        with pytest.raises(Unavailable):
            await worker.send(Probe())


async def test_the_last_words_of_a_worker_are_kept(tmp_path: Path) -> None:
    async with open_worker(WorkerOptions(tmp_path)) as worker:
        assert worker._process.stdin is not None
        await worker._process.stdin.send_all(b"\0\0\0\1?")
        ended = await answer(worker)
    assert isinstance(ended, Ended)
    assert ended.code == 1
    assert "PeerFault" in ended.stderr[-1]
    assert len(ended.stderr) <= 20


async def test_a_command_that_needs_more_memory_than_allowed_fails_alone(tmp_path: Path) -> None:
    large = replace(
        prepare("made"), model=ModelSpec(layers=1, heads=1, width=1 << 15, context=1 << 16)
    )
    (tmp_path / "corpus.txt").write_bytes(CORPUS * 200)
    async with open_worker(WorkerOptions(tmp_path, memory_bytes=8 << 30)) as worker:
        await worker.send(large)
        failed = await answer(worker)
        assert isinstance(failed, Failed)
        assert "alloc" in failed.reason or "Memory" in failed.reason
        await worker.send(prepare("made"))
        assert isinstance(await answer(worker), Prepared)


async def test_cancelling_the_node_leaves_no_worker_behind(tmp_path: Path) -> None:
    pids = []
    with trio.move_on_after(0.2):
        async with open_worker(WorkerOptions(tmp_path)) as worker:
            pids.append(worker.pid)
            await trio.sleep(WAIT_SECONDS)
    assert [runs(pid) for pid in pids] == [False]


async def test_a_worker_knows_nothing_of_the_nodes_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPIN_SECRET", "swordfish")
    async with open_worker(WorkerOptions(tmp_path)) as worker:
        environment = trio.Path(f"/proc/{worker.pid}/environ")
        if not await environment.exists():
            pytest.skip("no /proc on this system")
        known = await environment.read_bytes()
    assert b"swordfish" not in known
    assert b"OMP_NUM_THREADS=1" in known


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has a worker and tells its pid."""
    program = (
        "import trio, pathlib\n"
        "from dpin.compute.worker import *\n"
        "async def main():\n"
        f"    async with open_worker(WorkerOptions(pathlib.Path({str(tmp_path)!r}))) as worker:\n"
        "        print(worker.pid, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603  # Our own.
        yield process
        process.kill()


async def test_a_worker_ends_when_its_node_is_killed(parent: subprocess.Popen[bytes]) -> None:
    assert parent.stdout is not None
    pid = int(await trio.to_thread.run_sync(parent.stdout.readline))
    parent.kill()
    with trio.fail_after(WAIT_SECONDS):
        while runs(pid):  # Nobody can tell us: it is not our child.
            await trio.sleep(0.05)
