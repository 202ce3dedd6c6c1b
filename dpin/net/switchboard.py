"""Connections become links, streams find their readers, and each peer's bytes are counted."""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Protocol

import trio

from dpin.base.errors import Unavailable
from dpin.base.ids import NodeId
from dpin.net import guards
from dpin.net.address import node_of
from dpin.net.budget import CONNECTIONS_MAX, INBOUND_STREAMS, TRACKED_PEERS_MAX, Budget
from dpin.net.connection import Connection, Muxed
from dpin.net.contained import Contained, one_line
from dpin.net.exchange import FRAMES, Exchange
from dpin.net.inflow import straight_to
from dpin.net.kad import FRAMING as KAD_FRAMING
from dpin.net.links import WATCH_SECONDS, Link, Stream, Wiring, clock
from dpin.net.network import ASK, BLOB, DIAL_BACK, Event, Traffic

CONTROL: Final = "/dpin/control/1"
LINK_SECONDS: Final = 2.0
LINKS_MAX: Final = 2 * CONNECTIONS_MAX  # those whose leave is not yet taken included
ERRORS_KEPT: Final = 50
_COUNTERS: Final = {BLOB: "blob", ASK: "ask", DIAL_BACK: "ask"}  # of net.network.Traffic


class PeerStream(Stream, Protocol):
    """A stream that knows whose it is."""

    muxed_conn: Muxed


class Switchboard:
    """The connections of libp2p, as links of ours."""

    def __init__(
        self,
        open_stream: Callable[[str, NodeId], Awaitable[Stream]],
        drop: Callable[[NodeId], Awaitable[None]],
        nursery: trio.Nursery,
        events: trio.MemorySendChannel[Event],
    ) -> None:
        self.links: dict[NodeId, Link] = {}
        self.ips: dict[NodeId, str] = {}  # of those that are linked
        self.counted: dict[NodeId, Traffic] = {}
        self.errors: deque[str] = deque(maxlen=ERRORS_KEPT)
        self.open = open_stream
        self.wiring = Wiring.with_budgets(
            partial(open_stream, CONTROL), self.drop, events, self.count, straight_to
        )
        self._drop = drop
        self._nursery = nursery
        self._news = trio.Event()
        self._lost: Counter[str] = Counter()  # messages of links that are gone
        nursery.start_soon(self._watch)

    def lost(self) -> Counter[str]:
        """Messages dropped so far, by cause."""
        found = Counter(self._lost)
        for link in self.links.values():
            found.update(link.lost)
        return found

    def connections(self) -> list[Connection]:
        """All that stand, or were standing when the host died."""
        return [connection for link in self.links.values() for connection in link.connections]

    def note(self, error: BaseException) -> None:
        """Keep what went wrong inside libp2p, for whoever logs."""
        self.errors.append(one_line(error))

    def count(self, node: NodeId) -> Traffic:
        """The counters of one peer; the oldest of a stranger go when there are too many."""
        if node not in self.counted and len(self.counted) >= TRACKED_PEERS_MAX:
            gone = next((known for known in self.counted if known not in self.links), node)
            self.counted.pop(gone, None)
        return self.counted.setdefault(node, Traffic())

    async def joined(self, connection: Connection) -> None:
        """A connection stands."""
        node = node_of(connection.muxed_conn.peer_id.to_bytes())
        if connection.is_closed:
            return
        if node is None or (node not in self.links and len(self.links) >= LINKS_MAX):
            self._nursery.start_soon(connection.close)
            return
        if node in self.links:
            self.links[node].joined(connection)
            return
        remote = connection.muxed_conn.get_remote_address()
        self.ips[node] = remote[0] if remote else ""
        link = self.links[node] = Link(node, self.wiring)
        link.joined(connection)
        self._nursery.start_soon(self._keep, node, link)
        self._news.set()
        self._news = trio.Event()

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        node = node_of(connection.muxed_conn.peer_id.to_bytes())
        if node is not None and node in self.links:
            self.links[node].left(connection)

    async def _keep(self, node: NodeId, link: Link) -> None:
        with Contained(self.note):
            await link.run()
        self._lost.update(link.lost)
        del self.links[node], self.ips[node]

    async def _watch(self) -> None:
        """Let go of peers that are silent or take nothing."""
        while True:
            await trio.sleep(WATCH_SECONDS)
            now = trio.current_time()
            for node in [node for node, link in self.links.items() if link.is_over(now)]:
                self._nursery.start_soon(self.drop, node)

    async def drop(self, node: NodeId) -> None:
        """Close every connection to a peer."""
        with Contained(self.note):
            await self._drop(node)

    async def linked(self, node: NodeId) -> Link:
        """The link to a peer. Its streams may come before libp2p tells of its connection."""
        with trio.move_on_after(LINK_SECONDS):
            while node not in self.links:
                await self._news.wait()
        if node not in self.links:
            raise Unavailable("the connection is gone")
        return self.links[node]


def exchanges(board: Switchboard, nursery: trio.Nursery, kad: str) -> Mapping[str, Exchange]:
    """Those of one host, by protocol; with that of Kad-DHT where it has a name."""
    kinds = {**_COUNTERS, kad: "ask"} if kad else _COUNTERS
    return {
        protocol: Exchange(
            partial(board.open, protocol),
            partial(_count, board, kind),
            nursery,
            board.note,
            KAD_FRAMING if protocol == kad else FRAMES,
        )
        for protocol, kind in kinds.items()
    }


def _count(board: Switchboard, kind: str, node: NodeId, came: int, went: int) -> None:
    board.count(node).moved(kind, came, went)


class Intake:
    """The streams that peers open."""

    def __init__(self, board: Switchboard) -> None:
        self.refused = 0
        self._board = board
        self._streams = Budget(INBOUND_STREAMS)

    def admit(self, stream: PeerStream) -> bool:
        """Whether a stream may be served."""
        node = node_of(stream.muxed_conn.peer_id.to_bytes())
        if node is None:
            return False
        if self._streams.charge(node, 1, clock()):
            return True
        self.refused += 1
        self._board.wiring.complain(node, "opened more streams than its budget allows")
        return False

    def report(self, stream: PeerStream, error: BaseException) -> None:
        """Blame a peer for what its bytes raised, and for nothing else."""
        node = node_of(stream.muxed_conn.peer_id.to_bytes())
        if node is not None and guards.is_garbage(error):
            self._board.wiring.complain(node, one_line(error))
        elif not guards.is_hangup(error):
            self._board.note(error)

    async def on_control(self, stream: PeerStream) -> None:
        """A stream of messages."""
        link = await self._board.linked(_peer(stream))
        await link.read(stream)

    async def on_question(self, exchange: Exchange, stream: PeerStream) -> None:
        """A stream for one question."""
        await self._board.linked(_peer(stream))
        await exchange.answer(_peer(stream), stream)

    async def on_gossip(
        self, read_all: Callable[[PeerStream], Awaitable[None]], stream: PeerStream
    ) -> None:
        """A stream of libp2p's own, its bytes counted."""
        counted = self._board.count(_peer(stream))
        plain = stream.read

        async def read(n: int) -> bytes:
            data = await plain(n)
            counted.gossip_in += len(data)
            return data

        setattr(stream, "read", read)  # noqa: B010  A method of this one stream.
        await read_all(stream)


def _peer(stream: PeerStream) -> NodeId:
    node = node_of(stream.muxed_conn.peer_id.to_bytes())
    assert node is not None, "admit lets no other in"
    return node
