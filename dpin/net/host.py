"""py-libp2p: dial, listen, streams, gossip.

Which other files of this package import it, and why nobody else may, stands in `pyproject.toml`.

The whole of libp2p runs in one task (P12), which nothing that a peer sends can end; where it ends
all the same, `events` ends, and whoever drives the node opens the network again.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio
from libp2p.abc import IHost
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.peer.peerstore import PeerStoreError
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils.address_validation import expand_wildcard_address
from multiaddr import Multiaddr

from dpin.base.errors import Unavailable
from dpin.base.ids import NodeId, short
from dpin.net import guards, inbound, mdns, muxing
from dpin.net.address import node_in, node_of
from dpin.net.budget import (
    CONNECTIONS_MAX,
    EVENTS_MAX,
)
from dpin.net.contained import Contained, one_line, root_of
from dpin.net.dialling import Dialler, parsed
from dpin.net.eager import EagerStream
from dpin.net.exchange import Exchange
from dpin.net.gossip import Announcer
from dpin.net.links import Stream
from dpin.net.mesh import MESHSUB, Ears, Mesh, Speaker
from dpin.net.network import (
    BLOB,
    BLOB_2,
    CONTROL_BYTES_MAX,
    Beside,
    Door,
    Event,
    Found,
    Handler,
    Observer,
    Outcome,
    Readdressed,
    Traffic,
    Unreached,
)
from dpin.net.notices import Notices, soon
from dpin.net.observer import HostObserver
from dpin.net.reach import Plan
from dpin.net.relay import peer_of
from dpin.net.routes import Routes
from dpin.net.switchboard import CONTROL, Intake, Switchboard, exchanges

CLOSE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What one host needs to know."""

    seed: bytes  # 32 bytes: the node's key
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    mdns: bool = False
    connections_max: int = CONNECTIONS_MAX
    routes: Plan = field(default_factory=Plan)
    kad: str = ""  # the protocol of Kad-DHT (dpin.net.kad.kad_protocol); without, there is none


@dataclass(frozen=True)
class _Inside:
    """The parts of a running host."""

    libp2p: IHost
    nursery: trio.Nursery
    events: trio.MemoryReceiveChannel[Event]
    board: Switchboard
    exchanges: Mapping[str, Exchange]  # by protocol
    announcer: Announcer
    porter: inbound.Porter
    routes: Routes
    observer: HostObserver


async def _open_stream(libp2p: IHost, protocol: str, node: NodeId) -> Stream:
    """A stream, only over a connection that stands: libp2p would dial."""
    peer = peer_of(node)
    if not libp2p.get_network().get_connections(peer):
        raise Unavailable("the peer is not connected")
    if protocol == BLOB and _takes_ask_blob(libp2p, node):
        return EagerStream(await libp2p.get_network().new_stream(peer), BLOB_2)
    stream: Stream = await libp2p.new_stream(peer, [TProtocol(protocol)])
    return stream


def _takes_ask_blob(libp2p: IHost, node: NodeId) -> bool:
    """As far as is known by now: libp2p asks a new peer what it speaks."""
    with suppress(PeerStoreError):
        return BLOB_2 in libp2p.get_peerstore().get_protocols(peer_of(node))
    return False


async def _drop(libp2p: IHost, node: NodeId) -> None:
    await libp2p.get_network().close_peer(peer_of(node))


class _Beside:
    """See `dpin.net.network.Beside`."""

    def __init__(self, inside: _Inside) -> None:
        self._inside = inside

    def direct_ip(self, peer: NodeId) -> str:
        """Where a direct connection to a peer ends."""
        for connection in self._inside.libp2p.get_network().get_connections(peer_of(peer)):
            remote = None
            with Contained():
                if connection.get_connection_type() == ConnectionType.DIRECT:
                    remote = connection.muxed_conn.get_remote_address()
            if remote is not None:
                return str(remote[0])
        return ""

    def takes_ask_blob(self, peer: NodeId) -> bool:
        """Whether it speaks BLOB_2."""
        return _takes_ask_blob(self._inside.libp2p, peer)

    def count(self, peer: NodeId) -> Traffic:
        """The counters of one peer."""
        return self._inside.board.count(peer)

    def complain(self, peer: NodeId, reason: str) -> None:
        """Report a peer."""
        self._inside.board.wiring.complain(peer, reason)


