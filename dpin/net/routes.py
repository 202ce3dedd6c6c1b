"""The ways to this node and to its peers: direct, by the router's help, punched, relayed."""

from collections.abc import Callable
from typing import Final

import trio
from libp2p.abc import IHost, INetConn
from multiaddr import Multiaddr

from dpin.base.ids import NodeId
from dpin.net import portmap
from dpin.net.address import is_public
from dpin.net.contained import Report
from dpin.net.punch import Punching
from dpin.net.reach import Mapping, Plan, Reach, Way, wants_relay
from dpin.net.relay import Relays, is_relayed, peer_of

TELL_SECONDS: Final = 0.2  # several changes at once are told as one


class Routes:
    """All that a host knows of ways; it says so when its own addresses have changed."""

    def __init__(self, libp2p: IHost, nursery: trio.Nursery, plan: Plan, report: Report) -> None:
        self.listening: tuple[str, ...] = ()
        self.proved: bool | None = None
        self._libp2p = libp2p
        self._nursery = nursery
        self._plan = plan
        self._report = report
        self._relays = Relays(libp2p, report)
        self._punching = Punching(libp2p, nursery, lambda: (*self.listening, *self._mapped))
        self._mapping = Mapping.LOOKING if plan.upnp else Mapping.OFF
        self._mapped: tuple[str, ...] = ()
        self._changed = trio.Event()

    def start(self, listening: tuple[str, ...], tell: Callable[[], None]) -> None:
        """Take part; `tell` is called, at most now and then, when the addresses have changed."""
        self.listening = listening
        direct = [Multiaddr(address.partition("/p2p/")[0]) for address in listening]
        # What identify says: not the wildcard that was listened on.
        self._libp2p._addrs_factory = lambda _: direct  # noqa: SLF001
        self._nursery.start_soon(self._tell, tell)
        if self._plan.relay:
            self._relays.start(serve=not self._alone, accepted=self._accepted)
            if not self._alone:
                self._nursery.start_soon(
                    self._relays.reservations.keep, self.wants_relay, self._change
                )
        if self._plan.punch:
            self._punching.start(self._report)
        if self._plan.upnp and not self._alone and not any(map(is_public, listening)):
            self._nursery.start_soon(portmap.keep, listening, self._opened)

    @property
    def _alone(self) -> bool:
        """Whether all this is for one machine."""
        return not wants_relay(self.listening, (), proved=False)

    def reach(self) -> Reach:
        """What is known now."""
        return Reach(
            listening=self.listening,
            mapped=self._mapped,
            mapping=self._mapping,
            reservations=self._relays.reservations.held,
            serves=self._relays.serves,
            reservations_given=self._relays.given,
            circuits_carried=self._relays.carried,
            proved=self.proved,
        )

    def prove(self, reachable: bool | None) -> None:  # noqa: FBT001 (a verdict, not a switch)
        """Take a verdict by dial-back: with one, relays are had or given up."""
        self.proved = reachable
        self._relays.reservations.moved()

    def way(self, node: NodeId) -> Way | None:
        """How the best connection to a peer runs; None where there is none."""
        peer = peer_of(node)
        connections = self._libp2p.get_network().connections.get(peer, [])
        standing = [connection for connection in connections if not connection.is_closed]
        if not standing:
            return None
        if all(is_relayed(connection) for connection in standing):
            return Way.RELAYED
        return Way.PUNCHED if self._punching.punched(peer) else Way.DIRECT

    async def dial_relayed(self, address: str) -> None:
        """Connect by way of a relay that is connected already."""
        await self._relays.dial(address)

    def moved(self, connection: INetConn) -> None:
        """A connection has come or gone."""
        self._relays.reservations.moved()
        peer = connection.muxed_conn.peer_id
        if not self._libp2p.get_network().connections.get(peer):
            self._punching.parted(peer)

    def _accepted(self, connection: INetConn) -> None:
        if self._plan.punch:
            self._punching.accepted(connection)

    def wants_relay(self) -> bool:
        """Whether this node needs a relay to be reached."""
        return wants_relay(self.listening, self._mapped, self.proved)

    def _opened(self, mapping: Mapping, addresses: tuple[str, ...]) -> None:
        self._mapping = mapping
        if addresses != self._mapped:
            self._mapped = addresses
            self._change()

    def _change(self) -> None:
        self._changed.set()

    async def _tell(self, tell: Callable[[], None]) -> None:
        while True:
            await self._changed.wait()
            await trio.sleep(TELL_SECONDS)
            self._changed = trio.Event()
            tell()
