"""The network in memory: hundreds of nodes in one process, under trio's clock or a mock of it.

Same events in the same order as the real one, no libp2p, no sockets, no budgets. A line between
two nodes can be cut and healed; what is sent over a cut line is lost.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from dpin.base.errors import Misuse, Unavailable
from dpin.base.ids import NodeId
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.net.address import node_in, peer_text
from dpin.net.budget import EVENTS_MAX, OUTBOX_MESSAGES_MAX
from dpin.net.contained import Contained
from dpin.net.network import (
    BLOB,
    GOSSIP_BYTES_MAX,
    Beside,
    Door,
    Event,
    Gossip,
    Handler,
    Misbehaved,
    Observer,
    Outcome,
    Traffic,
    Unreached,
)

LATENCY_SECONDS: Final = 0.01

_Moving = tuple[float, Event]  # when it arrives, and what


@dataclass
class FakeWorld:
    """All nodes of one fake network."""

    nursery: trio.Nursery
    latency_seconds: float = LATENCY_SECONDS
    nodes: dict[NodeId, "FakeHost"] = field(default_factory=dict)
    cuts: set[frozenset[NodeId]] = field(default_factory=set)

    def join(self, node: NodeId) -> "FakeHost":
        """A new host for `node`; nobody is connected to it yet."""
        assert node not in self.nodes, "a node joins once, and again after it has left"
        host = self.nodes[node] = FakeHost(self, node)
        return host

    def leave(self, node: NodeId) -> None:
        """The node's process ends: its peers see it go, its events end."""
        host = self.nodes.pop(node)
        for peer in host.peers():
            self.part(node, peer)
        host.inbox.end()

    def cut(self, one: NodeId, other: NodeId) -> None:
        """Lose whatever is sent between two nodes from now on, and end their connection."""
        self.cuts.add(frozenset((one, other)))
        self.part(one, other)

    def heal(self, one: NodeId, other: NodeId) -> None:
        """Let two nodes dial each other again."""
        self.cuts.discard(frozenset((one, other)))

    def reachable(self, one: NodeId, other: NodeId) -> bool:
        """Whether a line stands between two living nodes."""
        alive = one in self.nodes and other in self.nodes
        return alive and frozenset((one, other)) not in self.cuts

    def part(self, one: NodeId, other: NodeId) -> None:
        """End the connection between two nodes."""
        for node, peer in ((one, other), (other, one)):
            if node in self.nodes:
                self.nodes[node].inbox.parted(peer)

    def hearers(self, author: NodeId, topic: str) -> list["FakeHost"]:
        """Who hears an announcement: everybody joined to the author through others."""
        found, ahead = {author}, [author]
        while ahead:
            for peer in self.nodes[ahead.pop()].peers():
                if peer not in found and peer in self.nodes:
                    found.add(peer)
                    ahead.append(peer)
        hosts = (self.nodes[node] for node in sorted(found - {author}))
        return [host for host in hosts if topic in host.inbox.topics]


class _Inbox:
    """The receiving half of one node."""

    def __init__(self, world: FakeWorld) -> None:
        self.topics: set[str] = set()
        self.handlers: dict[str, Handler] = {}  # by protocol
        self.lines: dict[NodeId, trio.MemorySendChannel[_Moving]] = {}
        self._world = world
        self._put, self.events = trio.open_memory_channel[Event](EVENTS_MAX)

    def joined(self, peer: NodeId) -> None:
        """A connection stands: PeerUp, then all that comes over this line, in order."""
        put, take = trio.open_memory_channel[_Moving](OUTBOX_MESSAGES_MAX)
        self.lines[peer] = put
        put.send_nowait((trio.current_time(), PeerUp(peer)))
        self._world.nursery.start_soon(self._carry, peer, take)

    def parted(self, peer: NodeId) -> None:
        """A connection is gone: what is under way still arrives, then PeerDown."""
        line = self.lines.pop(peer, None)
        if line is not None:
            line.close()

    def arrive(self, peer: NodeId, payload: bytes) -> bool:
        """A message sets out towards this node; False where the line is full."""
        with Contained():
            arrival = trio.current_time() + self._world.latency_seconds
            self.lines[peer].send_nowait((arrival, Received(peer, payload)))
            return True
        return False

    def post(self, event: Event) -> None:
        """An event that may be lost, as gossip may."""
        with Contained():
            self._put.send_nowait(event)

    def end(self) -> None:
        """No event comes any more."""
        self._put.close()

    async def _carry(self, peer: NodeId, line: trio.MemoryReceiveChannel[_Moving]) -> None:
        with Contained():  # The node may leave while something is on its way to it.
            async for arrival, event in line:
                await trio.sleep_until(arrival)
                await self._put.send(event)
            await self._put.send(PeerDown(peer))


