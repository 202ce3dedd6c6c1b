"""A distributed table of records: each is kept by the connected peers nearest to its key.

Where everybody is connected to everybody, one hop is enough. Where not, whoever is asked names
peers of its own that are nearer, and the asker connects to them and asks again (Kademlia,
Maymounkov and Mazieres 2002). Questions and answers are messages on the streams between peers.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, assert_never

from msgspec import structs

from dpin.base.codec import Wire, decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, ChainId, NodeId
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Send, Tick, Wake
from dpin.base.units import Instant, after, seconds
from dpin.net.address import node_in
from dpin.net.keeper import Keeper
from dpin.net.records import RECORD_BYTES_MAX, Key, Record, place
from dpin.net.shelf import PER_KEY_MAX

REPLICAS: Final = 5
ENOUGH: Final = 3  # answers with a record in them
PATIENCE: Final = seconds(3)
NEARER_MAX: Final = 4
DIALS_MAX: Final = 8  # for one question
QUERIES_MAX: Final = 256
RECORDS_PER_PUT_MAX: Final = 8
MESSAGE_BYTES_MAX: Final = (PER_KEY_MAX + 1) * RECORD_BYTES_MAX


class Put(Wire, frozen=True, tag=1):
    """Keep these."""

    query: int
    records: tuple[bytes, ...]


class Kept(Wire, frozen=True, tag=2):
    """So many of them are kept; and these peers, by address, are nearer to the first one's key."""

    query: int
    records: int
    nearer: tuple[str, ...]


class Seek(Wire, frozen=True, tag=3):
    """What is kept under this key?"""

    query: int
    key: bytes


