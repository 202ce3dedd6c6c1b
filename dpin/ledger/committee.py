"""The validators of an epoch: who they are, how much each weighs, who leads which round."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from dpin.base.crypto import digest
from dpin.base.ids import ChainId, Digest, NodeId, Round
from dpin.ledger.checkpoint import CommitteeRecord, Member
from dpin.ledger.genesis import Genesis

SEED_TAG: Final = "dpin/leader-seed/v1"
DRAWN_MAX: Final = 256  # leaders remembered
_LEADER_PREFIX: Final = b"dpin/leader/v1\0"


@dataclass(frozen=True)
class Committee:
    """Members in the order of their author index, with their weights.

    A member is known by its node (its libp2p id and account). It signs blocks and checkpoints with
    its consensus key, which is the same key unless it has registered another (H10).
    """

    members: tuple[NodeId, ...]
    weights: tuple[int, ...]
    seed: Digest  # draws the leaders of this epoch
    epoch: int = 0
    signers: tuple[NodeId, ...] = ()  # consensus keys; empty: the members' own
    base: Round = Round(0)  # of the blocks that the epoch begins with

    def signer(self, author: int) -> NodeId:
        """The consensus key of a member."""
        return self.signers[author] if self.signers else self.members[author]

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def total(self) -> int:
        """The weight of all."""
        return sum(self.weights)

    @cached_property
    def quorum(self) -> int:
        """The least weight of which any two holders share a correct member, below 1/3 faulty."""
        return 2 * self.total // 3 + 1

    @cached_property
    def honest(self) -> int:
        """The least weight among whose holders one is correct, below 1/3 faulty."""
        return self.total - self.quorum + 1

    @cached_property
    def tolerates(self) -> int:
        """How many members may be faulty, whoever they are: the heaviest weigh below 1/3."""
        return tolerated(self.weights)

    def index(self, node: NodeId) -> int | None:
        """The author index of `node`, if it is a member."""
        return self.members.index(node) if node in self.members else None

    def weigh(self, authors: Iterable[int]) -> int:
        """The weight of `authors`, each listed once."""
        return sum(map(self.weights.__getitem__, authors))

    def leader(self, round_: Round) -> int:
        """The author whose block of `round_` everybody looks at: drawn by weight."""
        author = self._drawn.get(round_)
        if author is None:
            if len(self._drawn) >= DRAWN_MAX:
                self._drawn.clear()
            author = self._drawn[round_] = self._draw(round_)
        return author

    @cached_property
    def _drawn(self) -> dict[Round, int]:
        """Leaders that were asked for lately: everybody asks for the same few, often."""
        return {}

    def _draw(self, round_: Round) -> int:
        draw = sha256(_LEADER_PREFIX + self.seed + round_.to_bytes(8)).digest()
        left = int.from_bytes(draw) % self.total
        for author, weight in enumerate(self.weights):
            if left < weight:
                return author
            left -= weight
        raise AssertionError("a draw below the total falls to one of the members")

    def leaders(self, round_: Round) -> Sequence[int]:
        """The leaders of `round_` in order of rank: one."""
        return (self.leader(round_),)


def tolerated(weights: Sequence[int]) -> int:
    """How many validators of these weights may be faulty, whoever they are; below four none."""
    count, left = 0, sum(weights) - (2 * sum(weights) // 3 + 1)
    for weight in sorted(weights, reverse=True):
        left -= weight
        if left < 0:
            break
        count += 1
    return count


def first_record(genesis: Genesis, chain: ChainId) -> CommitteeRecord:
    """The founders, led by draws from the chain's id; rounds begin at 0."""
    members = tuple(
        Member(founder.node, founder.node, founder.weight, founder.anchor, Round(0))
        for founder in genesis.founders
    )
    return CommitteeRecord(0, digest(SEED_TAG, chain), Round(0), members)


def committee_of(record: CommitteeRecord) -> Committee:
    """The committee that a record describes."""
    return Committee(
        members=tuple(member.node for member in record.members),
        weights=tuple(member.weight for member in record.members),
        seed=record.seed,
        epoch=record.epoch,
        signers=tuple(member.signer for member in record.members),
        base=record.base,
    )


def first_committee(genesis: Genesis, chain: ChainId) -> Committee:
    """The committee of epoch 0."""
    return committee_of(first_record(genesis, chain))


def lower_median(values: Sequence[tuple[int, int]]) -> int:
    """The least value that, with all below it, has half of the weight; pairs (value, weight)."""
    total, below = sum(weight for _, weight in values), 0
    for value, weight in sorted(values):
        below += weight
        if 2 * below >= total:
            return value
    raise AssertionError("a median is taken of at least one value")
