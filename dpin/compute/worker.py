"""The node's side of a worker: a child process that alone works with torch.

The child leads a process group of its own and has a small environment without secrets. It is asked
to end by closing its stdin, then killed by its group's id; leaving `open_worker` in any way, also
by cancellation, leaves no process behind.
"""

import os
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import trio

from dpin.base.codec import decode
from dpin.base.errors import PeerFault, Unavailable
from dpin.compute.child import Child, WorkerOptions, executed
from dpin.compute.forkserver import Forkserver
from dpin.compute.frames import Unframer, framed
from dpin.compute.task import Command, Report

REPORTS_MAX: Final = 256  # then the child has to wait
STDERR_LINES_MAX: Final = 20
STDERR_LINE_BYTES_MAX: Final = 1000
SAID_CHARS_MAX: Final = 160
UNLIKE: Final = (
    "the worker speaks otherwise than its node: was dpin changed while the node ran? Then: "
    "dpin node stop, and start it again"
)
READ_BYTES: Final = 1 << 16
STOP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The child is gone: its exit code (negative: the signal), and its last words on stderr."""

    code: int
    stderr: tuple[str, ...]


class Worker:
    """A running child. Commands are done in order; reports come as they are made, `Ended` last."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._lines: deque[str] = deque(maxlen=STDERR_LINES_MAX)
        self._sending = trio.Lock()
        self._told, self.reports = trio.open_memory_channel[Report | Ended](REPORTS_MAX)

    @property
    def pid(self) -> int:
        """The child's process id, which is also its group's."""
        return self._child.pid

    async def send(self, command: Command) -> None:
        """Give one command; raises Unavailable where the child is gone."""
        try:
            async with self._sending:
                await self._child.stdin.send_all(framed(command))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Unavailable("the worker process is gone") from None

    async def stop(self) -> None:
        """End the child: at its next step if it listens, at once after STOP_SECONDS if not.

        What it had still to report is dropped.
        """
        child = self._child
        with trio.CancelScope(shield=True):
            await child.stdin.aclose()
            await child.stdout.aclose()
            with trio.move_on_after(STOP_SECONDS):
                await child.wait()
            self.kill()
            await child.wait()

    def kill(self) -> None:
        """End the child now, with whatever it started."""
        if self._child.returncode is None:
            with suppress(ProcessLookupError):  # it went by itself just now
                os.killpg(self._child.pid, signal.SIGKILL)

    async def listen(self) -> None:
        """Pass on what the child says, then that it is gone; `open_worker` runs it."""
        async with self._told:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_stderr)
                await self._pass_reports()
            code = await self._child.wait()
            with suppress(trio.BrokenResourceError):  # nobody listens here either
                await self._told.send(Ended(code, tuple(self._lines)))

    async def _pass_reports(self) -> None:
        unframer = Unframer()
        try:
            async for data in self._child.stdout:
                for frame in unframer.feed(data):
                    await self._told.send(decode(Report, frame))
        except PeerFault as fault:
            said = f"the worker does not speak as it should: {fault}"
            self._lines.append(f"{UNLIKE} ({said[-SAID_CHARS_MAX:]})")
            self.kill()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # stopped, or nobody listens to the reports any more

    async def _keep_stderr(self) -> None:
        held = b""
        async for data in self._child.stderr:
            *lines, held = (held + data).split(b"\n")
            self._lines.extend(_text(line) for line in lines)
            held = held[:STDERR_LINE_BYTES_MAX]
        if held:
            self._lines.append(_text(held))


def _text(line: bytes) -> str:
    return line[:STDERR_LINE_BYTES_MAX].decode(errors="replace")


@asynccontextmanager
async def open_worker(
    options: WorkerOptions, forkserver: Forkserver | None = None
) -> AsyncIterator[Worker]:
    """A child that lives as long as the block: a fork, where there is who forks.

    Raises Unavailable where the system has no room for one.
    """
    worker = Worker(await _child(options, forkserver))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.listen)
        try:
            yield worker
        finally:
            await worker.stop()
            nursery.cancel_scope.cancel()


async def _child(options: WorkerOptions, forkserver: Forkserver | None) -> Child:
    if forkserver is not None:
        try:
            return await forkserver.fork(options)
        except Unavailable:
            pass  # What is wrong with torch here, a process of its own will say.
    try:
        return await executed(options)
    except OSError as error:
        raise Unavailable(f"no worker can be started: {error.strerror}") from error
