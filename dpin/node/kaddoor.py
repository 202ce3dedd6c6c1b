"""Kad-DHT at one node: what libp2p nodes ask it, and what it asks in turn.

Things are looked for where the directory's own messages found nothing: what a provider said by
Kad-DHT is not signed, so those messages do not carry it, and stock nodes keep what no other has.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Final

import trio

from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import BlobId, ChainId, NodeId
from dpin.base.units import Instant
from dpin.net.address import by_ease
from dpin.net.kad import (
    answer,
    ask_addresses,
    ask_nodes,
    ask_providers,
    kad_protocol,
    told_record,
)
from dpin.net.kadwire import Contact, KadMessage, read_message
from dpin.net.keeper import Keeper, known
from dpin.net.lookup import DIALS_MAX, FIRST_MAX, Aim, Lookup
from dpin.net.network import Network
from dpin.net.prefix import ip_in, is_near
from dpin.net.records import Record, blob_key, node_key, position

PATIENCE_SECONDS: Final = 3.0  # for one answer
LOOKUP_SECONDS: Final = 10.0
GUESTS_MAX: Final = 32  # connections that lookups opened; the oldest is let go
REPLICAS: Final = 5  # of what is put: as many as the directory has
WANTED_TO_PUT: Final = 8  # answers of a path, to know the nearest

Take = Callable[[KadMessage], bool]  # whether there is something of use in an answer


@dataclass(frozen=True, slots=True)
class Bearings:
    """What the whereabouts of one node are tied to."""

    host: Network
    key: SigningKey
    chain: ChainId
    now: Callable[[], Instant]
    known: Callable[[NodeId], Sequence[str]]  # where peers answer, as this node believes
    reached: Callable[[NodeId], str]  # where a peer answered this node's own dial; "": nowhere yet
    dial: Callable[[str], Awaitable[None]]
    reach: Callable[[Sequence[str]], Awaitable[bool]]  # dial, and seek nobody who is not there
    blame: Callable[[NodeId, str], None]


def _nothing(_told: KadMessage) -> bool:
    """Only who is near is asked for, and no answer is the last word on that."""
    return False


@dataclass
class _Search:
    """One lookup under way."""

    lookup: Lookup
    question: bytes
    take: Take
    nursery: trio.Nursery


class KadDoor:
    """Questions of Kad-DHT, answered and asked: of the nodes nearest to a key, near or far."""

    def __init__(self, bearings: Bearings, keeper: Keeper) -> None:
        self._by = bearings
        self._keeper = keeper
        self._protocol = kad_protocol(bearings.chain)
        self._guests: OrderedDict[NodeId, None] = OrderedDict()

    def serve(self) -> None:
        """Answer from now on."""
        self._by.host.serve(self._answer, self._protocol)

    async def addresses(self, node: NodeId, *, far: bool = True) -> tuple[str, ...]:
        """Where a node says, signed, that it answers, of several records the last.

        Where it says nothing, where others say that it does: a dial proves it. Not `far`: nobody
        is dialled to be asked.
        """
        found: list[Record] = []
        heard: list[Contact] = []

        def take(told: KadMessage) -> bool:
            heard.extend(contact for contact in told.closer if contact.node == node)
            record = told_record(self._keeper, node, told, self._by.now())
            if record is not None:
                found.append(record)
            return record is not None

        aim = Aim(node_key(node), DIALS_MAX if far else 0)
        await self._look(aim, ask_addresses(node), take)
        if found:
            return max(found, key=lambda record: record.expires).addresses
        return heard[0].addresses if heard else ()

    async def providers(self, blob: BlobId) -> list[Contact]:
        """Who is said to have a blob; nobody signed it."""
        lists: list[tuple[Contact, ...]] = []

        def take(told: KadMessage) -> bool:
            others = tuple(one for one in told.providers if one.node != self._by.key.node_id)
            lists.append(others)
            return bool(others)

        await self._look(Aim(blob_key(blob)), ask_providers(blob), take)
        ranks = chain.from_iterable(zip_longest(*lists))  # A liar has one place in each rank.
        found: dict[NodeId, Contact] = {}
        for contact in ranks:
            if contact is not None:
                found.setdefault(contact.node, contact)
        return list(found.values())

    async def put(self, name: bytes, question: bytes) -> int:
        """Ask the nodes nearest to a name to keep something; how many say that they do."""
        aim = Aim(position(name), wanted=WANTED_TO_PUT)
        nearest = (await self._look(aim, ask_nodes(name), _nothing)).nearest(REPLICAS)
        kept: list[NodeId] = []

        async def ask(peer: NodeId) -> None:
            host = self._by.host
            try:
                await host.request(peer, question, PATIENCE_SECONDS, self._protocol)
            except Unavailable:
                return  # It refuses, or is gone, or never answers that.
            except PeerFault as fault:
                self._by.blame(peer, str(fault))
                return
            kept.append(peer)

        async with trio.open_nursery() as nursery:
            for peer in nearest:
                nursery.start_soon(ask, peer)
        return len(kept)

    async def explore(self, name: bytes) -> None:
        """Look for the nodes near to a name, to know them; whom that dials is let go again."""
        before = set(self._guests)
        await self._look(Aim(position(name), wanted=WANTED_TO_PUT), ask_nodes(name), _nothing)
        for node in [node for node in self._guests if node not in before]:
            del self._guests[node]
            self._by.host.disconnect(node)

    async def _look(self, aim: Aim, question: bytes, take: Take) -> Lookup:
        """Ask from the nearest known on, until it is known, or nobody is left, or for 10 s."""
        first = known(self._keeper, aim.key, FIRST_MAX)
        lookup = Lookup(aim, self._by.key.node_id, first)
        with trio.move_on_after(LOOKUP_SECONDS):
            async with trio.open_nursery() as nursery:
                self._go_on(_Search(lookup, question, take, nursery))
        return lookup

    def _go_on(self, search: _Search) -> None:
        here = set(self._by.host.peers())
        while (contact := search.lookup.next(here)) is not None:
            search.nursery.start_soon(self._visit, search, contact)
        if search.lookup.enough:
            search.nursery.cancel_scope.cancel()

    async def _visit(self, search: _Search, contact: Contact) -> None:
        """Ask one peer, who has to be dialled first where it has addresses."""
        told, useful = None, False
        affordable = not contact.addresses or self._keeper.may_dial(self._by.now())
        if affordable and (not contact.addresses or await self._met(contact)):
            told, useful = await self._ask(contact.node, search)
        if affordable and told is None:
            self._keeper.table.failed(contact.node)
        if told is None:
            search.lookup.failed(contact.node)
        elif useful:
            search.lookup.knew(contact.node)
        else:
            search.lookup.answered(contact.node, self._believed(contact.node, told.closer))
        self._go_on(search)

    async def _met(self, contact: Contact) -> bool:
        """Connect to a peer that was named; those of whom nothing came for longest are let go."""
        host = self._by.host
        if not await self._by.reach(by_ease(contact.addresses)):
            return False
        self._guests[contact.node] = None
        self._guests.move_to_end(contact.node)
        while len(self._guests) > GUESTS_MAX:
            host.disconnect(self._guests.popitem(last=False)[0])
        return True

    def _believed(self, namer: NodeId, named: Sequence[Contact]) -> list[Contact]:
        """Whom a peer names, without places that it cannot know: private ones, seen from afar."""
        ip = self._by.host.observer.seen_at(namer)
        if not ip or is_near(ip):
            return list(named)
        kept = (
            Contact(one.node, tuple(a for a in one.addresses if not is_near(ip_in(a))))
            for one in named
        )
        return [contact for contact in kept if contact.addresses]

    async def _ask(self, peer: NodeId, search: _Search) -> tuple[KadMessage | None, bool]:
        """What a peer says, and whether that is of use."""
        host = self._by.host
        try:
            raw = await host.request(peer, search.question, PATIENCE_SECONDS, self._protocol)
            told = read_message(raw)
            useful = search.take(told)
        except Unavailable:
            return None, False  # Many do not speak it.
        except PeerFault as fault:
            self._by.blame(peer, str(fault))
            return None, False
        self._keeper.table.answered(peer, self._by.reached(peer), self._by.now())
        return told, useful

    async def _answer(self, peer: NodeId, question: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        try:
            told = answer(self._keeper, peer, question, self._by.now())
        except PeerFault as fault:
            self._by.blame(peer, str(fault))
            raise Unavailable(str(fault)) from None
        if told is None:
            raise Unavailable("nothing is said to that")
        return told
