"""Connections that strangers open: their slots, and the port that they come to."""

import errno
from collections.abc import Iterable

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from dpin.base.errors import Unavailable
from dpin.net.contained import Contained
from dpin.net.doorstep import Doorstep, Visitor


class _Guest:
    """What to do about one visitor once it must go."""

    def __init__(self) -> None:
        self.handshake = trio.CancelScope()
        self.visit = trio.CancelScope()

    def dismiss(self) -> None:
        """End the handshake, or the connection that came of it."""
        self.handshake.cancel()
        self.visit.cancel()


def both_families() -> None:
    """P21: libp2p does not know the address at the other end of an IPv6 connection.

    Nobody there could be told from anybody else.
    """
    plain = TrioTCPStream.get_remote_address

    def address(stream: TrioTCPStream) -> tuple[str, int] | None:
        with Contained():
            if stream._cached_remote_address is None:
                host, port, *_ = stream.stream.socket.getpeername()
                stream._cached_remote_address = (str(host), int(port))
            return (str(stream._cached_remote_address[0]), int(stream._cached_remote_address[1]))
        return None

    if plain.__module__ != __name__:
        TrioTCPStream.get_remote_address = address


def _ip_of(stream: ReadWriteCloser) -> str:
    remote = stream.get_remote_address()
    return remote[0] if remote else ""


class Porter:
    """P7, P8: the inbound connections of one swarm, on their way in and until they go.

    An inbound connection kept its slot until the host stopped; after 250 none was taken. And
    silent ones held all slots. Here the doorstep has places of its own, and decides who goes.
    """

    def __init__(self, swarm: Swarm, doorstep: Doorstep) -> None:
        self._swarm = swarm
        self._doorstep = doorstep
        self._guests: dict[Visitor, _Guest] = {}

    def ban(self, sites: Iterable[str]) -> None:
        """Have nobody from these sites."""
        self._dismiss(self._doorstep.ban(sites))

    async def handle(self, stream: ReadWriteCloser, address: Multiaddr) -> None:
        """One connection, from its first byte to its last."""
        visitor, evicted = self._doorstep.knock(_ip_of(stream))
        if evicted is not None:
            self._dismiss([evicted])
        if visitor is None:
            with Contained():
                await stream.close()
            return
        guest = self._guests[visitor] = _Guest()
        try:
            await self._receive(visitor, guest, RawConnection(stream, initiator=False), address)
        finally:
            self._doorstep.left(visitor)
            del self._guests[visitor]

    async def _receive(
        self, visitor: Visitor, guest: _Guest, raw: RawConnection, address: Multiaddr
    ) -> None:
        muxed: Yamux | None = None
        with guest.handshake, Contained():
            muxed = await self._swarm.upgrade_inbound_raw_conn(raw, address)
        if muxed is None:
            with Contained():
                await raw.close()
            return
        evicted = self._doorstep.entered(visitor)
        if evicted is not None:
            self._dismiss([evicted])
        with guest.visit:
            await muxed.event_closed.wait()
        if guest.visit.cancelled_caught:
            with trio.CancelScope(shield=True), Contained():
                await muxed.close()

    def _dismiss(self, visitors: Iterable[Visitor]) -> None:
        for visitor in visitors:
            if visitor in self._guests:
                self._guests[visitor].dismiss()


def watch_the_door(swarm: Swarm) -> Porter:
    """Have a porter take the inbound connections of a swarm."""
    porter = Porter(swarm, Doorstep(swarm.connection_config.max_connections))
    swarm._handle_inbound_connection = porter.handle
    return porter


async def refuse_shared_port(address: Multiaddr) -> None:
    """P11: libp2p listens with SO_REUSEPORT, so that a second node shares the port of the first.

    Raises Unavailable where binding alone is not possible.
    """
    family, host = (
        (trio.socket.AF_INET6, address.value_for_protocol("ip6"))
        if address.protocols()[0].name == "ip6"
        else (trio.socket.AF_INET, address.value_for_protocol("ip4"))
    )
    port = int(address.value_for_protocol("tcp"))
    with trio.socket.socket(family) as probe:
        probe.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
        try:
            await probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Unavailable(f"port {port} is in use: network.listen") from error
            raise Unavailable(f"cannot listen on {address}: {error.strerror}") from None
