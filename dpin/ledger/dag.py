"""The DAG as this node knows it: accepted blocks, suspended ones, and what they wait for.

A block is accepted when all its ancestors above `gc_round` are; `gc_round` follows committed
leaders alone. A node keeps what it has accepted, so that any round can be served to whoever was
away; who serves nobody drops what no commit can take any more (`prune`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import Digest, NodeId, Round
from dpin.base.units import Instant
from dpin.ledger.blocks import Reference, Vertex
from dpin.ledger.committee import Committee

TWINS_MAX: Final = 2  # blocks of one slot that are taken without anybody needing them (M3)
SUSPENDED_MAX: Final = 256  # blocks of one author
SUSPENDED_BYTES_MAX: Final = 8 << 20  # of one author


class Fate(IntEnum):
    """What became of an offered block."""

    ACCEPTED = 1
    SUSPENDED = 2
    KNOWN = 3
    OLD = 4  # at or below gc_round
    FAR = 5  # too far ahead to keep: fetch the rounds between first
    TWIN = 6  # a third block of a slot that nobody refers to
    FULL = 7  # too many suspended blocks of its author


@dataclass(slots=True)
class Suspended:
    """A valid block whose ancestors are not all here."""

    vertex: Vertex
    sender: NodeId
    since: Instant
    bytes: int
    missing: set[Reference]


@dataclass(frozen=True, slots=True)
class Offered:
    """The fate of a block, the blocks now accepted because of it, and what it still lacks."""

    fate: Fate
    accepted: Sequence[Vertex] = ()
    missing: Sequence[Reference] = ()


@dataclass(slots=True)
class _RoundBlocks:
    slots: dict[int, list[Vertex]] = field(default_factory=dict)
    blocks: list[Vertex] = field(default_factory=list)  # in order of acceptance
    weight: int = 0  # of the authors that have a block


@dataclass(slots=True)
class _Load:
    count: int = 0
    bytes: int = 0


class Waiting:
    """Suspended blocks: bounded for each author, so that one cannot crowd out another."""

    def __init__(self, members: int) -> None:
        self._suspended: dict[Digest, Suspended] = {}
        self._awaited: dict[Reference, list[Digest]] = {}  # missing block, who waits for it
        self._held: dict[tuple[Round, int], int] = {}  # suspended blocks of each slot
        self._loads = [_Load() for _ in range(members)]

    def __contains__(self, name: Digest) -> bool:
        return name in self._suspended

    def __iter__(self) -> Iterator[Suspended]:
        """All of them, oldest first."""
        return iter(self._suspended.values())

    def needs(self, link: Reference) -> bool:
        """Whether a suspended block links to it."""
        return link in self._awaited

    def twins(self, round_: Round, author: int) -> int:
        """How many blocks of a slot are suspended."""
        return self._held.get((round_, author), 0)

    def missing(self) -> Sequence[Reference]:
        """All links that suspended blocks wait for, in order of need."""
        return list(self._awaited)

    def add(self, entry: Suspended) -> bool:
        """Keep a block until its missing links come; False where its author has too many."""
        vertex, load = entry.vertex, self._loads[entry.vertex.author]
        if load.count >= SUSPENDED_MAX or load.bytes + entry.bytes > SUSPENDED_BYTES_MAX:
            return False
        load.count, load.bytes = load.count + 1, load.bytes + entry.bytes
        place = (vertex.round, vertex.author)
        self._held[place] = self._held.get(place, 0) + 1
        self._suspended[vertex.digest] = entry
        for link in vertex.block.header.ancestors:
            if link in entry.missing:
                self._awaited.setdefault(link, []).append(vertex.digest)
        return True

    def arrived(self, link: Reference) -> list[Vertex]:
        """The blocks that wait no longer now that `link` need not come."""
        free: list[Vertex] = []
        for name in self._awaited.pop(link, ()):
            entry = self._suspended.get(name)
            if entry is not None:
                entry.missing.discard(link)
                if not entry.missing:
                    self._drop(entry)
                    free.append(entry.vertex)
        return free

    def forget(self, limit: Round) -> list[Reference]:
        """Drop blocks up to round `limit`; return the links up to there, which need not come."""
        for entry in list(self._suspended.values()):
            if entry.vertex.round <= limit:
                self._drop(entry)
        return [link for link in self._awaited if link.round <= limit]

    def _drop(self, entry: Suspended) -> None:
        vertex, load = entry.vertex, self._loads[entry.vertex.author]
        del self._suspended[vertex.digest]
        load.count, load.bytes = load.count - 1, load.bytes - entry.bytes
        place = (vertex.round, vertex.author)
        self._held[place] -= 1
        if self._held[place] == 0:
            del self._held[place]


class Dag:
    """Known blocks. It implements `commit.View`."""

    def __init__(self, genesis: Sequence[Vertex], committee: Committee, gc_depth: int) -> None:
        self.base = committee.base  # the round of the blocks that it begins with
        self.gc_round = Round(self.base - 1)
        self.highest = self.base
        self.newest = [self.base for _ in committee.members]  # highest round of each author
        self.equivocators: set[int] = set()
        self.waiting = Waiting(len(committee))
        self._committee = committee
        self._gc_depth = gc_depth
        self._blocks: dict[Digest, Vertex] = {}
        self._rounds: dict[Round, _RoundBlocks] = {}
        self._lowest = self.base  # round with blocks
        for vertex in genesis:
            self._insert(vertex)

    def get(self, name: Digest) -> Vertex | None:
        """The accepted block of that name."""
        return self._blocks.get(name)

    def at(self, round_: Round) -> Sequence[Vertex]:
        """All accepted blocks of a round, in order of acceptance."""
        entry = self._rounds.get(round_)
        return entry.blocks if entry else ()

    def slot(self, round_: Round, author: int) -> Sequence[Vertex]:
        """The accepted blocks of one author in a round, first seen first."""
        entry = self._rounds.get(round_)
        return entry.slots.get(author, ()) if entry else ()

    def weight(self, round_: Round) -> int:
        """The weight of the authors with an accepted block in a round."""
        entry = self._rounds.get(round_)
        return entry.weight if entry else 0

    def __contains__(self, name: Digest) -> bool:
        """Whether a block is accepted or suspended."""
        return name in self._blocks or name in self.waiting

    def offer(self, vertex: Vertex, sender: NodeId, now: Instant) -> Offered:
        """Take a valid block, if it may be taken."""
        fate = self._fate(vertex)
        if fate is not Fate.ACCEPTED:
            return Offered(fate)
        missing = [link for link in vertex.block.header.ancestors if self._lacks(link)]
        if not missing:
            return Offered(Fate.ACCEPTED, self._accept([vertex]))
        size = vertex.block.header.payload_bytes
        if not self.waiting.add(Suspended(vertex, sender, now, size, {*missing})):
            return Offered(Fate.FULL)
        return Offered(Fate.SUSPENDED, missing=[x for x in missing if x.digest not in self])

    def restore(self, vertex: Vertex) -> list[Vertex]:
        """Take a block from the log, whose ancestors precede it there.

        Nothing that was accepted once is refused now: a third twin that was taken because a block
        needed it comes before that block.
        """
        if vertex.digest in self or vertex.round <= self.gc_round:
            return []
        if any(self._lacks(link) for link in vertex.block.header.ancestors):
            return list(self.offer(vertex, NodeId(b""), Instant(0)).accepted)
        return self._accept([vertex])

    def _fate(self, vertex: Vertex) -> Fate:
        """ACCEPTED where nothing but missing ancestors can stand against the block."""
        if vertex.digest in self:
            return Fate.KNOWN
        if vertex.round <= self.gc_round:
            return Fate.OLD
        if vertex.round > self.highest + self._gc_depth:
            return Fate.FAR
        place = (vertex.round, vertex.author)
        twins = len(self.slot(*place)) + self.waiting.twins(*place)
        if twins >= TWINS_MAX and not self.waiting.needs(vertex.reference):
            return Fate.TWIN
        return Fate.ACCEPTED

    def _lacks(self, link: Reference) -> bool:
        """Whether an ancestor must still come.

        A link that lies about its block's round or author names no block at all: it is lacking for
        ever, on every node, until gc_round passes the round it claims.
        """
        if link.round <= self.gc_round:
            return False
        block = self._blocks.get(link.digest)
        return block is None or (block.round, block.author) != (link.round, link.author)

    def _accept(self, ready: list[Vertex]) -> list[Vertex]:
        """Insert blocks whose ancestors are here, and all that waited for nothing but them."""
        for vertex in ready:  # Grows while it is walked.
            self._insert(vertex)
            ready.extend(self.waiting.arrived(vertex.reference))
        return ready

    def _insert(self, vertex: Vertex) -> None:
        self._blocks[vertex.digest] = vertex
        entry = self._rounds.setdefault(vertex.round, _RoundBlocks())
        twins = entry.slots.setdefault(vertex.author, [])
        if twins:
            self.equivocators.add(vertex.author)
        else:
            entry.weight += self._committee.weights[vertex.author]
        twins.append(vertex)
        entry.blocks.append(vertex)
        self.highest = max(self.highest, vertex.round)
        self.newest[vertex.author] = max(self.newest[vertex.author], vertex.round)

    def collect(self, limit: Round) -> list[Vertex]:
        """Move gc_round up to `limit`; return the blocks that are accepted because of it."""
        if limit <= self.gc_round:
            return []
        self.gc_round = limit
        accepted: list[Vertex] = []
        for link in self.waiting.forget(limit):
            accepted += self._accept(self.waiting.arrived(link))
        return accepted

    def prune(self) -> list[Vertex]:
        """Forget the blocks up to gc_round, which are in the past of all to come; returns them."""
        gone: list[Vertex] = []
        for number in range(self._lowest, self.gc_round + 1):
            entry = self._rounds.pop(Round(number), None)
            gone += entry.blocks if entry is not None else ()
        for vertex in gone:
            del self._blocks[vertex.digest]
        self._lowest = Round(max(self._lowest, self.gc_round + 1))
        return gone


def count(dag: Dag) -> int:
    """How many accepted blocks are kept."""
    return sum(len(dag.at(Round(number))) for number in range(dag.base, dag.highest + 1))


def blocks_from(dag: Dag, start: Reference) -> Iterator[Vertex]:
    """Accepted blocks from `start` on, in order of (round, author, digest)."""
    first = (start.author, start.digest)
    for number in range(max(dag.base + 1, start.round), dag.highest + 1):
        for vertex in sorted(dag.at(Round(number)), key=_place):
            if number > start.round or _place(vertex) >= first:
                yield vertex


def names_from(dag: Dag, start: Round, limit: int) -> list[Digest]:
    """Names of at most `limit` known blocks of round `start` and above, lowest rounds first."""
    names: list[Digest] = []
    for number in range(max(dag.base + 1, start), dag.highest + 1):
        names += [vertex.digest for vertex in dag.at(Round(number))]
        if len(names) >= limit:
            break
    late = [entry.vertex.digest for entry in dag.waiting if entry.vertex.round >= start]
    return [*names, *late][:limit]


def _place(vertex: Vertex) -> tuple[int, Digest]:
    return vertex.author, vertex.digest


def encoded(vertex: Vertex) -> bytes:
    """A block's bytes, as sent and stored."""
    return encode(vertex.block)
