"""Validators that lie in the ledger's own words: they hold a key and sign what they should not.

Each wraps a correct replica (`faults.py` has the lies that need no format). A liar knows its own
twins, so that it goes on where an honest validator would fall silent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
from typing_extensions import override

from dpin.base.chance import Chance
from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import ID_BYTES, ChainId, Digest, NodeId, Round
from dpin.base.machine import Received, Send
from dpin.base.units import MILLION, Instant, MicroTokens
from dpin.ledger.blocks import Reference, Vertex, payload_root, read_block, sign_block
from dpin.ledger.dag import encoded
from dpin.ledger.mempool import Mempool
from dpin.ledger.messages import (
    AskBlocks,
    AskRange,
    BlockMessage,
    Blocks,
    SubmitTransaction,
    read_message,
)
from dpin.ledger.params import ROUND_MARGIN_MAX
from dpin.ledger.serve import place
from dpin.ledger.transactions import TRANSACTION_BYTES_MAX, Transfer, sign
from dpin.sim.faults import Babbler, Replayer, Withholder
from dpin.sim.ledgers import LedgerNode, Speaking
from dpin.sim.stage import Lie, Stage
from dpin.sim.station import AnyMachine

STUFFED_BLOCKS: Final = 12  # so many blocks are stuffed: a network that never rests proves nothing
FORGED_BLOCKS: Final = 60  # so many own blocks are forged upon, and then it is honest
FLOOD_PPM: Final = MILLION // 4
FAR: Final = 1_000  # rounds beyond what anybody keeps
NEAR: Final = 30  # rounds ahead that are kept, suspended


@dataclass(slots=True)
class Speaker:
    """Who lies, with what it needs to sign."""

    index: int
    key: SigningKey
    chain: ChainId
    members: int
    chance: Chance
    shadow: Vertex | None = None  # the newest block of its second chain

    def unknown(self, round_: int, author: int) -> Reference:
        """Names a block that nobody has."""
        name = bytes(self.chance.below(256) for _ in range(ID_BYTES))
        return Reference(Round(round_), author, Digest(name))

    def again(self, vertex: Vertex, **changes: object) -> Vertex:
        """The same block but for these fields of its header, signed."""
        header = msgspec.structs.replace(vertex.block.header, **changes)
        return sign_block(self.key, self.chain, header, vertex.block.body)

    def floating(self, vertex: Vertex, round_: int) -> Vertex:
        """A valid block of another round, all of whose ancestors are unknown."""
        others = [author for author in range(self.members) if author != self.index]
        links = [self.unknown(round_ - 1, author) for author in [self.index, *others]]
        return self.again(vertex, round=Round(round_), ancestors=tuple(links), own_gap=0)


@dataclass(frozen=True, slots=True)
class Forgery:
    """What a liar says beside, or in place of, its own block."""

    twin: Vertex | None = None  # for the audience, in place of the block
    extra: Sequence[Vertex] = ()  # for everybody


Trick = Callable[[Speaker, Vertex], Forgery]


def halves(who: Speaker, vertex: Vertex) -> Forgery:
    """One block for these, another one for those."""
    return Forgery(who.again(vertex, timestamp_ms=vertex.block.header.timestamp_ms + 1))


def second_chain(who: Speaker, vertex: Vertex) -> Forgery:
    """Two chains of blocks, each linked to its own past."""
    header, shadow = vertex.block.header, who.shadow
    links = header.ancestors
    joined = shadow is not None and vertex.round - ROUND_MARGIN_MAX <= shadow.round < vertex.round
    if shadow is not None and joined and header.own_gap == 0:
        links = (shadow.reference, *links[1:])
    who.shadow = who.again(vertex, ancestors=links, timestamp_ms=header.timestamp_ms + 1)
    return Forgery(who.shadow)


def crowd(who: Speaker, vertex: Vertex) -> Forgery:
    """More twins than anybody should keep."""
    base = vertex.block.header.timestamp_ms
    twins = [who.again(vertex, timestamp_ms=base + number) for number in range(1, 6)]
    return Forgery(twins[0], twins[1:])


def edge(who: Speaker, vertex: Vertex) -> Forgery:
    """A link to a block that nobody has, as old as a link may be (C4)."""
    links, oldest = list(vertex.block.header.ancestors), vertex.round - ROUND_MARGIN_MAX
    direct = [at for at, link in enumerate(links) if link.round == vertex.round - 1]
    if oldest < 1 or len(direct) < 2 * who.members // 3 + 2 or direct[-1] == 0:
        return Forgery()  # One link fewer would make it no block at all.
    links[direct[-1]] = who.unknown(oldest, links[direct[-1]].author)
    own = (who.unknown(oldest, who.index), *vertex.block.header.ancestors[1:])
    strange = who.again(vertex, ancestors=own) if vertex.block.header.own_gap == 0 else None
    return Forgery(strange, [who.again(vertex, ancestors=tuple(links))])


def far_away(who: Speaker, vertex: Vertex) -> Forgery:
    """Blocks of rounds that are long to come, or long past."""
    rounds = (vertex.round + FAR, vertex.round + NEAR, max(2, vertex.round - 2 * ROUND_MARGIN_MAX))
    return Forgery(None, [who.floating(vertex, round_) for round_ in rounds])


def suspended_flood(who: Speaker, vertex: Vertex) -> Forgery:
    """Blocks that wait for ever."""
    first = vertex.round + 2
    return Forgery(None, [who.floating(vertex, first + number) for number in range(12)])


def false_bodies(who: Speaker, vertex: Vertex) -> Forgery:
    """A header with another body than it names; a timestamp at the end of time."""
    other = msgspec.structs.replace(vertex.block, body=(*vertex.block.body, b"more"))
    wrong = Vertex(other, vertex.digest, vertex.links)
    late = who.again(vertex, timestamp_ms=2**63 - 1)
    empty = who.again(
        vertex,
        payload_root=payload_root(()),
        payload_bytes=0,
        transactions=0,
    )
    hollow = Vertex(msgspec.structs.replace(empty.block, body=()), empty.digest, empty.links)
    return Forgery(late, [wrong, hollow])


@dataclass(slots=True)
class Forger:
    """Says other blocks than its replica makes; `audience` hears the twins."""

    inner: Speaking
    who: Speaker
    trick: Trick
    audience: frozenset[NodeId]
    forged: dict[Digest, Forgery] = field(default_factory=dict)

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, and say something else."""
        effects: list[object] = []
        for effect in self.inner.step(event, now):
            effects += self._said(effect, now)
        self.inner.replica.engine.member.restart.silent_until = 0  # A liar does not mind.
        return effects

    def _said(self, effect: object, now: Instant) -> list[object]:
        vertex = own_block(effect, self.who.index)
        if vertex is None:
            return [effect]
        assert isinstance(effect, Send)
        if vertex.digest not in self.forged and len(self.forged) < FORGED_BLOCKS:
            self.forged[vertex.digest] = self._forge(vertex, now)
        forgery = self.forged.get(vertex.digest, Forgery())
        extra = [_told(effect.peer, one) for one in forgery.extra]
        twin = forgery.twin if effect.peer in self.audience else None
        return [effect if twin is None else _told(effect.peer, twin), *extra]

    def _forge(self, vertex: Vertex, now: Instant) -> Forgery:
        forgery = self.trick(self.who, vertex)
        if forgery.twin is not None:
            self.inner.replica.engine.core.offer(forgery.twin, NodeId(b""), now)
        return forgery


