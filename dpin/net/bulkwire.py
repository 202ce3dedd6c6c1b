"""The bare socket under a bulk socket: bytes at a rate, and a watch on whether they move."""

import socket as plain
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
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
ENOUGH_BYTES: Final = 512 << 10  # to be woken for, where a frame is longer
IDLE_MILLIS: Final = 1  # of waiting, before a thread tells the loop what it has so far
PAUSE_MILLIS: Final = 20  # that a thread waits for the other side; then the loop does
PAUSES_MAX: Final = 64  # of one stay in a thread
AHEAD_BYTES: Final = 16 << 10  # that are read together, where frames are small
UNPACED: Final = b"reno"  # of the kinds of congestion control the one that every Linux has
PIECE_BYTES: Final = 64 << 10  # at a time, where there is a limit on the rate


async def paced(pace: Pace, peer: NodeId, amount: int) -> None:
    """Wait until so many bytes may go."""
    now = clock()
    start = pace.book(peer, amount, now)
    if start > now:
        await trio.sleep((start - now) / MICROS_PER_SECOND)


def unpaced_at_home(socket: trio.socket.SocketType | plain.socket) -> None:
    """Between two processes of one machine there is no path to be probed, and pacing only costs.

    BBR, which some systems use for all sockets, makes sending half as dear again there. Elsewhere,
    and where the system knows no such choice, it stays as it is.
    """
    if socket.family not in (plain.AF_INET, plain.AF_INET6) or sys.platform != "linux":
        return
    with suppress(OSError):
        if ip_address(socket.getpeername()[0]).is_loopback:
            socket.setsockopt(plain.IPPROTO_TCP, plain.TCP_CONGESTION, UNPACED)


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
        try:
            with self.busy():
                yield
        finally:
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


def _nothing() -> None:
    """Nobody waits for what a thread has done so far."""


class Pauses:
    """The waits of one stay in a thread for the other side of a socket: few, and short."""

    def __init__(self, socket: plain.socket, what: int, idle: Callable[[], None]) -> None:
        self._ready = poll()
        self._ready.register(socket, what)
        self._idle = idle
        self._left = PAUSES_MAX

    def over(self) -> bool:
        """Wait until the socket is ready; True where that takes too long for a thread."""
        self._left -= 1
        if self._left < 0:
            return True
        if self._ready.poll(IDLE_MILLIS):
            return False
        self._idle()
        return not self._ready.poll(PAUSE_MILLIS)


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
        unpaced_at_home(socket)
        self._ahead = bytearray()  # what came with what was asked for

    def close(self) -> None:
        """End it; no thread uses it by now."""
        self._socket.close()
        self._in_threads.close()

    async def send(self, frame: memoryview) -> None:
        """A frame, or several small ones."""
        with self.watch.frame():
            sent = 0
            while sent < len(frame):
                piece = frame[sent : sent + await self._piece(self.outward)]
                sent += await self._socket.send(piece)
                self.watch.moved()
        self._counted().bulk_out += len(frame)

    def pauses_out(self) -> "Pauses":
        """For a stay in a thread that sends."""
        return Pauses(self._in_threads, POLLOUT, _nothing)

    def send_quickly(self, frame: memoryview, pauses: "Pauses | None") -> int:
        """As much as the other side takes without a long pause; how much that was.

        In a thread, or in the loop without any pause.
        """
        sent = 0
        while sent < len(frame) and not self.outward.limited:
            try:
                sent += self._in_threads.send(frame[sent:])
            except BlockingIOError:
                if pauses is None or pauses.over():
                    break
        self._counted().bulk_out += sent
        return sent

    async def fill(self, room: memoryview) -> bool:
        """Fill the room; False where the other side ended before it was full."""
        got = self._take_ahead(room)
        while got < len(room):
            rest = room[got:]
            self._wake_at(min(len(rest), ENOUGH_BYTES))
            if len(rest) < AHEAD_BYTES:
                data = await self._socket.recv(AHEAD_BYTES)
                self._ahead += data
                some, count = len(data), self._take_ahead(rest)
            else:
                some = count = await self._socket.recv_into(rest)
            if not some:
                return False
            self._counted().bulk_in += some
            got += count
            self.watch.moved()
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

    def pauses_in(self, idle: Callable[[], None]) -> "Pauses":
        """For a stay in a thread that receives; `idle` is called before a longer wait."""
        return Pauses(self._in_threads, POLLIN, idle)

    def fill_quickly(self, room: memoryview, pauses: "Pauses") -> int:
        """In a thread: as much as comes without a long pause; how much that was."""
        got = self._take_ahead(room)
        while got < len(room) and not self.inward.limited:
            self._wake_at(min(len(room) - got, ENOUGH_BYTES))
            try:
                some = self._in_threads.recv_into(room[got:])
            except BlockingIOError:
                if pauses.over():
                    break
                continue
            if not some:
                break
            self._counted().bulk_in += some
            got += some
        return got

    def head_quickly(self, head: memoryview, pauses: "Pauses") -> bool:
        """In a thread: the next few bytes, or False and all as if this had not been called."""
        while len(self._ahead) < len(head) and not self.inward.limited:
            self._wake_at(len(head) - len(self._ahead))
            try:
                data = self._in_threads.recv(AHEAD_BYTES)
            except BlockingIOError:
                if pauses.over():
                    break
                continue
            if not data:
                break
            self._counted().bulk_in += len(data)
            self._ahead += data
        return len(self._ahead) >= len(head) and bool(self._take_ahead(head))

    def _take_ahead(self, room: memoryview) -> int:
        count = min(len(room), len(self._ahead))
        room[:count] = self._ahead[:count]
        del self._ahead[:count]
        return count

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
