"""Kad-DHT at one node: what stock libp2p nodes ask it, and what it asks in turn.

It asks only where the directory's own messages found nothing: what a provider said by Kad-DHT is
not signed, so those messages do not carry it, and stock nodes keep what no other node has.
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
from dpin.net.kad import answer, ask_addresses, ask_providers, kad_protocol, told_record
from dpin.net.kadwire import Contact, KadMessage, read_message
from dpin.net.keeper import Keeper
from dpin.net.lookup import DIALS_MAX, NEAREST, PATHS, Lookup
from dpin.net.network import Network
from dpin.net.prefix import ip_in, is_near
from dpin.net.records import Key, Record, blob_key, node_key

PATIENCE_SECONDS: Final = 3.0  # for one answer
LOOKUP_SECONDS: Final = 10.0
GUESTS_MAX: Final = 32  # connections that lookups opened; the oldest is let go

Take = Callable[[KadMessage], bool]  # whether there is something of use in an answer


@dataclass(frozen=True, slots=True)
class Bearings:
    """What the whereabouts of one node are tied to."""

    host: Network
    key: SigningKey
    chain: ChainId
    now: Callable[[], Instant]
    known: Callable[[NodeId], Sequence[str]]  # where peers answer, as this node believes
    dial: Callable[[str], Awaitable[None]]
    reach: Callable[[Sequence[str]], Awaitable[bool]]  # dial, and seek nobody who is not there
    blame: Callable[[NodeId, str], None]


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

        await self._look(node_key(node), ask_addresses(node), take, far=far)
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

        await self._look(blob_key(blob), ask_providers(blob), take)
        ranks = chain.from_iterable(zip_longest(*lists))  # A liar has one place in each rank.
        found: dict[NodeId, Contact] = {}
        for contact in ranks:
            if contact is not None:
                found.setdefault(contact.node, contact)
        return list(found.values())

    async def _look(self, key: Key, question: bytes, take: Take, *, far: bool = True) -> None:
        """Ask from the nearest peers on, until it is known, or nobody is left, or for 10 s."""
        near = self._keeper.nearest(key, PATHS * NEAREST)
        lookup = Lookup(key, self._by.key.node_id, near, DIALS_MAX if far else 0)
        with trio.move_on_after(LOOKUP_SECONDS):
            async with trio.open_nursery() as nursery:
                self._go_on(_Search(lookup, question, take, nursery))

    def _go_on(self, search: _Search) -> None:
        here = set(self._by.host.peers())
        while (contact := search.lookup.next(here)) is not None:
            search.nursery.start_soon(self._visit, search, contact)
        if search.lookup.enough:
            search.nursery.cancel_scope.cancel()

    async def _visit(self, search: _Search, contact: Contact) -> None:
        """Ask one peer, who has to be dialled first where it has addresses."""
        told, useful = None, False
        if not contact.addresses or await self._met(contact):
            told, useful = await self._ask(contact.node, search)
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
        if not self._keeper.may_dial(self._by.now()):
            return False
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
            return told, search.take(told)
        except Unavailable:
            return None, False  # Many do not speak it.
        except PeerFault as fault:
            self._by.blame(peer, str(fault))
            return None, False

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