def own_block(effect: object, index: int) -> Vertex | None:
    """The block that this effect sends, if the sender is its author."""
    if not isinstance(effect, Send):
        return None
    message = read_message(effect.payload)
    if not isinstance(message, BlockMessage):
        return None
    vertex = read_block(message.block)
    return vertex if vertex.author == index and vertex.round > 0 else None


def _told(peer: NodeId, vertex: Vertex) -> Send:
    return Send(peer, encode(BlockMessage(encoded(vertex))))


@dataclass(frozen=True, slots=True)
class Mute:
    """Never answers a question, so that what only it has cannot be had."""

    inner: AnyMachine

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, but for answers."""
        return [effect for effect in self.inner.step(event, now) if not _is_answer(effect)]


def _is_answer(effect: object) -> bool:
    return isinstance(effect, Send) and isinstance(read_message(effect.payload), Blocks)


@dataclass(frozen=True, slots=True)
class Flooder:
    """Asks for everything again and again, and submits junk."""

    inner: AnyMachine
    who: Speaker

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, and ask."""
        effects = list(self.inner.step(event, now))
        peers = [effect.peer for effect in effects if isinstance(effect, Send)]
        for peer in peers:
            if self.who.chance.below(MILLION) < FLOOD_PPM:
                effects += [Send(peer, self._question()) for _ in range(4)]
        return effects

    def _question(self) -> bytes:
        strange = [self.who.unknown(1 + number, 0) for number in range(8)]
        junk = bytes(self.who.chance.below(256) for _ in range(100))
        choices = [
            encode(AskRange(0, place(Round(1)), ())),
            encode(AskBlocks(tuple(strange))),
            encode(SubmitTransaction(junk)),
        ]
        return self.who.chance.chosen(choices, 1)[0]


