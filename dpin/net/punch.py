"""Hole punching (DCUtR): two peers joined by a relay dial each other at the same moment.

libp2p exchanges the messages; this shell says at which addresses the node may be seen from
outside, dials from the port that it listens on, and bounds what a peer may have it dial. TCP only:
where both routers choose a new port for each connection, nobody knows what to dial, and the relay
stays.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

import trio
from libp2p.abc import IHost, INetConn, INetStream
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.dcutr import PROTOCOL_ID as DCUTR
from libp2p.relay.circuit_v2.dcutr import DCUtRProtocol
from multiaddr import Multiaddr

from dpin.net.address import host_in, is_loopback
from dpin.net.contained import Contained, Report
from dpin.net.relay import is_outbound, is_relayed

TOLD_MAX: Final = 8  # addresses that a peer may have us dial
OURS_MAX: Final = 8
OBSERVERS_MAX: Final = 64
ROUNDS: Final = 3
ROUND_SECONDS: Final = 4.0
BETWEEN_SECONDS: Final = 0.5
PLAIN_DIAL_SECONDS: Final = 2.0  # before holes are punched: perhaps the peer can simply be dialled
LOOK_SECONDS: Final = 0.05
AGAIN_SECONDS: Final = 0.5
IDENTIFY_SECONDS: Final = 3.0
GRACE_SECONDS: Final = 10.0  # for streams over the relay to end by themselves


class Observed:
    """From which address peers say that this node's dials come.

    It stands where libp2p has its own manager, which tells everybody what a few peers have said.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[INetConn, str]] = {}

    def record_observation(self, conn: INetConn, addr: Multiaddr, _listen: object) -> None:
        """A peer that this node dialled says where the dial came from."""
        if is_outbound(conn) and len(self._seen) < OBSERVERS_MAX:
            self._seen[id(conn)] = (conn, host_in(str(addr)))

    def remove_conn(self, conn: INetConn) -> None:
        """That connection is gone, and with it what was seen over it."""
        self._seen.pop(id(conn), None)

    def addrs(self, min_observers: int = 0) -> list[Multiaddr]:
        """None, for whoever would announce them."""
        del min_observers
        return []

    def hosts(self) -> list[str]:
        """The addresses of this node's routers, those that most peers name first."""
        counts = Counter(host for _, host in self._seen.values() if host)
        return sorted(counts, key=lambda host: (-counts[host], host))


class _Exchange(DCUtRProtocol):  # type: ignore[misc]  # libp2p has no types here.
    """libp2p's exchange of addresses; its service is never run, its dials are replaced."""

    def __init__(self, libp2p: IHost, ours: Callable[[], Iterable[str]]) -> None:
        super().__init__(libp2p, dial_timeout=round(PLAIN_DIAL_SECONDS))
        self._ours = ours
        self.punched: set[bytes] = set()  # or being punched just now

    async def _get_observed_addrs(self) -> list[bytes]:
        return [Multiaddr(address).to_bytes() for address in list(self._ours())[:OURS_MAX]]

    def _decode_observed_addrs(self, addr_bytes: Sequence[bytes]) -> list[Multiaddr]:
        """A peer may name anything: few addresses are dialled, and never this machine's own."""
        found: list[Multiaddr] = []
        for raw in addr_bytes[:TOLD_MAX]:
            with Contained():
                address = Multiaddr(raw)
                if _may_dial(str(address)):
                    found.append(address)
        return found

    async def _try_unilateral_upgrade(self, peer_id: ID) -> bool:
        known: list[Multiaddr] = []
        with Contained():
            addresses = self.host.get_peerstore().addrs(peer_id)
            known = [address for address in addresses if _may_dial(str(address))][:TOLD_MAX]
        dial = self.host.get_network().dial_addr
        await self._race(peer_id, [partial(dial, a, peer_id) for a in known], PLAIN_DIAL_SECONDS)
        return self._direct(peer_id)

    async def _race(
        self, peer: ID, dials: Sequence[Callable[[], Awaitable[object]]], seconds: float
    ) -> None:
        """Dial in all ways at once, until one has succeeded, all have failed, or it is time."""

        async def one(dial: Callable[[], Awaitable[object]]) -> None:
            with Contained():
                await dial()

        async def watch(scope: trio.CancelScope) -> None:
            await self._until_direct(peer)
            scope.cancel()

        async def all_of_them() -> None:
            async with trio.open_nursery() as nursery:
                for dial in dials:
                    nursery.start_soon(one, dial)

        with trio.move_on_after(seconds) as racing:
            async with trio.open_nursery() as watching:
                watching.start_soon(watch, racing)
                await all_of_them()
                watching.cancel_scope.cancel()

    async def _perform_hole_punch(
        self,
        peer_id: ID,
        addrs: Sequence[Multiaddr],
        as_responder: bool = False,  # noqa: FBT001, FBT002 (libp2p's)
    ) -> bool:
        """Dial all at once, from the port listened on; both ends do.

        The initiator's dials are answered as if they had come in, as the two may meet as one
        connection; in every other round they are not, as they may have come to the listener.
        """
        self.punched.add(peer_id.to_bytes())
        for turn in range(ROUNDS):
            answers = as_responder and turn % 2 == 0
            dials = [partial(self._from_listener, peer_id, a, answers=answers) for a in addrs]
            began = trio.current_time()
            await self._race(peer_id, dials, ROUND_SECONDS)
            if self._direct(peer_id):
                return True
            await trio.sleep(began + ROUND_SECONDS + BETWEEN_SECONDS - trio.current_time())
        self.punched.discard(peer_id.to_bytes())
        return False

    async def _from_listener(self, peer: ID, address: Multiaddr, *, answers: bool) -> None:
        """Dial until the round is over: what comes before the other's first packet is refused."""
        swarm = self.host.get_network()
        source = _source(self.host.get_transport_addrs(), address)
        dial = swarm.dial_addr_as_responder if answers else swarm.dial_addr
        while not self._direct(peer):
            with Contained():
                await dial(address, peer, source)
            await trio.sleep(AGAIN_SECONDS)

    async def _until_direct(self, peer: ID) -> None:
        while not self._direct(peer):  # noqa: ASYNC110 (libp2p has no event for it)
            await trio.sleep(LOOK_SECONDS)

    def _direct(self, peer: ID) -> bool:
        connections = self.host.get_network().connections.get(peer, [])
        return any(not is_relayed(c) and not c.is_closed for c in connections)