class _FakeBeside:
    """There are no sockets here, but bytes are counted."""

    def __init__(
        self, inbox: _Inbox, counted: dict[NodeId, Traffic], of_before: set[NodeId]
    ) -> None:
        self._of_before = of_before
        self._counted = counted
        self._inbox = inbox

    def direct_ip(self, peer: NodeId) -> str:
        """Nowhere."""
        del peer
        return ""

    def takes_ask_blob(self, peer: NodeId) -> bool:
        """Unless a test says otherwise."""
        return peer not in self._of_before

    def count(self, peer: NodeId) -> Traffic:
        """The counters of one peer."""
        return self._counted.setdefault(peer, Traffic())

    def complain(self, peer: NodeId, reason: str) -> None:
        """Report a peer."""
        self._inbox.post(Misbehaved(peer, reason))


def _nobody(_sites: Sequence[str]) -> None:
    """Here, nobody comes from anywhere."""


class FakeHost:
    """One node of a FakeWorld; see `dpin.net.network.Network`."""

    def __init__(self, world: FakeWorld, node: NodeId) -> None:
        self.node_id = node
        self.addresses = [f"/ip4/127.0.0.1/tcp/1/p2p/{peer_text(node)}"]
        self.door = Door({}, _nobody)
        self.inbox = _Inbox(world)
        self.observer: Observer = _Observer(self)
        self.problem, self.restarts = "", 0
        self.proved: list[bool | None] = []
        self.prove: Callable[[bool | None], None] = self.proved.append
        self.events = self.inbox.events
        self._world = world
        self._counted: dict[NodeId, Traffic] = {}
        self.of_before: set[NodeId] = set()  # peers that do not speak BLOB_2
        self.beside: Beside = _FakeBeside(self.inbox, self._counted, self.of_before)

    async def dial(self, address: str, *others: str) -> NodeId:
        """Connect, after one latency; every address of a node is as good as another."""
        del others
        node = node_in(address)
        if node is None or node == self.node_id:
            raise Unreached(Outcome.NO_ADDRESS, f"{address!r} is not the address of another node")
        await trio.sleep(self._world.latency_seconds)
        if not self._world.reachable(self.node_id, node):
            raise Unreached(Outcome.REFUSED, "nobody listens there (connection refused)")
        if node not in self.inbox.lines:
            self.inbox.joined(node)
            self._world.nodes[node].inbox.joined(self.node_id)
        return node

    def send(self, peer: NodeId, payload: bytes) -> bool:
        """Queue one message on the line to a peer."""
        if peer not in self.inbox.lines or peer not in self._world.nodes:
            return False
        self.beside.count(peer).control_out += len(payload)
        return self._world.nodes[peer].inbox.arrive(self.node_id, payload)

    async def publish(self, topic: str, payload: bytes) -> None:
        """Announce to everybody that is reachable through others."""
        if len(payload) > GOSSIP_BYTES_MAX:
            raise Misuse(f"an announcement of {len(payload)} bytes")
        await trio.sleep(self._world.latency_seconds)
        if self.node_id in self._world.nodes:
            for host in self._world.hearers(self.node_id, topic):
                host.inbox.post(Gossip(self.node_id, topic, payload))

    async def subscribe(self, topic: str) -> None:
        """Hear what others announce on a topic."""
        await trio.lowlevel.checkpoint()
        self.inbox.topics.add(topic)

    async def request(
        self, peer: NodeId, payload: bytes, patience_seconds: float, protocol: str = BLOB
    ) -> bytes:
        """Ask the handler of a peer, there and back in two latencies."""
        answer: bytes | None = None
        with trio.move_on_after(patience_seconds), Contained():
            await trio.sleep(2 * self._world.latency_seconds)
            if peer in self.inbox.lines and self._world.reachable(self.node_id, peer):
                handler = self._world.nodes[peer].inbox.handlers.get(protocol)
                answer = await handler(self.node_id, payload) if handler else None
        if answer is None:
            raise Unavailable("the peer did not answer")
        self.beside.count(peer).blob_out += len(payload)
        self.beside.count(peer).blob_in += len(answer)
        return answer

    def serve(self, handler: Handler, protocol: str = BLOB) -> None:
        """Answer with `handler`."""
        self.inbox.handlers[protocol] = handler

    def disconnect(self, peer: NodeId) -> None:
        """End the connection to a peer."""
        self._world.part(self.node_id, peer)

    def peers(self) -> list[NodeId]:
        """Who is connected."""
        return sorted(self.inbox.lines)

    def traffic(self) -> Mapping[NodeId, Traffic]:
        """Bytes by peer."""
        return self._counted


class _Observer:
    """See `dpin.net.network.Observer`; nobody has an address that could be dialled for real."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def seen_at(self, peer: NodeId) -> str:
        """Nowhere."""
        del peer
        return ""

    def path(self, peer: NodeId) -> str:
        """Direct, always."""
        return "direct" if peer in self._host.inbox.lines else ""

    def dropped(self) -> Mapping[str, int]:
        """Nobody counts."""
        return {}

    def mesh(self) -> Mapping[str, int]:
        """Everybody connected hears everything."""
        return {topic: len(self._host.inbox.lines) for topic in sorted(self._host.inbox.topics)}


@asynccontextmanager
async def open_world(latency_seconds: float = LATENCY_SECONDS) -> AsyncIterator[FakeWorld]:
    """A world, and an end to all that moves in it."""
    async with trio.open_nursery() as nursery:
        yield FakeWorld(nursery, latency_seconds)
        nursery.cancel_scope.cancel()
