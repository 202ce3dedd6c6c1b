"""A host that comes back: where libp2p ends, it is opened again in place, and the node goes on.

Whoever uses it sees one network that never ends: its peers are gone for a moment (PeerDown for each
of them), and the same topics, handler and ports are there again after. Ledger, leases and running
work know nothing of it.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Final

import trio

from dpin.base.errors import Unavailable
from dpin.base.ids import NodeId
from dpin.base.machine import PeerDown, PeerUp
from dpin.net.address import at_last_ports
from dpin.net.budget import TRACKED_PEERS_MAX
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.network import (
    BLOB,
    Beside,
    Door,
    Event,
    Handler,
    Observer,
    Outcome,
    Traffic,
    Unreached,
)

FIRST_WAIT_SECONDS: Final = 0.1  # before it is opened again; doubled each time it fails
WAIT_SECONDS_MAX: Final = 30.0
SAME_PORTS_TRIES: Final = 3  # then any port will do, where any was asked for

_STOPPED: Final = "the network has stopped and is being opened again"


class _Events:
    """The events of one host after the other; between two of them, everybody has left."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._following: Host | None = None
        self._reopened = trio.Event()
        self._up: set[NodeId] = set()
        self._owed: deque[Event] = deque()

    def follow(self, host: Host) -> None:
        """The next host is there; what the last one left unread still comes first."""
        self._following = host
        self._reopened.set()

    async def receive(self) -> Event:
        """The next event; there always is one more."""
        while not self._owed:
            try:
                return self._noted(await self._host.events.receive())
            except trio.EndOfChannel:
                self._owed.extend(self._leave())
            if not self._owed:
                await self._turn()
        return self._owed.popleft()

    def receive_nowait(self) -> Event:
        """The next event if one is there; trio.WouldBlock otherwise."""
        if not self._owed:
            try:
                return self._noted(self._host.events.receive_nowait())
            except trio.EndOfChannel:
                raise trio.WouldBlock from None
        return self._owed.popleft()

    def _noted(self, event: Event) -> Event:
        match event:
            case PeerUp(peer):
                self._up.add(peer)
            case PeerDown(peer):
                self._up.discard(peer)
            case _:
                pass
        return event

    def _leave(self) -> list[Event]:
        gone = sorted(self._up)
        self._up.clear()
        return [PeerDown(peer) for peer in gone]

    async def _turn(self) -> None:
        await self._reopened.wait()
        assert self._following is not None, "set before the event"
        self._host, self._following = self._following, None
        self._reopened = trio.Event()


