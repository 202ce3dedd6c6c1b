"""Circuit relay v2: nodes that others can dial pass on connections to those that nobody can.

The protocol is libp2p's own; this shell decides who serves whom and how much, takes reservations
and renews them, and mends what libp2p 0.8.1 gets wrong (R1 to R5 in `docs/protocol/network.md`).
"""

from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Final

import trio
from libp2p.abc import IHost, INetConn, INetStream
from libp2p.connection_types import ConnectionType
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.config import RelayConfig, RelayRole
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID as HOP
from libp2p.relay.circuit_v2.protocol import STOP_PROTOCOL_ID as STOP
from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
from libp2p.relay.circuit_v2.resources import RelayLimits
from libp2p.relay.circuit_v2.transport import CircuitV2Transport
from multiaddr import Multiaddr

from dpin.base.ids import NodeId
from dpin.net.address import PEER_ID_PREFIX, is_public, node_of, through
from dpin.net.budget import (
    CIRCUIT_BYTES,
    CIRCUIT_SECONDS,
    CIRCUITS_PER_RESERVATION_MAX,
    RELAYED_BYTES,
    RESERVATION_SECONDS,
    RESERVATIONS_MAX,
    RESERVATIONS_PER_IP_MAX,
    Budget,
)
from dpin.net.contained import Contained, Report
from dpin.net.links import clock, quiet_reset
from dpin.net.reach import Reservation

RESERVATIONS_WANTED: Final = 2
LOOK_SECONDS: Final = 15.0  # between looks for a relay while one is missing
SOON_SECONDS: Final = 0.2  # after news: what a peer serves is known a moment after it connects
REFUSED_SECONDS: Final = 300.0  # until a relay that refused is asked again
RESERVE_SECONDS: Final = 10.0
PACE_SECONDS: Final = 0.05
CIRCUIT_MARK: Final = "/p2p-circuit"

Upgraded = Callable[[INetConn], None]
_EVERYBODY: Final = NodeId(bytes(32))  # one bucket for all that is relayed


def peer_of(node: NodeId) -> ID:
    """The libp2p peer id of a node."""
    return ID(PEER_ID_PREFIX + node)


def is_outbound(connection: INetConn) -> bool:
    """Whether this node dialled."""
    return str(connection.direction).lower().endswith("outbound")


def is_relayed(connection: INetConn) -> bool:
    """Whether a relay stands between the two ends of a connection."""
    return any(CIRCUIT_MARK in str(a) for a in connection.get_transport_addresses() or ())


