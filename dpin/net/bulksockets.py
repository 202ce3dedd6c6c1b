"""Which bulk sockets stand to whom, and how more are had: by dialling, or by being dialled."""

from dataclasses import dataclass
from functools import partial
from os import urandom
from typing import Final

import trio

from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import NodeId
from dpin.net.blobwire import (
    PORT_MAX,
    REASON_CHARACTERS_MAX,
    AskDial,
    AskTicket,
    Dialled,
    Refused,
    Reply,
    SocketQuestion,
    Ticket,
)
from dpin.net.budget import BULK_LINKS_MAX, BULK_LINKS_PER_PEER_MAX
from dpin.net.bulkdoor import Door, Seals, dial
from dpin.net.bulklink import Around, AskPeer, BulkLink
from dpin.net.contained import Contained, Report, one_line
from dpin.net.links import clock
from dpin.net.network import Network
from dpin.net.tickets import SECRET_BYTES, TICKET_BYTES, Tickets, keys_of

SHUNNED_SECONDS: Final = 60.0  # after a socket could not be had
NO_SALT: Final = bytes(SECRET_BYTES)
NO_PORT: Final = -1


@dataclass(slots=True)
class SocketCounts:
    """What became of the attempts of a node to have bulk sockets."""

    dialled: int = 0
    dialled_back: int = 0  # as a peer asked
    failed: int = 0  # after these, streams of libp2p are used for a while


class Standing:
    """The sockets that stand, by peer."""

    def __init__(self, network: Network, around: Around, report: Report) -> None:
        self._network = network
        self._around = around
        self._report = report
        self._links: dict[NodeId, list[BulkLink]] = {}

    def get(self, peer: NodeId) -> BulkLink | None:
        """A socket to a peer."""
        return next(iter(self._links.get(peer, [])), None)

    def count(self) -> dict[NodeId, int]:
        """How many there are, by peer."""
        return {peer: len(links) for peer, links in sorted(self._links.items())}

    def full(self, peer: NodeId) -> bool:
        """Whether there may be no more, or no more to this peer."""
        total = sum(map(len, self._links.values()))
        return total >= BULK_LINKS_MAX or len(self._links.get(peer, [])) >= BULK_LINKS_PER_PEER_MAX

    def add(self, peer: NodeId, stream: trio.SocketStream, seals: Seals) -> BulkLink:
        """One more; it is then to be kept. Raises Unavailable where the system has no room."""
        counted = partial(self._network.beside.count, peer)
        try:
            link = BulkLink(peer, stream.socket, seals, self._around, counted)
        except OSError as error:
            stream.socket.close()
            raise Unavailable(f"no room for a bulk socket: {one_line(error)}") from error
        self._links.setdefault(peer, []).append(link)
        return link

    async def keep(self, link: BulkLink) -> None:
        """Run a socket to its end."""
        try:
            with Contained(self._report):
                await link.run()
        finally:
            self._links[link.peer].remove(link)
            if not self._links[link.peer]:
                del self._links[link.peer]