class _Voices:
    """What is said and asked; what was agreed with one host holds for the next."""

    def __init__(self, host: Host) -> None:
        self.host = host  # of now; another one after a restart
        self._topics: list[str] = []
        self._handlers: dict[str, Handler] = {}  # by protocol

    @property
    def is_open(self) -> bool:
        """Whether there is a host now."""
        return not self.host.stopping.is_set()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Announce; lost while the network is not open."""
        if self.is_open:
            await self.host.publish(topic, payload)

    async def subscribe(self, topic: str) -> None:
        """Join a topic, for good."""
        if topic not in self._topics:
            self._topics.append(topic)
        if self.is_open:
            await self.host.subscribe(topic)

    async def request(
        self, peer: NodeId, payload: bytes, patience_seconds: float, protocol: str = BLOB
    ) -> bytes:
        """Ask one question."""
        return await self.host.request(peer, payload, patience_seconds, protocol)

    def serve(self, handler: Handler, protocol: str = BLOB) -> None:
        """Answer questions, for good."""
        self._handlers[protocol] = handler
        self.host.serve(handler, protocol)

    async def _agree(self, host: Host) -> None:
        """Have a new host say and answer what the last one did."""
        for protocol, handler in self._handlers.items():
            host.serve(handler, protocol)
        for topic in self._topics:
            await host.subscribe(topic)


class _BesideNow:
    """See `dpin.net.network.Beside`: that of the host of now."""

    def __init__(self, voices: _Voices) -> None:
        self._voices = voices

    def direct_ip(self, peer: NodeId) -> str:
        """Where a direct connection to a peer ends."""
        return self._voices.host.beside.direct_ip(peer) if self._voices.is_open else ""

    def takes_ask_blob(self, peer: NodeId) -> bool:
        """Whether it speaks BLOB_2."""
        return self._voices.is_open and self._voices.host.beside.takes_ask_blob(peer)

    def count(self, peer: NodeId) -> Traffic:
        """The counters of one peer."""
        return self._voices.host.beside.count(peer)

    def complain(self, peer: NodeId, reason: str) -> None:
        """Report a peer."""
        self._voices.host.beside.complain(peer, reason)


class LastingHost(_Voices):
    """The real network for as long as the node lives; see `dpin.net.network.Network`."""

    def __init__(self, host: Host, options: HostOptions) -> None:
        super().__init__(host)
        self.options = options
        self.node_id = host.node_id
        self.addresses = host.addresses
        self.door = Door(host.door.ips, host.door.ban)
        self.observer: Observer = host.observer
        self.prove: Callable[[bool | None], None] = host.prove
        self.events = _Events(host)
        self.beside: Beside = _BesideNow(self)
        self.restarts = 0
        self.problem = ""  # while it is not open
        self._before: dict[NodeId, Traffic] = {}  # of the hosts that have ended

    async def dial(self, address: str, *others: str) -> NodeId:
        """Connect."""
        if not self.is_open:
            raise Unreached(Outcome.STOPPED, _STOPPED)
        return await self.host.dial(address, *others)

    def send(self, peer: NodeId, payload: bytes) -> bool:
        """Queue one message."""
        return self.is_open and self.host.send(peer, payload)

    def disconnect(self, peer: NodeId) -> None:
        """Drop a peer, soon."""
        self.host.disconnect(peer)

    def peers(self) -> list[NodeId]:
        """Who is connected."""
        return self.host.peers() if self.is_open else []

    def traffic(self) -> Mapping[NodeId, Traffic]:
        """Bytes by peer since the first host was opened."""
        return _summed(self._before, self.host.traffic())

    async def resume(self, host: Host) -> None:
        """Go on with a new host."""
        await self._agree(host)
        self.door.follow(host.door)
        self._before = _summed(self._before, self.host.traffic())
        self.host, self.problem = host, ""
        self.addresses, self.observer, self.prove = host.addresses, host.observer, host.prove
        self.restarts += 1
        self.events.follow(host)


async def _keep_open(network: LastingHost, report: Callable[[str], None]) -> None:
    """Open the network again whenever it ends; for ever."""
    while True:
        await network.host.stopping.wait()
        wait = FIRST_WAIT_SECONDS
        network.problem = "; ".join(network.host.errors) or "it ended"
        for tries in count():
            report(network.problem)
            await trio.sleep(wait)
            wait = min(2 * wait, WAIT_SECONDS_MAX)
            if await _opened_again(network, same_ports=tries < SAME_PORTS_TRIES):
                break


async def _opened_again(network: LastingHost, *, same_ports: bool) -> bool:
    """Open once and stay until that ends too; False where it could not be opened."""
    ports = network.addresses if same_ports else ()
    listen = at_last_ports(network.options.listen, ports)
    try:
        async with open_host(replace(network.options, listen=listen)) as host:
            await network.resume(host)
            await host.stopping.wait()
    except Unavailable as error:
        network.problem = str(error)
        return False
    return True


def _ignore(_reason: str) -> None:
    """Nobody needs to know."""


@asynccontextmanager
async def open_lasting(
    options: HostOptions, report: Callable[[str], None] = _ignore
) -> AsyncIterator[LastingHost]:
    """Listen, and stay; raises Unavailable where an address cannot be had at the start.

    `report` is told why the network ended, each time, and why it could not be opened again.
    """
    async with open_host(options) as host:
        try:
            async with trio.open_nursery() as nursery:
                network = LastingHost(host, options)
                nursery.start_soon(_keep_open, network, report)
                yield network
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None  # As `open_host` does.
            raise


def _summed(
    one: Mapping[NodeId, Traffic], other: Mapping[NodeId, Traffic]
) -> dict[NodeId, Traffic]:
    """Counters of two hosts together; those of the later one are never left out."""
    nodes = [*other, *(node for node in one if node not in other)][:TRACKED_PEERS_MAX]
    return {node: one.get(node, Traffic()) + other.get(node, Traffic()) for node in nodes}