class _Circuits(CircuitV2Protocol):  # type: ignore[misc]  # libp2p has no types here.
    """libp2p's two roles, mended. Its service is never run: the handlers are registered here."""

    def __init__(self, libp2p: IHost) -> None:
        limits = RelayLimits(
            duration=CIRCUIT_SECONDS,
            data=CIRCUIT_BYTES,
            max_circuit_conns=CIRCUITS_PER_RESERVATION_MAX,
            max_reservations=RESERVATIONS_MAX,
            reservation_ttl=RESERVATION_SECONDS,
        )
        super().__init__(libp2p, limits, allow_hop=True)
        self.carried = [0]  # a list, so that all copies share it
        self.on_accepted: Upgraded | None = None
        self._bucket = Budget(RELAYED_BYTES)

    def alone(self) -> "_Circuits":
        """R2: streams are kept by peer: the second circuit of a peer closes the first one's.

        Each stream is handled by a copy with a table of its own; the rest is shared.
        """
        one = copy(self)
        one._active_relays = {}
        return one

    async def _handle_reserve(self, stream: INetStream, msg: HopMessage) -> None:
        """R1: a peer may reserve in the name of another, and holds its place when it is gone."""
        msg.ClearField("peer")
        held = self.resource_manager._reservations
        for peer in [peer for peer in held if not self.resource_manager.has_reservation(peer)]:
            del held[peer]
        if stream.muxed_conn.peer_id not in held and self._crowded(stream):
            await stream.reset()
            return
        await super()._handle_reserve(stream, msg)

    def _crowded(self, stream: INetStream) -> bool:
        connections = self.host.get_network().connections
        addresses = Counter(
            _ip_of(connections[peer][0])
            for peer in self.resource_manager._reservations
            if connections.get(peer)
        )
        mine = connections.get(stream.muxed_conn.peer_id)
        return bool(mine) and addresses[_ip_of(mine[0])] >= RESERVATIONS_PER_IP_MAX

    async def _relay_data(
        self,
        src_stream: INetStream,
        dst_stream: INetStream,
        peer_id: ID,
        deadline: float | None = None,
        circuit_data_limit: list[int] | None = None,
    ) -> None:
        """R3: when one end goes, the stream to the other one stays open."""
        self.carried[0] += 1
        try:
            await super()._relay_data(src_stream, dst_stream, peer_id, deadline, circuit_data_limit)
        finally:
            self.carried[0] -= 1
            with trio.CancelScope(shield=True):
                await quiet_reset(src_stream)
                await quiet_reset(dst_stream)

    async def _read_stream_with_retry(
        self, stream: INetStream, max_retries: int = 1
    ) -> bytes | None:
        """Relayed bytes leave room for the node's own: all circuits share one budget."""
        data: bytes | None = await super()._read_stream_with_retry(stream, max_retries)
        while data and not self._bucket.charge(_EVERYBODY, len(data), clock()):  # noqa: ASYNC110
            await trio.sleep(PACE_SECONDS)
        return data

    async def handle_incoming_connection(self, stream: INetStream, remote_peer_id: bytes) -> None:
        """R4: the address of a relayed connection names this node as the relay, by hearsay.

        It is marked by the connection itself; who is at its other end was proved by noise.
        """
        circuit = _circuit(stream.muxed_conn.peer_id, ID(remote_peer_id))
        raw = RawConnection(
            stream=stream,
            initiator=False,
            connection_type=ConnectionType.RELAYED,
            addresses=[circuit],
        )
        muxed = await self.host.upgrade_inbound_connection(raw, circuit)
        for connection in self.host.get_network().connections.get(muxed.peer_id, []):
            if connection.muxed_conn is muxed:
                connection.set_transport_info([circuit], ConnectionType.RELAYED)
                if self.on_accepted is not None:
                    self.on_accepted(connection)


def _circuit(relay: ID, other: ID) -> Multiaddr:
    return Multiaddr(f"/p2p/{relay}/p2p-circuit/p2p/{other}")


def _ip_of(connection: INetConn) -> str:
    addresses = connection.get_transport_addresses()
    return str(addresses[0]).split("/")[2] if addresses and not is_relayed(connection) else ""


@dataclass(slots=True)
class _Held:
    address: str
    until: float  # on trio's clock


class Relays:
    """Serving as a relay, and being dialled and dialling through one, for one host."""

    def __init__(self, libp2p: IHost, note: Report) -> None:
        self._libp2p = libp2p
        self._circuits = _Circuits(libp2p)
        self._transport = CircuitV2Transport(
            libp2p, self._circuits, RelayConfig(roles=RelayRole.STOP)
        )
        self.reservations = Reservations(libp2p, self._transport, note)
        self.serves = False

    def start(self, *, serve: bool, accepted: Upgraded) -> None:
        """Take circuits from relays that hold a reservation of ours, and serve those of others."""
        self._circuits.on_accepted = accepted
        self._libp2p.set_stream_handler(STOP, self._on_stop)
        self.serves = serve
        if serve:
            self._libp2p.set_stream_handler(HOP, self._on_hop)

    @property
    def carried(self) -> int:
        """Circuits of others that run through this node."""
        return (self._circuits.carried[0] + 1) // 2

    @property
    def given(self) -> int:
        """Reservations of others."""
        return len(self._circuits.resource_manager._reservations)

    async def _on_hop(self, stream: INetStream) -> None:
        await self._circuits.alone()._handle_hop_stream(stream)

    async def _on_stop(self, stream: INetStream) -> None:
        """R5: anybody may hand on a connection, and say that it is from anybody."""
        if self.reservations.holds(node_of(stream.muxed_conn.peer_id.to_bytes())):
            await self._circuits.alone()._handle_stop_stream(stream)
        else:
            await stream.reset()

    async def dial(self, address: str) -> None:
        """Connect by way of a relay that is connected."""
        connection = await self._transport.dial(Multiaddr(address))
        relay, peer = self._transport.parse_circuit_ma(Multiaddr(address))
        circuit = _circuit(ID.from_string(relay.get_peer_id()), peer)
        connection.set_transport_info([circuit], ConnectionType.RELAYED)