class Told(Wire, frozen=True, tag=4):
    """These records; and these peers, by address, are nearer to the key."""

    query: int
    records: tuple[bytes, ...]
    nearer: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Have a record of this node kept by others; ends in Announced."""

    record: Record


@dataclass(frozen=True, slots=True)
class Find:
    """Look for what is kept under a key; ends in Found."""

    key: Key


@dataclass(frozen=True, slots=True)
class Announced:
    """So many others keep the record now."""

    key: Key
    copies: int


@dataclass(frozen=True, slots=True)
class Found:
    """All that was found: the newest record of each signer."""

    key: Key
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Approach:
    """Connect to this peer: it may know."""

    address: str


Message = Put | Kept | Seek | Told
Event = Tick | PeerUp | PeerDown | Received | Announce | Find
Effect = Send | Wake | Blame | Announced | Found | Approach


@dataclass(slots=True)
class _Query:
    key: Key
    until: Instant
    putting: bool
    question: bytes
    waiting: set[NodeId]
    asked: set[NodeId]
    copies: int = 0
    hits: int = 0
    records: dict[NodeId, Record] = field(default_factory=dict)
    approached: set[NodeId] = field(default_factory=set)


class Directory:
    """One node's part of the table; `addresses_of` says where a peer answers, best first."""

    def __init__(
        self, me: NodeId, chain: ChainId, addresses_of: Callable[[NodeId], Sequence[str]]
    ) -> None:
        self._me = me
        self.keeper = Keeper(me, chain, addresses_of)
        self.shelf = self.keeper.shelf
        self._places = self.keeper.places
        self._queries: dict[int, _Query] = {}
        self._ids = count()

    def step(self, event: Event, now: Instant) -> Sequence[Effect]:
        """See dpin.base.machine.Machine."""
        match event:
            case Announce(record):
                return self._announce(record, now)
            case Find(key):
                return self._find(key, now)
            case Received(peer, payload):
                return self._received(peer, payload, now)
            case PeerUp(peer):
                return self._met(peer)
            case PeerDown(peer):
                return self._parted(peer)
            case Tick():
                return self._expire(now)
            case _:
                assert_never(event)

    # --- questions of this node ---

    def _announce(self, record: Record, now: Instant) -> Sequence[Effect]:
        self.shelf.put(record, now)
        return self._open(record.key, now, Put(0, (record.raw,)))

    def _find(self, key: Key, now: Instant) -> Sequence[Effect]:
        return self._open(key, now, Seek(0, key))

    def _open(self, key: Key, now: Instant, question: Put | Seek) -> Sequence[Effect]:
        number = next(self._ids)
        free = len(self._queries) < QUERIES_MAX
        peers = self.keeper.nearest_speaking(key, REPLICAS) if free else []
        putting = isinstance(question, Put)
        payload = encode(structs.replace(question, query=number))
        until = after(now, PATIENCE)
        query = _Query(key, until, putting, payload, set(peers), set(peers))
        if not putting:
            query.records = {record.signer: record for record in self.shelf.get(key, now)}
        self._queries[number] = query
        sends: list[Effect] = [Send(peer, payload) for peer in peers]
        return [*sends, Wake(query.until), *self._settle(number)]

    def _settle(self, number: int, *, late: bool = False) -> Sequence[Effect]:
        """Whether a question has ended, and how."""
        query = self._queries[number]
        enough = query.hits >= ENOUGH and not query.putting
        if not late and not enough and (query.waiting or query.approached):
            return []
        del self._queries[number]
        if query.putting:
            return [Announced(query.key, query.copies)]
        records = (query.records[signer] for signer in sorted(query.records))
        return [Found(query.key, tuple(records))]

    def _expire(self, now: Instant) -> Sequence[Effect]:
        late = [number for number, query in self._queries.items() if query.until <= now]
        for number in late:
            self.keeper.unheard(self._queries[number].waiting)
        return [effect for number in late for effect in self._settle(number, late=True)]

    # --- peers ---

    def _met(self, peer: NodeId) -> Sequence[Effect]:
        self._places[peer] = place(peer)
        effects: list[Effect] = []
        for query in self._queries.values():
            if peer in query.approached:
                query.approached.discard(peer)
                query.waiting.add(peer)
                effects.append(Send(peer, query.question))
        return effects

    def _parted(self, peer: NodeId) -> Sequence[Effect]:
        self.keeper.parted(peer)
        effects: list[Effect] = []
        for number in [n for n, query in self._queries.items() if peer in query.waiting]:
            self._queries[number].waiting.discard(peer)
            effects += self._settle(number)
        return effects

    def _received(self, peer: NodeId, payload: bytes, now: Instant) -> Sequence[Effect]:
        try:
            message: Message = decode(Message, payload, MESSAGE_BYTES_MAX)
            self.keeper.heard(peer)
            match message:
                case Put():
                    return [Send(peer, encode(_keep(self.keeper, peer, message, now)))]
                case Seek():
                    return _tell(self.keeper, peer, message, now)
                case Kept():
                    return self._kept(peer, message, now)
                case Told():
                    return self._told(peer, message, now)
                case _:
                    assert_never(message)
        except PeerFault as fault:
            return [Blame(peer, str(fault))]

    # --- answers ---

    def _answered(self, peer: NodeId, number: int, *, putting: bool) -> _Query | None:
        """The question that this answers; None where it has ended, or was put to nobody."""
        query = self._queries.get(number)
        if query is None or peer not in query.waiting or query.putting is not putting:
            return None
        query.waiting.discard(peer)
        return query

    def _kept(self, peer: NodeId, kept: Kept, now: Instant) -> Sequence[Effect]:
        query = self._answered(peer, kept.query, putting=True)
        if query is None:
            return []
        query.copies += kept.records > 0
        effects = list(self._approach(query, kept.nearer, now))
        return [*effects, *self._settle(kept.query)]

    def _told(self, peer: NodeId, told: Told, now: Instant) -> Sequence[Effect]:
        if len(told.records) > PER_KEY_MAX:
            raise PeerFault("told more than was asked")
        query = self._answered(peer, told.query, putting=False)
        if query is None:
            return []
        useful = [self._take(query, raw, now) for raw in told.records]
        query.hits += any(useful)
        effects = list(self._approach(query, told.nearer, now))
        return [*effects, *self._settle(told.query)]

    def _take(self, query: _Query, raw: bytes, now: Instant) -> bool:
        """Whether an answer is of use; a record that is here already need not be checked again."""
        if raw and any(record.raw == raw for record in query.records.values()):
            return True
        record = self.keeper.read(raw)
        if record.key != query.key:
            raise PeerFault("told of another key than was asked for")
        old = query.records.get(record.signer)
        if record.fresh(now) and (old is None or old.expires < record.expires):
            query.records[record.signer] = record
        return record.fresh(now)

    def _approach(self, query: _Query, nearer: Sequence[str], now: Instant) -> Iterable[Effect]:
        """Connect to those who are nearer than who was asked, few of them and not too often."""
        if len(nearer) > NEARER_MAX:
            raise PeerFault("told of more peers than was asked for")
        for address in nearer:
            node = node_in(address)
            if node is None:
                raise PeerFault("told of peers at what are no addresses")
            if node == self._me or node in self._places or node in query.asked:
                continue
            if len(query.asked) < REPLICAS + DIALS_MAX and self.keeper.may_dial(now):
                query.asked.add(node)
                query.approached.add(node)
                yield Approach(address)


# --- questions of others ---


def _keep(keeper: Keeper, peer: NodeId, put: Put, now: Instant) -> Kept:
    """Keep what a peer brings; raises PeerFault for what nobody said."""
    if len(put.records) > RECORDS_PER_PUT_MAX:
        raise PeerFault("sent more records at once than are taken")
    if not put.records or not keeper.puts.charge(peer, len(put.records), now):
        return Kept(put.query, 0, ())
    records = [keeper.read(raw) for raw in put.records]
    nearer = keeper.nearer(peer, records[0].key, NEARER_MAX)
    return Kept(put.query, sum(keeper.shelf.put(record, now) for record in records), nearer)


def _tell(keeper: Keeper, peer: NodeId, seek: Seek, now: Instant) -> Sequence[Effect]:
    """Answer a question, or not where a peer asks too much; raises PeerFault for nonsense."""
    if len(seek.key) != ID_BYTES:
        raise PeerFault("asked for what is no key")
    if not keeper.seeks.charge(peer, 1, now):
        return []
    key = Key(seek.key)
    records = tuple(record.raw for record in keeper.shelf.get(key, now) if record.raw)
    nearer = () if records else keeper.nearer(peer, key, NEARER_MAX)
    return [Send(peer, encode(Told(seek.query, records, nearer)))]