def _may_dial(address: str) -> bool:
    parts = address.split("/")
    plain = len(parts) in {5, 7} and parts[1] in {"ip4", "ip6"} and parts[3] == "tcp"
    return plain and not is_loopback(address) and host_in(address) not in {"0.0.0.0", "::"}  # noqa: S104


def _source(listening: Iterable[Multiaddr], address: Multiaddr) -> tuple[str, int] | None:
    """The address and port that this node listens on, of the family of whom it dials."""
    family = str(address).split("/")[1]
    for listened in listening:
        parts = str(listened).split("/")
        if parts[1] == family and not is_loopback(str(listened)):
            return parts[2], int(parts[4])
    return None


class Punching:
    """Makes relayed connections direct where the routers between let it."""

    def __init__(
        self, libp2p: IHost, nursery: trio.Nursery, addresses: Callable[[], Iterable[str]]
    ) -> None:
        self._libp2p = libp2p
        self._nursery = nursery
        self._addresses = addresses
        self.observed = Observed()
        libp2p._observed_addr_manager = self.observed
        self._exchange = _Exchange(libp2p, self._ours)

    def start(self, report: Report) -> None:
        """Answer whoever wants to punch."""
        self._report = report
        self._libp2p.set_stream_handler(DCUTR, self._on_stream)

    def punched(self, peer: ID) -> bool:
        """Whether the direct connection to a peer came of hole punching."""
        return peer.to_bytes() in self._exchange.punched

    def parted(self, peer: ID) -> None:
        """The peer is gone: what was tried with it counts no more."""
        self._exchange.punched.discard(peer.to_bytes())
        self._exchange.on_peer_disconnected(peer)

    def accepted(self, connection: INetConn) -> None:
        """A peer came through a relay: who was dialled begins, as the protocol has it."""
        self._nursery.start_soon(self._upgrade, connection.muxed_conn.peer_id)

    def _ours(self) -> list[str]:
        """Where dials from here come from, as far as the router keeps their port; then the rest."""
        ports = sorted({str(a).split("/")[4] for a in self._libp2p.get_transport_addrs()})
        outside = [
            f"/ip{6 if ':' in host else 4}/{host}/tcp/{port}"
            for host in self.observed.hosts()[:2]
            for port in ports
        ]
        inside = [str(a).partition("/p2p/")[0] for a in self._addresses() if not is_loopback(a)]
        return list(dict.fromkeys([*outside, *inside]))

    async def _on_stream(self, stream: INetStream) -> None:
        await self._exchange._handle_dcutr_stream(stream)
        await self._leave_relay(stream.muxed_conn.peer_id)

    async def _upgrade(self, peer: ID) -> None:
        with Contained(self._report):
            with trio.move_on_after(IDENTIFY_SECONDS):
                while not self._identified(peer):  # noqa: ASYNC110 (nor for this)
                    await trio.sleep(LOOK_SECONDS)
            if await self._exchange.initiate_hole_punch(peer):
                await self._leave_relay(peer)

    def _identified(self, peer: ID) -> bool:
        with Contained():
            return DCUTR in self._libp2p.get_peerstore().get_protocols(peer)
        return False

    async def _leave_relay(self, peer: ID) -> None:
        """End the way through the relay once another one stands."""
        await trio.sleep(GRACE_SECONDS)
        connections = list(self._libp2p.get_network().connections.get(peer, []))
        relayed = [connection for connection in connections if is_relayed(connection)]
        if all(connection in relayed or connection.is_closed for connection in connections):
            return
        for connection in relayed:
            with Contained():
                await connection.close()