class Host:
    """The real network; see `dpin.net.network.Network` for what each method promises."""

    def __init__(self, inside: _Inside) -> None:
        self.node_id = itself(inside.libp2p)
        self.addresses = addresses_of(inside.libp2p)  # kept as they are by `_live`
        self.routes = inside.routes
        self.events = inside.events
        self.errors = inside.board.errors  # the last lines of what libp2p raised, for the log
        self.dropped = partial(_total, inside.board)
        self.door = Door(inside.board.ips, inside.porter.ban)
        self.observer: Observer = inside.observer
        self.stopping = trio.Event()
        self.beside: Beside = _Beside(inside)
        self.prove: Callable[[bool | None], None] = inside.routes.prove
        self.problem, self.restarts = "", 0  # An ended host is replaced: see net.lasting.
        self._inside = inside
        self._board = inside.board
        self._dialler = Dialler(inside.libp2p, inside.routes, self.dial)

    async def dial(self, address: str, *others: str) -> NodeId:
        """Connect to `/ip4/…/tcp/…/p2p/…`, or by way of a relay; at once where one stands.

        Other addresses of the same peer are tried too where the first takes long.
        """
        node = parsed(address)
        if node == self.node_id:
            raise Unreached(Outcome.NO_ADDRESS, "that is the address of this node")
        if node not in self.peers():
            addresses = [address, *(other for other in others if node_in(other) == node)]
            await self._dialler.dial(node, addresses)
        return node

    def send(self, peer: NodeId, payload: bytes) -> bool:
        """Queue one message; the newest is dropped where the outbox is full."""
        assert len(payload) <= CONTROL_BYTES_MAX, "envelope.wrap bounds what is sent"
        link = self._board.links.get(peer)
        return link is not None and link.connected and link.outbox.put(payload)

    async def publish(self, topic: str, payload: bytes) -> None:
        """Announce, paced."""
        await self._inside.announcer.publish(topic, payload)

    async def subscribe(self, topic: str) -> None:
        """Join a topic."""
        await self._inside.announcer.subscribe(topic)

    async def request(
        self, peer: NodeId, payload: bytes, patience_seconds: float, protocol: str = BLOB
    ) -> bytes:
        """Ask one question on a stream of its own."""
        if self.stopping.is_set():
            raise Unavailable("the network has stopped")
        return await self._inside.exchanges[protocol].request(peer, payload, patience_seconds)

    def serve(self, handler: Handler, protocol: str = BLOB) -> None:
        """Answer questions."""
        self._inside.exchanges[protocol].serve(handler)

    def disconnect(self, peer: NodeId) -> None:
        """Drop a peer, soon."""
        if not self.stopping.is_set():
            self._inside.nursery.start_soon(self._board.drop, peer)

    def peers(self) -> list[NodeId]:
        """Who is connected."""
        return sorted(node for node, link in self._board.links.items() if link.connected)

    def traffic(self) -> Mapping[NodeId, Traffic]:
        """Bytes by peer; what libp2p itself says (identify, pings) is not counted."""
        return self._board.counted


def _total(board: Switchboard) -> int:
    """Messages dropped so far."""
    return sum(board.lost().values())


def itself(libp2p: IHost) -> NodeId:
    """The node that this host is."""
    node = node_of(libp2p.get_id().to_bytes())
    assert node is not None, "the host was made with an Ed25519 key"
    return node


def addresses_of(libp2p: IHost) -> list[str]:
    """Where others can dial: the wildcard address becomes those of the interfaces."""
    found = [
        f"{real}/p2p/{libp2p.get_id()}"
        for address in libp2p.get_transport_addrs()
        for real in expand_wildcard_address(address)
    ]
    return sorted(set(found))


def _gossiped(board: Switchboard, node: NodeId, size: int) -> None:
    board.count(node).gossip_out += size


@asynccontextmanager
async def _closed_at_last(libp2p: IHost, board: Switchboard) -> AsyncIterator[None]:
    """P6: leaving `run` does not close the listener."""
    try:
        yield
    finally:
        with trio.CancelScope(deadline=trio.current_time() + CLOSE_SECONDS, shield=True):
            await _close(libp2p)
        with trio.CancelScope(shield=True):
            await guards.close_sockets(board.connections())


async def _close(libp2p: IHost) -> None:
    swarm = libp2p.get_network()
    with Contained():
        async with trio.open_nursery() as nursery:
            for peer in list(swarm.connections):
                nursery.start_soon(swarm.close_peer, peer)
        await libp2p.close()


def _other_author(me: NodeId, from_id: bytes) -> NodeId | None:
    author = node_of(from_id)
    return None if author == me else author


