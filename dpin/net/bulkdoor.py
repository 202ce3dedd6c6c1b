"""How a bulk socket begins: the dialler shows a ticket, then each side that it has the keys.

Whoever connects without a ticket gets nothing, not even an answer, and costs a few bytes and
seconds: they are few at once, from one address and in all.
"""

import errno
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import NodeId
from dpin.net.budget import BULK_PENDING_MAX, BULK_PENDING_PER_IP_MAX
from dpin.net.bulkframe import HEADER_BYTES, TAG_BYTES, Kind, Opener, Sealer, read_header
from dpin.net.contained import Contained, one_line
from dpin.net.links import clock
from dpin.net.tickets import TICKET_BYTES, Keys, Tickets

MAGIC: Final = b"dpin-bulk/1\n"
DIAL_SECONDS: Final = 5.0
HELLO_SECONDS: Final = 5.0  # from the connection to the proof that the other side has the key
HELLO_BYTES: Final = HEADER_BYTES + TAG_BYTES

Seals = tuple[Sealer, Opener]
Opened = Callable[[NodeId, trio.SocketStream, Seals], Awaitable[None]]


async def dial(ip: str, port: int, ticket: bytes, keys: Keys) -> tuple[trio.SocketStream, Seals]:
    """Connect and show a ticket; raises Unavailable unless the other side has the keys too."""
    try:
        with trio.fail_after(DIAL_SECONDS):
            stream = await trio.open_tcp_stream(ip, port)
    except (OSError, trio.TooSlowError) as error:
        raise Unavailable(f"the bulk port does not answer: {one_line(error)}") from error
    sealer, opener = Sealer(keys.of_dialler), Opener(keys.of_listener)
    greeted = False
    try:
        with trio.fail_after(HELLO_SECONDS):
            await stream.send_all(MAGIC + ticket + _hello(sealer))
            await _take_hello(stream, opener)
            greeted = True
    except (OSError, trio.TooSlowError, trio.BrokenResourceError, PeerFault) as error:
        raise Unavailable(f"the bulk port is not the peer's: {one_line(error)}") from error
    finally:
        if not greeted:
            stream.socket.close()
    return stream, (sealer, opener)


def _hello(sealer: Sealer) -> bytes:
    return bytes(sealer.sealed(Kind.HELLO, 0, b""))


async def _take_hello(stream: trio.SocketStream, opener: Opener) -> None:
    data = await _exactly(stream, HELLO_BYTES)
    header = read_header(data[:HEADER_BYTES])
    if header.kind != Kind.HELLO:
        raise PeerFault("did not begin with a hello")
    opener.open(opener.turn(), header, memoryview(bytearray(data[HEADER_BYTES:])))


async def _exactly(stream: trio.SocketStream, length: int) -> bytes:
    data = b""
    while len(data) < length:
        some = await stream.receive_some(length - len(data))
        if not some:
            raise trio.BrokenResourceError("the other side closed it")
        data += some
    return data


class Door:
    """The bulk port: lets in whoever shows a ticket that was given and not used."""

    def __init__(self, tickets: Tickets, opened: Opened) -> None:
        self.accepted = 0
        self.refused = 0
        self._tickets = tickets
        self._opened = opened
        self._pending: Counter[str] = Counter()

    async def come(self, stream: trio.SocketStream) -> None:
        """One socket that somebody opened, to its end."""
        found: tuple[NodeId, Seals] | None = None
        with Contained():
            ip = str(stream.socket.getpeername()[0])
            if self._has_room(ip):
                found = await self._checked(ip, stream)
        if found is None:
            self.refused += 1
            stream.socket.close()
            return
        self.accepted += 1
        peer, seals = found
        await self._opened(peer, stream, seals)

    def _has_room(self, ip: str) -> bool:
        few = self._pending[ip] < BULK_PENDING_PER_IP_MAX
        return few and self._pending.total() < BULK_PENDING_MAX

    async def _checked(self, ip: str, stream: trio.SocketStream) -> tuple[NodeId, Seals]:
        self._pending[ip] += 1
        try:
            with trio.fail_after(HELLO_SECONDS):
                return await self._admitted(stream)
        finally:
            self._pending[ip] -= 1
            if not self._pending[ip]:
                del self._pending[ip]

    async def _admitted(self, stream: trio.SocketStream) -> tuple[NodeId, Seals]:
        shown = await _exactly(stream, len(MAGIC) + TICKET_BYTES)
        given = self._tickets.take(shown[len(MAGIC) :], clock())
        if given is None or shown[: len(MAGIC)] != MAGIC:
            raise PeerFault("showed no ticket that holds")
        opener, sealer = Opener(given.keys.of_dialler), Sealer(given.keys.of_listener)
        await _take_hello(stream, opener)
        await stream.send_all(_hello(sealer))
        return given.peer, (sealer, opener)


async def listeners_at(ips: Sequence[str], ports: Sequence[int]) -> list[trio.SocketListener]:
    """Listen on every address, at the first of the ports that is free on all of them.

    Port 0 is any free one. Raises Unavailable where none can be had.
    """
    reason, cause = "no port was asked for", None
    for port in ports:
        taken: list[trio.SocketListener] = []
        try:
            for ip in ips:
                at = int(taken[0].socket.getsockname()[1]) if taken else port
                taken += await trio.open_tcp_listeners(at, host=ip)
        except OSError as error:
            reason, cause = f"cannot listen for bulk sockets at port {port}", error
            if error.errno == errno.EADDRINUSE:
                reason = f"port {port} is in use: network.bulk_port"
            for listener in taken:
                listener.socket.close()
        else:
            return taken
    raise Unavailable(reason) from cause
