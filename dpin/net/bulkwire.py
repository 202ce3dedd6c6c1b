"""The bare socket under a bulk socket: bytes at a rate, and a watch on whether they move."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
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
    """One socket to one peer."""

    def __init__(
        self,
        peer: NodeId,
        socket: trio.socket.SocketType,
        paces: tuple[Pace, Pace],
        counted: Callable[[], Traffic],
    ) -> None:
        """`paces` are those inward and outward."""
        self.watch = Watch()
        self._peer = peer
        self._socket = socket
        self._inward, self._outward = paces
        self._counted = counted
        self._woken_at = 1

    def close(self) -> None:
        """End it."""
        self._socket.close()

    async def write(self, frames: trio.MemoryReceiveChannel[memoryview]) -> None:
        """Send frames as they come."""
        async for frame in frames:
            with self.watch.frame():
                sent = 0
                while sent < len(frame):
                    piece = frame[sent : sent + await self._piece(self._outward)]
                    sent += await self._socket.send(piece)
                    self.watch.moved()
            self._counted().bulk_out += len(frame)

    async def _piece(self, pace: Pace) -> int:
        """How many bytes may go at once, when they may."""
        if not pace.limited:
            return CHUNK_FRAME_BYTES
        await paced(pace, self._peer, PIECE_BYTES)
        return PIECE_BYTES

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

    def _wake_at(self, amount: int) -> None:
        """Be woken when so much has come, and not for every packet: that is half of the work."""
        if amount != self._woken_at:
            self._socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVLOWAT, amount)
            self._woken_at = amount

    async def fill_paced(self, room: memoryview) -> bool:
        """The same, at the rate that this node may receive."""
        got = 0
        while got < len(room):
            piece = room[got : got + await self._piece(self._inward)]
            if not await self.fill(piece):
                return False
            got += len(piece)
        return True