async def _live(options: HostOptions, started: Callable[[Host], None]) -> None:
    """One host, from start to stop."""
    listen = [Multiaddr(address) for address in options.listen]
    for address in listen:
        await inbound.refuse_shared_port(address)
    libp2p = guards.secure_host(options.seed, options.connections_max)
    send, receive = trio.open_memory_channel[Event](EVENTS_MAX)
    async with AsyncExitStack() as stack:
        stack.enter_context(send)
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        inside, services = _assemble(libp2p, nursery, (send, receive), options)
        stack.callback(guards.end_threads, services[0])
        stack.callback(guards.close_listeners, libp2p.get_network())
        await stack.enter_async_context(libp2p.run(listen))
        await stack.enter_async_context(_closed_at_last(libp2p, inside.board))
        if len(libp2p.get_transport_addrs()) < len(listen):
            raise Unavailable(f"cannot listen on {' and '.join(options.listen)}")
        guards.contain_tasks(libp2p.get_network(), nursery, inside.board.note)
        nursery.start_soon(muxing.look_after, inside.board.connections, nursery)
        for service in services:
            await stack.enter_async_context(background_trio_service(service))
            guards.contain_tasks(service, nursery, inside.board.note)
        host = Host(inside)
        inside.routes.start(tuple(host.addresses), partial(_readdress, host, send))
        if options.mdns and mdns.to_announce(host.addresses) is not None:
            nursery.start_soon(_find_neighbours, host, send)
        started(host)
        await host.stopping.wait()


def _readdress(host: Host, events: trio.MemorySendChannel[Event]) -> None:
    host.addresses[:] = host.routes.reach().addresses
    with Contained():  # Where there is no room, the next change says it again.
        events.send_nowait(Readdressed(tuple(host.addresses)))


async def _find_neighbours(host: Host, events: trio.MemorySendChannel[Event]) -> None:
    """Multicast DNS; where it does not work, nothing is found and one line is kept."""

    async def tell(address: str) -> None:
        await events.send(Found(address))

    with Contained(lambda error: host.errors.append(one_line(error))):
        await mdns.discover(short(host.node_id), host.addresses, tell)


def _assemble(
    libp2p: IHost,
    nursery: trio.Nursery,
    events: tuple[trio.MemorySendChannel[Event], trio.MemoryReceiveChannel[Event]],
    options: HostOptions,
) -> tuple[_Inside, tuple[Speaker, Mesh]]:
    send, receive = events
    swarm = libp2p.get_network()
    board = Switchboard(partial(_open_stream, libp2p), partial(_drop, libp2p), nursery, send)
    mesh = Mesh()
    pubsub = Speaker(libp2p, mesh, Ears(board.wiring.complain, partial(_gossiped, board)))
    asked = exchanges(board, nursery, options.kad)
    announcer = Announcer(pubsub, partial(_other_author, itself(libp2p)), send, nursery)
    intake = Intake(board)
    porter = inbound.watch_the_door(swarm)
    routes = Routes(libp2p, nursery, options.routes, board.note)
    guards.contain_streams(swarm, intake.admit, intake.report)
    swarm.register_notifee(Notices(board.joined, board.left))
    swarm.register_notifee(Notices(soon(routes.moved), routes.moved))
    libp2p.set_stream_handler(CONTROL, intake.on_control)
    for protocol, exchange in asked.items():
        libp2p.set_stream_handler(protocol, partial(intake.on_question, exchange))
    libp2p.set_stream_handler(BLOB_2, partial(intake.on_question, asked[BLOB]))
    libp2p.set_stream_handler(MESHSUB, partial(intake.on_gossip, pubsub.stream_handler))
    inside = _Inside(
        libp2p=libp2p,
        nursery=nursery,
        events=receive,
        board=board,
        exchanges=asked,
        announcer=announcer,
        porter=porter,
        routes=routes,
        observer=HostObserver(board, intake, announcer, pubsub),
    )
    return inside, (pubsub, mesh)


async def _one_task(options: HostOptions, opened: trio.MemorySendChannel[Host]) -> None:
    """P12: hosts left out of order corrupt trio's scopes; in a task of its own, none can be."""
    hosts: list[Host] = []
    errors: list[BaseException] = []

    def started(host: Host) -> None:
        hosts.append(host)
        opened.send_nowait(host)

    with Contained(errors.append):
        await _live(options, started)
    for host in hosts:
        host.stopping.set()
        host.errors.extend(one_line(error) for error in errors)
    if not hosts:
        root = root_of(errors[0])
        raise root if isinstance(root, Unavailable) else Unavailable(one_line(root))


@asynccontextmanager
async def open_host(options: HostOptions) -> AsyncIterator[Host]:
    """Listen, and be ready to dial; raises Unavailable where an address cannot be had."""
    guards.apply_once()
    try:
        async with trio.open_nursery() as nursery:
            opened, opening = trio.open_memory_channel[Host](1)
            nursery.start_soon(_one_task, options, opened)
            host = await opening.receive()
            try:
                yield host
            finally:
                host.stopping.set()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None  # The nursery's own wrapping: nobody asked for it.
        raise