class Reservations:
    """Relays that pass on connections to this node, found among its peers and kept."""

    def __init__(self, libp2p: IHost, transport: CircuitV2Transport, note: Report) -> None:
        self._libp2p = libp2p
        self._transport = transport
        self._note = note
        self._held: dict[NodeId, _Held] = {}
        self._refused: dict[NodeId, float] = {}
        self._news = trio.Event()

    def holds(self, relay: NodeId | None) -> bool:
        """Whether a peer is a relay of this node."""
        return relay in self._held

    @property
    def held(self) -> tuple[Reservation, ...]:
        """All of them, by relay."""
        return tuple(Reservation(relay, held.address) for relay, held in sorted(self._held.items()))

    def moved(self) -> None:
        """Connections have come or gone."""
        self._news.set()
        self._news = trio.Event()

    async def keep(self, wanted: Callable[[], bool], changed: Callable[[], None]) -> None:
        """Have reservations while they are wanted; renewed when half of their time is over."""
        pause = SOON_SECONDS
        while True:
            before = {relay: held.address for relay, held in self._held.items()}
            news = self._news
            if wanted():
                await self._renew()
                await self._look()
            else:
                self._held.clear()
            self._forget()
            if before != {relay: held.address for relay, held in self._held.items()}:
                changed()
            with trio.move_on_after(pause) as pausing:
                await news.wait()
            pause = min(2 * pause, LOOK_SECONDS) if pausing.cancelled_caught else SOON_SECONDS

    def _forget(self) -> None:
        now = trio.current_time()
        for relay in list(self._held):
            if self._held[relay].until <= now or self._way_to(relay) is None:
                del self._held[relay]
        self._refused = {relay: at for relay, at in self._refused.items() if at > now}

    async def _renew(self) -> None:
        due = trio.current_time() + RESERVATION_SECONDS / 2
        for relay in [relay for relay, held in self._held.items() if held.until < due]:
            await self._reserve(relay)

    async def _look(self) -> None:
        for relay in self._candidates():
            if len(self._held) >= RESERVATIONS_WANTED:
                return
            await self._reserve(relay)

    def _candidates(self) -> list[NodeId]:
        """Peers that serve, dialled by this node: those at public addresses first."""
        found: list[tuple[bool, NodeId]] = []
        for peer in list(self._libp2p.get_network().connections):
            node = node_of(peer.to_bytes())
            way = self._way_to(node) if node is not None else None
            if node is None or way is None or node in self._held or node in self._refused:
                continue
            with Contained():
                if HOP in self._libp2p.get_peerstore().get_protocols(peer):
                    found.append((not is_public(way), node))
        return [node for _, node in sorted(found)]

    def _way_to(self, node: NodeId) -> str | None:
        """The address at which this node dialled a peer, if such a connection stands."""
        for connection in self._libp2p.get_network().connections.get(peer_of(node), []):
            if is_outbound(connection) and not connection.is_closed and not is_relayed(connection):
                addresses = connection.get_transport_addresses()
                return f"{addresses[0]}/p2p/{peer_of(node)}" if addresses else None
        return None

    async def _reserve(self, relay: NodeId) -> None:
        way = self._way_to(relay)
        if way is None:
            return
        peer = peer_of(relay)
        granted = False
        with trio.move_on_after(RESERVE_SECONDS), Contained(self._note):
            stream = await self._libp2p.new_stream(peer, [HOP])
            granted = await self._transport._make_reservation(stream, peer)
            await stream.close()
        now = trio.current_time()
        if granted:
            # How long it says is hearsay: renewing after half of our own time is always safe.
            self._held[relay] = _Held(
                through(way, self._libp2p.get_id()), now + RESERVATION_SECONDS
            )
        elif relay not in self._held:
            self._refused[relay] = now + REFUSED_SECONDS
