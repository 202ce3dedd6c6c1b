"""DAGs without signatures: built by hand or drawn from a seed, and looked at in part."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest, NodeId, Round
from dpin.base.merkle import EMPTY_ROOT
from dpin.ledger.blocks import Block, Header, Vertex
from dpin.ledger.committee import Committee

SEED = digest("test/seed", b"")

T = TypeVar("T")


class Dice:
    """Quick dice: most of the time goes into drawing."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  # Draws test cases, no secrets.

    def below(self, limit: int) -> int:
        return int(self._random.random() * limit)

    def chosen(self, items: Sequence[T], count: int) -> list[T]:
        return self._random.sample(items, min(count, len(items)))


def committee_of(weights: Sequence[int]) -> Committee:
    members = tuple(NodeId(bytes([author]) * 32) for author in range(len(weights)))
    return Committee(members, tuple(weights), SEED)


def vertex(round_: int, author: int, ancestors: Iterable[Vertex], name: object = None) -> Vertex:
    """A block with a made-up digest; `name` tells twins apart."""
    links = tuple(ancestor.reference for ancestor in ancestors)
    header = Header(
        1, 0, Round(round_), author, 1_000 * round_ + author, links, EMPTY_ROOT, 0, 0, 0,
        NO_DIGEST, (), (),
    )  # fmt: skip
    made = digest("test/block", encode([round_, author, name, [link.digest for link in links]]))
    return Vertex(Block(header, b"", ()), made, {link.author: link for link in links})


class Dag:
    """Blocks in the order of their arrival: a `commit.View`."""

    def __init__(self, blocks: Iterable[Vertex] = ()) -> None:
        self.highest = Round(0)
        self.blocks: dict[Digest, Vertex] = {}
        self._rounds: dict[int, list[Vertex]] = {}
        for block in blocks:
            self.add(block)

    def add(self, block: Vertex) -> Vertex:
        if block.digest not in self.blocks:
            self.blocks[block.digest] = block
            self._rounds.setdefault(block.round, []).append(block)
            self.highest = max(self.highest, block.round)
        return block

    def at(self, round_: Round) -> Sequence[Vertex]:
        return self._rounds.get(round_, ())

    def slot(self, round_: Round, author: int) -> Sequence[Vertex]:
        return [block for block in self.at(round_) if block.author == author]

    def get(self, name: Digest) -> Vertex | None:
        return self.blocks.get(name)


@dataclass(frozen=True)
class Shape:
    """What a drawn DAG looks like."""

    members: int
    liars: int  # the first authors, who may make twins
    rounds: int
    twin_percent: int
    absent_percent: int  # an author makes no block in a round
    starve_percent: int  # an author does not link to the last round's leader, if it can
    gc_depth: int


def draw_shape(dice: Dice) -> Shape:
    members = [4, 4, 4, 5, 7][dice.below(5)]
    return Shape(
        members=members,
        liars=(members - 1) // 3,
        rounds=10 + dice.below(8),
        twin_percent=[0, 30, 70, 100][dice.below(4)],
        absent_percent=[0, 5, 15][dice.below(3)],
        starve_percent=[0, 60, 80, 80][dice.below(4)],
        gc_depth=[4, 6, 60][dice.below(3)],
    )


class Drawing:
    """Draws valid blocks round by round: correct authors make one block a round at most."""

    def __init__(self, shape: Shape, committee: Committee, dice: Dice) -> None:
        self.dag = Dag()
        self._shape = shape
        self._committee = committee
        self._chance = dice
        self._last = [[vertex(0, author, ())] for author in range(shape.members)]
        for [genesis] in self._last:
            self.dag.add(genesis)

    def draw(self) -> Dag:
        for number in range(1, self._shape.rounds + 1):
            made = [block for author in self._authors() for block in self._blocks(number, author)]
            for block in made:
                self.dag.add(block)
            for author in {block.author for block in made}:
                self._last[author] = [block for block in made if block.author == author]
        return self.dag

    def _authors(self) -> list[int]:
        """A quorum at least, so that the next round can be."""
        everybody = list(range(self._shape.members))
        absent = [a for a in everybody if self._chance.below(100) < self._shape.absent_percent]
        room = self._shape.members - self._committee.quorum
        gone = self._chance.chosen(absent, room)
        return self._chance.chosen([a for a in everybody if a not in gone], len(everybody))

    def _blocks(self, number: int, author: int) -> list[Vertex]:
        twins = author < self._shape.liars and self._chance.below(100) < self._shape.twin_percent
        return [self._block(number, author, name) for name in range(1 + twins)]

    def _block(self, number: int, author: int, name: int) -> Vertex:
        own = self._chance.chosen(self._last[author], 1)[0]
        others = [other for other in range(self._shape.members) if other != author]
        before = {other: self.dag.slot(Round(number - 1), other) for other in others}
        present = [other for other in self._chance.chosen(others, len(others)) if before[other]]
        leader = self._committee.leader(Round(number - 1))
        if self._chance.below(100) < self._shape.starve_percent:
            present.sort(key=lambda other: other == leader)
        wanted = self._committee.quorum - (own.round == number - 1)
        wanted += self._chance.below(2) * self._chance.below(self._shape.members)
        direct = [self._chance.chosen(before[other], 1)[0] for other in present[:wanted]]
        weak = [
            self._chance.chosen(self._last[other], 1)[0]
            for other in others
            if other not in present[:wanted] and self._chance.below(3) == 0
        ]
        return vertex(number, author, [own, *direct, *weak], name)


def views(dag: Dag, dice: Dice, count: int) -> list[Dag]:
    """Causally closed parts of a DAG, their blocks in orders of their own."""
    return [_view(dag, dice) for _ in range(count)]


def _view(dag: Dag, dice: Dice) -> Dag:
    """Tips and arrival order are drawn by a byte of each digest, which is as good as dice."""
    edge, byte = dag.highest - dice.below(4), dice.below(24)
    tips = [b for b in dag.blocks.values() if b.round <= edge and b.digest[byte] % 3 == 0]
    todo = [*tips, *dag.at(Round(0))]
    wanted: dict[Digest, Vertex] = {}
    while todo:
        block = todo.pop()
        if block.digest not in wanted:
            wanted[block.digest] = block
            todo += [dag.blocks[link.digest] for link in block.links.values()]
    return Dag(sorted(wanted.values(), key=lambda one: (one.round, one.digest[byte:])))
