"""A bare libp2p host that does what it likes, and the node of ours that it does it to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from dpin.base.ids import NodeId
from dpin.base.machine import PeerUp, Received
from dpin.net import guards
from dpin.net.contained import Contained
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.switchboard import CONTROL
from tests.support.hosts import PATIENCE_SECONDS, next_of, seed

LOCALHOST = Multiaddr("/ip4/127.0.0.1/tcp/0")
Attack = tuple[Host, IHost]


async def echo(_peer: NodeId, question: bytes) -> bytes:
    return question


async def listen(stream: INetStream) -> None:
    """Take what comes: a host that does not would be dropped."""
    with Contained():
        while await stream.read(1 << 16):
            pass


@asynccontextmanager
async def running(host: IHost) -> AsyncIterator[IHost]:
    async with host.run([LOCALHOST]):
        try:
            yield host
        finally:
            await host.close()


@asynccontextmanager
async def attacked(kad: str = "") -> AsyncIterator[Attack]:
    """A host of ours, and a bare libp2p host that is connected to it."""
    async with (
        open_host(HostOptions(seed(1), kad=kad)) as victim,
        running(guards.secure_host(seed(666), 256)) as stranger,
    ):
        victim.serve(echo)
        stranger.set_stream_handler(TProtocol(CONTROL), listen)
        await stranger.connect(info_from_p2p_addr(Multiaddr(victim.addresses[0])))
        await next_of(victim, PeerUp)
        yield victim, stranger


async def opened(attack: Attack, protocol: str) -> INetStream:
    victim, stranger = attack
    peer = info_from_p2p_addr(Multiaddr(victim.addresses[0])).peer_id
    return await stranger.new_stream(peer, [TProtocol(protocol)])


async def still_serves(victim: Host) -> None:
    """An honest node comes, is served, and goes."""
    async with open_host(HostOptions(seed(2))) as honest:
        await honest.dial(victim.addresses[0])
        assert await honest.request(victim.node_id, b"alive?", PATIENCE_SECONDS) == b"alive?"
        assert honest.send(victim.node_id, b"good")
        received = await next_of(victim, Received)
        assert (received.peer, received.payload) == (honest.node_id, b"good")
