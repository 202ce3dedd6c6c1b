"""Workers that are forked off a process that has loaded torch: ready at once, pages shared.

Loading torch takes seconds of a core; a node hires a worker for each job that it works on, gives,
or checks. The process (`forker`) is started when the first worker is wanted and ended when none was
there for a while. Needs pidfd (Linux 5.3); elsewhere, and where it fails, workers are new programs.
"""

import math
import os
import signal
import socket
import subprocess
import sys
from array import array
from contextlib import suppress
from typing import Final, Protocol, assert_never

import trio

from dpin.base.codec import decode, encode
from dpin.base.errors import Unavailable
from dpin.compute.child import WorkerOptions, environment, surroundings
from dpin.compute.forks import Answer, Born, Fork, Gone, Known

ANSWER_BYTES_MAX: Final = 1 << 10
IDLE_SECONDS: Final = 300.0  # without a worker; then the memory is given back
LEAVE_SECONDS: Final = 2.0  # for workers to end that nobody wants any more
Link = trio.socket.SocketType
POSSIBLE: Final = hasattr(os, "pidfd_open")


class Linked(Protocol):
    """How a started task gives its socket."""

    def started(self, value: Link) -> None:
        """The process runs."""


class Forked:
    """A child that the forkserver has made. See dpin.compute.child.Child for what it shows."""

    def __init__(self, ends: tuple[int, int, int]) -> None:
        """`ends` are the node's descriptors of its stdin, stdout and stderr."""
        self.pid = 0
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = (trio.lowlevel.FdStream(end) for end in ends)
        self.born = trio.Event()
        self._ended = trio.Event()

    async def wait(self) -> int:
        """See Child."""
        await self._ended.wait()
        assert self.returncode is not None, "`end` sets it"
        return self.returncode

    def start(self, pid: int) -> None:
        """It runs."""
        self.pid = pid
        self.born.set()

    def end(self, code: int) -> None:
        """It has ended with this exit code."""
        self.returncode = code
        self.born.set()
        self._ended.set()

    async def aclose(self) -> None:
        """Nobody wants it: without its stdin it ends by itself."""
        with trio.CancelScope(shield=True):
            for stream in (self.stdin, self.stdout, self.stderr):
                await stream.aclose()


class Forkserver:
    """The node's handle on the process that forks; it lives in `nursery`, if it lives."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._link: Link | None = None
        self._starting = trio.Lock()
        self._children: dict[int, Forked] = {}
        self._made = 0

    async def fork(self, options: WorkerOptions) -> Forked:
        """A new worker; raises Unavailable where none can be forked."""
        try:
            return await self._forked(options)
        except OSError as error:
            raise Unavailable(f"no worker can be forked: {error.strerror}") from error

    async def _forked(self, options: WorkerOptions) -> Forked:
        link = await self._linked()
        self._made += 1
        number = self._made
        wanted = Fork(
            number,
            str(options.folder),
            options.nice,
            options.memory_bytes,
            options.engine,
            tuple(sorted(surroundings(options.engine).items())),
        )
        theirs, ours = _pipes()
        child = self._children[number] = Forked(ours)
        asked = False
        try:
            await _send(link, wanted, theirs)
            asked = True
            await child.born.wait()
        except BaseException:
            if not asked:  # Else its end will be told of.
                self._children.pop(number, None)
            await child.aclose()
            raise
        if not child.pid:
            await child.aclose()
            raise Unavailable("the process that forks workers is gone")
        return child

    async def _linked(self) -> Link:
        """The socket to the process, which is started if need be."""
        if not POSSIBLE:
            raise Unavailable("this system cannot watch a process by a descriptor")
        async with self._starting:
            if self._link is None:
                self._link = await self._nursery.start(self._live)
        return self._link

    async def _live(self, task_status: Linked) -> None:
        """Start the process, hear what it says, and see to its end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with trio.socket.from_stdlib_socket(ours) as link:
            with theirs:
                process = await trio.lowlevel.open_process(
                    [sys.executable, "-P", "-m", "dpin.compute.forker"],
                    stdin=theirs,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment(),
                    start_new_session=True,
                )
            task_status.started(link)
            try:
                await self._listen(link, IDLE_SECONDS)
            finally:
                self._link = None
                with trio.move_on_after(LEAVE_SECONDS) as leaving:
                    leaving.shield = True
                    await self._listen(link, 0)
                self._end_all()
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()

    async def _listen(self, link: Link, idle_seconds: float) -> None:
        """Until the process is gone, or has had no worker for so long."""
        while True:
            data = b""
            with trio.move_on_after(math.inf if self._children else idle_seconds) as waiting:
                with suppress(OSError):
                    data = await link.recv(ANSWER_BYTES_MAX)
            if waiting.cancelled_caught:
                if self._children:
                    continue
                return
            if not data:
                return
            answer: Answer = decode(Answer, data)
            match answer:
                case Born(number, pid):
                    self._children[number].start(pid)
                case Gone(number, code):
                    self._children.pop(number).end(code)
                    with suppress(OSError):
                        await link.send(encode(Known(number)))
                case _:
                    assert_never(answer)

    def _end_all(self) -> None:
        """The process is gone, and with it who would tell of their ends."""
        while self._children:
            _, child = self._children.popitem()
            if child.pid:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.end(-signal.SIGKILL)


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The worker's ends of its stdin, stdout and stderr, and the node's; raises OSError."""
    made: list[int] = []
    try:
        for _ in range(3):
            made += os.pipe()
    except OSError:
        for descriptor in made:
            os.close(descriptor)
        raise
    stdin, to_it, from_it, stdout, errors, stderr = made
    return (stdin, stdout, stderr), (to_it, from_it, errors)


async def _send(link: Link, wanted: Fork, theirs: tuple[int, int, int]) -> None:
    """Ask for a worker with these pipes, which are its own from here on; raises OSError."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", theirs).tobytes())
    try:
        await link.sendmsg([encode(wanted)], [rights])
    finally:
        for descriptor in theirs:
            os.close(descriptor)