@dataclass(frozen=True, slots=True)
class Censor:
    """Hears nothing that names its victim."""

    inner: AnyMachine
    victim: NodeId

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, but for one account."""
        if isinstance(event, Received) and event.payload.find(self.victim) >= 0:
            return []
        return self.inner.step(event, now)


class Stuffed(Mempool):
    """Adds to its first blocks what no honest validator would."""

    def __init__(self, inner: Mempool, more: Callable[[], Sequence[bytes]]) -> None:
        super().__init__(inner._check, inner._funds)  # noqa: SLF001 (takes its place)
        self._more = more
        self._blocks = 0
        self.seen: list[bytes] = []

    @override
    def take(self, count_max: int, bytes_max: int) -> tuple[bytes, ...]:
        """An honest payload, and more."""
        self._blocks += 1
        honest = super().take(count_max // 2, bytes_max // 2)
        if self._blocks > STUFFED_BLOCKS:
            return honest
        stuffed, left = list(honest), bytes_max - sum(map(len, honest))
        for one in [*self._more(), *self.seen]:
            left -= len(one)
            if left < 0 or len(stuffed) == count_max:
                break
            stuffed.append(one)
        return tuple(stuffed)

    @override
    def committed(self, transactions: Sequence[bytes]) -> None:
        """Remember what was on the ledger already, to put it there again."""
        self.seen = [*self.seen, *transactions][-32:]
        super().committed(transactions)


def unsigned(who: Speaker) -> Sequence[bytes]:
    """Transfers of everybody's money that nobody has signed, and things that are no transaction."""
    node = who.key.node_id
    good = sign(who.key, who.chain, 1 + who.chance.below(64), Transfer(node, MicroTokens(1), b""))
    bad = msgspec.structs.replace(good, signature=bytes(64))
    return [encode(bad), b"", b"", b"\xc0", encode(good)[:-1], encode(good) + b"\0"]


def huge(who: Speaker) -> Sequence[bytes]:
    """As much as a block may hold, now and then; else as many empty ones as may be."""
    del who
    return [bytes(TRANSACTION_BYTES_MAX)] * 24 + [b""] * 200


# --- as a stage takes them ---


def speaker(stage: Stage, index: int) -> Speaker:
    """The founder of that index."""
    founding = stage.founding
    return Speaker(index, founding.keys[index], founding.chain, len(stage.nodes), stage.lies)


def some_others(stage: Stage, index: int, count: int) -> frozenset[NodeId]:
    """So many members but this one."""
    others = [node for node in stage.nodes if node != stage.nodes[index]]
    return frozenset(stage.dice.chosen(others, count))


def forging(trick: Trick) -> Lie:
    """A lie about blocks, told to half of the others."""

    def lie(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
        assert isinstance(machine, LedgerNode), "only replicas make blocks"
        audience = some_others(stage, index, len(stage.nodes) // 2)
        return Forger(machine, speaker(stage, index), trick, audience)

    return lie


def colluding(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    """One of several that show one chain to the first half of the members, another to the rest."""
    assert isinstance(machine, LedgerNode), "only replicas make blocks"
    audience = frozenset(stage.nodes[: len(stage.nodes) // 2])
    return Forger(machine, speaker(stage, index), second_chain, audience)


def stuffing(more: Callable[[Speaker], Sequence[bytes]]) -> Lie:
    """A lie about transactions."""

    def lie(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
        assert isinstance(machine, LedgerNode), "only replicas have a mempool"
        engine = machine.replica.engine
        engine.mempool = Stuffed(engine.mempool, partial(more, speaker(stage, index)))
        return machine

    return lie


def mute(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    """Answers nobody, and keeps its blocks from one."""
    return Mute(Withholder(machine, some_others(stage, index, 1)))


def flood(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    """Asks too much."""
    return Flooder(machine, speaker(stage, index))


def censor(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    """Ignores one account."""
    [victim] = some_others(stage, index, 1)
    return Censor(machine, victim)


def withhold(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    """Keeps its blocks from two of the others."""
    return Withholder(machine, some_others(stage, index, 2))


def babble(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    """Adds junk to all it says."""
    del index
    return Babbler(machine, stage.lies)


def replay(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    """Repeats what it has heard."""
    del index
    return Replayer(machine, stage.lies)


LIES: Final[dict[str, Lie]] = {
    "halves": forging(halves),
    "second-chain": forging(second_chain),
    "crowd": forging(crowd),
    "edge": forging(edge),
    "far-away": forging(far_away),
    "suspended-flood": forging(suspended_flood),
    "false-bodies": forging(false_bodies),
    "unsigned": stuffing(unsigned),
    "huge": stuffing(huge),
    "mute": mute,
    "flood": flood,
    "censor": censor,
    "withhold": withhold,
    "babble": babble,
    "replay": replay,
}
