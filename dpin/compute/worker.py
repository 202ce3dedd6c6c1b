"""The node's side of a worker: a child process that alone loads torch.

The child leads a process group of its own and has a small environment without secrets. It is asked
to end by closing its stdin, then killed by its group's id; leaving `open_worker` in any way, also
by cancellation, leaves no process behind.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from dpin.base.codec import decode, encode
from dpin.base.errors import PeerFault, Unavailable
from dpin.compute.engine import ONE_PROCESS, Engine
from dpin.compute.frames import Unframer, framed
from dpin.compute.task import Command, Report

REPORTS_MAX: Final = 256  # then the child has to wait
STDERR_LINES_MAX: Final = 20
STDERR_LINE_BYTES_MAX: Final = 1000
READ_BYTES: Final = 1 << 16
STOP_SECONDS: Final = 1.0
# What a child may know of the node's surroundings: where programs, libraries and devices are.
INHERITED: Final = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "ATEN_CPU_CAPABILITY",
)
FIXED: Final = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic products on CUDA
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",  # nothing is fetched but what a manifest names
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "USE_TF": "0",
}
INTERFACES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
LOOPBACK: Final = "lo" if sys.platform == "linux" else "lo0"
PACKAGE_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How to run the child. `folder` is its working directory: relative names count from there."""

    folder: Path
    nice: int = 10
    memory_bytes: int = 0  # of address space, which torch alone needs 4 GiB of; 0: no limit
    engine: Engine = ONE_PROCESS


@dataclass(frozen=True, slots=True)
class Ended:
    """The child is gone: its exit code (negative: the signal), and its last words on stderr."""

    code: int
    stderr: tuple[str, ...]


class Worker:
    """A running child. Commands are done in order; reports come as they are made, `Ended` last."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=STDERR_LINES_MAX)
        self._sending = trio.Lock()
        self._told, self.reports = trio.open_memory_channel[Report | Ended](REPORTS_MAX)

    @property
    def pid(self) -> int:
        """The child's process id, which is also its group's."""
        return self._process.pid

    async def send(self, command: Command) -> None:
        """Give one command; raises Unavailable where the child is gone."""
        assert self._process.stdin is not None, "the child was started with pipes"
        try:
            async with self._sending:
                await self._process.stdin.send_all(framed(command))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Unavailable("the worker process is gone") from None

    async def stop(self) -> None:
        """End the child: at its next step if it listens, at once after STOP_SECONDS if not.

        What it had still to report is dropped.
        """
        process = self._process
        assert process.stdin is not None, "the child was started with pipes"
        assert process.stdout is not None, "the child was started with pipes"
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()
            await process.stdout.aclose()
            with trio.move_on_after(STOP_SECONDS):
                await process.wait()
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """End the child now, with whatever it started."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):  # it went by itself just now
                os.killpg(self._process.pid, signal.SIGKILL)

    async def listen(self) -> None:
        """Pass on what the child says, then that it is gone; `open_worker` runs it."""
        async with self._told:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_stderr)
                await self._pass_reports()
            code = await self._process.wait()
            with suppress(trio.BrokenResourceError):  # nobody listens here either
                await self._told.send(Ended(code, tuple(self._lines)))

    async def _pass_reports(self) -> None:
        assert self._process.stdout is not None, "the child was started with pipes"
        unframer = Unframer()
        try:
            async for data in self._process.stdout:
                for frame in unframer.feed(data):
                    await self._told.send(decode(Report, frame))
        except PeerFault as fault:
            self._lines.append(f"the worker does not speak as it should: {fault}")
            self.kill()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # stopped, or nobody listens to the reports any more

    async def _keep_stderr(self) -> None:
        assert self._process.stderr is not None, "the child was started with pipes"
        held = b""
        async for data in self._process.stderr:
            *lines, held = (held + data).split(b"\n")
            self._lines.extend(_text(line) for line in lines)
            held = held[:STDERR_LINE_BYTES_MAX]
        if held:
            self._lines.append(_text(held))


def _text(line: bytes) -> str:
    return line[:STDERR_LINE_BYTES_MAX].decode(errors="replace")


@asynccontextmanager
async def open_worker(options: WorkerOptions) -> AsyncIterator[Worker]:
    """A child that lives as long as the block; made ready while the first command waits."""
    worker = Worker(await _started(options))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.listen)
        try:
            yield worker
        finally:
            await worker.stop()
            nursery.cancel_scope.cancel()


def _surroundings(engine: Engine) -> dict[str, str]:
    """Where a group's processes talk: on this machine alone, or where the operator says."""
    if engine.nnodes > 1:
        return {name: os.environ[name] for name in INTERFACES if name in os.environ}
    return dict.fromkeys(INTERFACES, LOOPBACK)


async def _started(options: WorkerOptions) -> trio.Process:
    command = [sys.executable, "-P", "-m", "dpin.compute.executor"]
    command += ["--nice", str(options.nice), "--memory", str(options.memory_bytes)]
    command += ["--engine", encode(options.engine).hex()]
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    surroundings = _surroundings(options.engine)
    return await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=options.folder,
        env={**inherited, **FIXED, **surroundings, "PYTHONPATH": str(PACKAGE_ROOT)},
        start_new_session=True,
    )