class Sockets:
    """All bulk sockets of one node."""

    def __init__(self, network: Network, around: Around, ask: AskPeer, report: Report) -> None:
        self.counts = SocketCounts()
        self.port = NO_PORT  # where this node listens
        self.tickets = Tickets()
        self.door = Door(self.tickets, self._run)
        self._network = network
        self._step = around.step
        self.standing = Standing(network, around, report)
        self._ask = ask
        self._report = report
        self._opening: dict[NodeId, trio.Lock] = {}
        self._shunned: dict[NodeId, float] = {}
        self._nursery: trio.Nursery | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """Run sockets in tasks of this nursery from now on."""
        self._nursery = nursery

    async def opened(self, peer: NodeId) -> BulkLink | None:
        """A socket to a peer; None where none can be had, which is then believed for a while."""
        if self.standing.get(peer) is None and self._worth_trying(peer):
            lock = self._opening.setdefault(peer, trio.Lock())
            async with lock:
                if self.standing.get(peer) is None and self._worth_trying(peer):
                    await self._try(peer)
            if not lock.locked():
                self._opening.pop(peer, None)
        return self.standing.get(peer)

    def _worth_trying(self, peer: NodeId) -> bool:
        if self.port == NO_PORT or not self._network.beside.direct_ip(peer):
            return False
        return self._shunned.get(peer, 0.0) <= trio.current_time()

    async def _try(self, peer: NodeId) -> None:
        try:
            try:
                await self._dial(peer)
            except Unavailable as error:
                self._step(peer, f"no way to its bulk port, it is asked to dial: {error}")
                await self._be_dialled(peer)
            self._step(peer, "a bulk socket stands")
        except (Unavailable, PeerFault) as error:
            self._step(peer, f"no bulk socket, streams of libp2p are used: {error}")
            self.counts.failed += 1
            self._report(error)
            now = trio.current_time()
            self._shunned = {one: until for one, until in self._shunned.items() if until > now}
            self._shunned[peer] = now + SHUNNED_SECONDS

    async def _dial(self, peer: NodeId) -> None:
        salt = urandom(SECRET_BYTES)
        self._step(peer, "asked for a ticket")
        ticket = await self._ask(peer, AskTicket(salt))
        if not isinstance(ticket, Ticket):
            raise PeerFault("answered another question than the one that was put")
        self._step(peer, f"gave a ticket for its bulk port {ticket.port}, which is dialled")
        await self._connect(peer, ticket, salt)
        self.counts.dialled += 1

    async def _be_dialled(self, peer: NodeId) -> None:
        own = self._ticket_for(peer, NO_SALT)
        if not isinstance(own, Ticket):
            raise Unavailable("too many tickets are out")
        await self._ask(peer, AskDial(own.port, own.ticket, own.secret))
        if self.standing.get(peer) is None:
            raise Unavailable("the peer says that it dialled, and nobody came")

    async def answer(self, peer: NodeId, question: SocketQuestion) -> Reply:
        """Give a ticket, or dial."""
        if isinstance(question, AskTicket):
            return self._ticket_for(peer, question.salt)
        try:
            await self._connect(
                peer, Ticket(question.port, question.ticket, question.secret), NO_SALT
            )
        except Unavailable as error:
            return Refused(str(error)[:REASON_CHARACTERS_MAX])
        self.counts.dialled_back += 1
        return Dialled()

    def _ticket_for(self, peer: NodeId, salt: bytes) -> Ticket | Refused:
        if self.port == NO_PORT:
            return Refused("no bulk port here")
        ticket, secret = urandom(TICKET_BYTES), urandom(SECRET_BYTES)
        keys = keys_of(ticket, secret, salt, peer, self._network.node_id)
        if not self.tickets.give(ticket, peer, keys, clock()):
            return Refused("too many tickets are out")
        return Ticket(self.port, ticket, secret)

    async def _connect(self, peer: NodeId, ticket: Ticket, salt: bytes) -> None:
        ip = self._network.beside.direct_ip(peer)
        if not ip or not 0 < ticket.port <= PORT_MAX or self.standing.full(peer):
            raise Unavailable("no direct connection to the peer, or too many")
        keys = keys_of(ticket.ticket, ticket.secret, salt, self._network.node_id, peer)
        stream, seals = await dial(ip, ticket.port, ticket.ticket, keys)
        assert self._nursery is not None, "opened before it is used"
        self._nursery.start_soon(self.standing.keep, self.standing.add(peer, stream, seals))

    async def _run(self, peer: NodeId, stream: trio.SocketStream, seals: Seals) -> None:
        """A socket that a peer opened."""
        if self.standing.full(peer):
            stream.socket.close()
            return
        with Contained(self._report):
            await self.standing.keep(self.standing.add(peer, stream, seals))
