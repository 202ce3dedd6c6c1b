"""The bare socket under a bulk socket: bytes at a rate, and a watch on whether they move."""

import socket as plain
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from select import POLLIN, POLLOUT, poll
from typing import Final

import trio

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_SECOND
from dpin.net.bulkframe import CHUNK_FRAME_BYTES
from dpin.net.links import clock
from dpin.net.network import Traffic
from dpin.net.pace import Pace

SILENCE_SECONDS: Final = 20.0  # without a byte, while something is under way
FRAME_SECONDS: Final = 120.0  # for one frame
IDLE_SECONDS: Final = 60.0  # without anything under way
WATCH_SECONDS: Final = 2.0
ENOUGH_BYTES: Final = 128 << 10  # to be woken for, where a frame is longer
PAUSE_MILLIS: Final = 20  # that a thread waits for the other side; then the loop does
PAUSES_MAX: Final = 16
PIECE_BYTES: Final = 64 << 10  # at a time, where there is a limit on the rate


async def paced(pace: Pace, peer: NodeId, amount: int) -> None:
    """Wait until so many bytes may go."""
    now = clock()
    start = pace.book(peer, amount, now)
    if start > now:
        await trio.sleep((start - now) / MICROS_PER_SECOND)


class Watch:
    """Closes a socket on which nothing moves."""

    def __init__(self) -> None:
        self._busy = 0
        self._moved_at = trio.current_time()
        self._frames: dict[int, float] = {}
        self._numbers = count()

    def moved(self) -> None:
        """A byte came or went."""
        self._moved_at = trio.current_time()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Something is under way."""
        if not self._busy:
            self.moved()
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    @contextmanager
    def frame(self) -> Iterator[None]:
        """A frame is on its way, which must end."""
        number = next(self._numbers)
        self._frames[number] = trio.current_time()
        with self.busy():
            yield
        del self._frames[number]

    async def until_dead(self) -> None:
        """Returns when the socket is to be closed."""
        while True:
            await trio.sleep(WATCH_SECONDS)
            now = trio.current_time()
            still = now - self._moved_at
            slow = any(now - since > FRAME_SECONDS for since in self._frames.values())
            if slow or still > (SILENCE_SECONDS if self._busy else IDLE_SECONDS):
                return


class Wire:
    """One socket to one peer: in the loop, and for what needs no waiting in a thread as well.

    Work that is in a thread anyway moves its bytes there too, while they flow: a turn of the loop
    costs as much as the cipher for some 100 KiB.
    """

    def __init__(
        self,
        peer: NodeId,
        socket: trio.socket.SocketType,
        paces: tuple[Pace, Pace],
        counted: Callable[[], Traffic],
    ) -> None:
        """`paces` are those inward and outward."""
        self.watch = Watch()
        self.inward, self.outward = paces
        self._peer = peer
        self._socket = socket
        self._in_threads = plain.socket(fileno=socket.dup().detach())
        self._counted = counted
        self._woken_at = 1

    def close(self) -> None:
        """End it; no thread uses it by now."""
        self._socket.close()
        self._in_threads.close()

    async def send(self, frame: memoryview, sent: int = 0) -> None:
        """What is not sent yet of a frame."""
        with self.watch.frame():
            while sent < len(frame):
                piece = frame[sent : sent + await self._piece(self.outward)]
                sent += await self._socket.send(piece)
                self.watch.moved()
        self._counted().bulk_out += len(frame)

    def send_quickly(self, frame: memoryview) -> int:
        """In a thread: as much as the other side takes without a pause; how much that was."""
        if self.outward.limited:
            return 0
        return self._quickly(POLLOUT, self._in_threads.send, frame)

    async def fill(self, room: memoryview) -> bool:
        """Fill the room; False where the other side ended before it was full."""
        got = 0
        while got < len(room):
            self._wake_at(min(len(room) - got, ENOUGH_BYTES))
            some = await self._socket.recv_into(room[got:])
            if not some:
                return False
            got += some
            self.watch.moved()
        self._counted().bulk_in += got
        return True

    async def fill_paced(self, room: memoryview) -> bool:
        """The same, at the rate that this node may receive."""
        got = 0
        while got < len(room):
            piece = room[got : got + await self._piece(self.inward)]
            if not await self.fill(piece):
                return False
            got += len(piece)
        return True

    def fill_quickly(self, room: memoryview) -> int:
        """In a thread: as much as comes without a pause; how much that was."""
        if self.inward.limited:
            return 0
        self._wake_at(min(len(room), ENOUGH_BYTES))
        got = self._quickly(POLLIN, self._in_threads.recv_into, room)
        self._counted().bulk_in += got
        return got

    def _quickly(self, what: int, move: Callable[[memoryview], int], data: memoryview) -> int:
        moved, pauses = 0, 0
        ready = poll()
        ready.register(self._in_threads, what)
        while moved < len(data):
            try:
                some = move(data[moved:])
            except BlockingIOError:
                pauses += 1
                if pauses > PAUSES_MAX or not ready.poll(PAUSE_MILLIS):
                    break
                continue
            if not some:
                break
            moved += some
        return moved

    async def _piece(self, pace: Pace) -> int:
        """How many bytes may go at once, when they may."""
        if not pace.limited:
            return CHUNK_FRAME_BYTES
        await paced(pace, self._peer, PIECE_BYTES)
        return PIECE_BYTES

    def _wake_at(self, amount: int) -> None:
        """Be woken when so much has come, and not for every packet: that is half of the work."""
        if amount != self._woken_at:
            self._socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVLOWAT, amount)
            self._woken_at = amount
