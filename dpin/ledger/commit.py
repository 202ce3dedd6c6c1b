"""The commit rule: a DAG to one order, the same on every node (Mysticeti, arXiv 2310.14821).

A slot is a round and a rank among its leaders. A block of the next round votes for a leader block
by linking to it; a block two rounds on certifies it when it links to a quorum of votes. A slot
commits by a quorum of certificates, skips by a quorum of authors that did not vote for it, and
otherwise follows the first later slot that is not skipped: its anchor.

Everything here is pure: it reads a DAG and changes nothing. Two correct nodes that see different
parts of one DAG decide the same slots in the same way, because any two quorums share a correct
author, who makes one block a round.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from dpin.base.codec import Wire, encode
from dpin.base.crypto import digest
from dpin.base.ids import Digest, Round
from dpin.ledger.blocks import Reference, Vertex
from dpin.ledger.committee import Committee, lower_median

COMMIT_TAG: Final = "dpin/commit/v1"
ANCHOR_DISTANCE: Final = 3  # rounds from a slot to the first that may anchor it: one wave

Leaders = Callable[[Round], Sequence[int]]


class View(Protocol):
    """What the rule reads of a DAG: every block's ancestors are in it, down to some round."""

    @property
    def highest(self) -> Round:
        """The highest round that has a block."""
        ...

    def at(self, round_: Round) -> Sequence[Vertex]:
        """All blocks of a round."""
        ...

    def slot(self, round_: Round, author: int) -> Sequence[Vertex]:
        """All blocks of one author in a round: several if it equivocates."""
        ...

    def get(self, name: Digest) -> Vertex | None:
        """The block of that name."""
        ...


class Status(IntEnum):
    """What became of a slot."""

    UNDECIDED = 1
    SKIP = 2
    COMMIT = 3


class Slot(NamedTuple):
    """A round and a rank among its leaders; slots are decided in this order."""

    round: Round
    rank: int


RANKS_MAX: Final = 1 << 16


def before_all(base: Round) -> Slot:
    """The place before the first slot: the blocks that an epoch begins with are in none."""
    return Slot(base, RANKS_MAX)


@dataclass(frozen=True, slots=True)
class Decision:
    """A slot's status, and its block if it commits."""

    slot: Slot
    author: int
    status: Status
    block: Vertex | None = None


class CommitRecord(Wire, frozen=True):
    """A commit as its digest covers it: what came before, who led, which blocks, when."""

    height: int
    previous: Digest
    leader: Reference
    blocks: tuple[Reference, ...]
    timestamp_ms: int


class CommitRule:
    """The rule of one committee."""

    def __init__(self, committee: Committee, leaders: Leaders) -> None:
        self._committee = committee
        self._leaders = leaders
        self._certificate_weight = committee.quorum
        self._commit_weight = committee.quorum
        self._skip_weight = committee.quorum
        self._anchor_distance = ANCHOR_DISTANCE

    def decide(self, view: View, last: Slot) -> list[Decision]:
        """Every slot above `last`, ascending, decided as far as this view allows."""
        later: list[Decision] = []  # Descending while it is filled.
        for number in range(view.highest, last.round - 1, -1):
            authors = self._leaders(Round(number))
            for rank in range(len(authors) - 1, -1, -1):
                slot = Slot(Round(number), rank)
                if slot > last:
                    later.append(self._decide_slot(view, slot, authors[rank], later))
        return later[::-1]

    def _decide_slot(
        self, view: View, slot: Slot, author: int, later: Sequence[Decision]
    ) -> Decision:
        decision = self._direct(view, slot, author)
        if decision.status is Status.UNDECIDED:
            return self._indirect(view, slot, author, later)
        return decision

    def _direct(self, view: View, slot: Slot, author: int) -> Decision:
        """By what the two rounds after the slot say."""
        if self._skipped(view, slot.round, author):
            return Decision(slot, author, Status.SKIP)
        for leader in view.slot(slot.round, author):
            if self._committed(view, leader):
                return Decision(slot, author, Status.COMMIT, leader)
        return Decision(slot, author, Status.UNDECIDED)

    def _skipped(self, view: View, round_: Round, author: int) -> bool:
        """Whether a quorum of authors has a block after the slot that links to none of it."""
        blamers = {
            block.author
            for block in view.at(Round(round_ + 1))
            if (link := block.links.get(author)) is None or link.round != round_
        }
        return self._committee.weigh(blamers) >= self._skip_weight

    def _committed(self, view: View, leader: Vertex) -> bool:
        """Whether a quorum of authors certifies `leader`."""
        after = view.at(Round(leader.round + 2))
        if not after:
            return False
        voters = _voters(view, leader)
        certifiers = {block.author for block in after if self._certifies(block, leader, voters)}
        return self._committee.weigh(certifiers) >= self._commit_weight

    def _certifies(self, block: Vertex, leader: Vertex, voters: Container[Digest]) -> bool:
        """Whether `block`, two rounds on, links to a quorum of votes for `leader`."""
        votes = (
            author
            for author, link in block.links.items()
            if link.round == leader.round + 1 and link.digest in voters
        )
        return self._committee.weigh(votes) >= self._certificate_weight

    def _indirect(self, view: View, slot: Slot, author: int, later: Sequence[Decision]) -> Decision:
        """By what the anchor has seen."""
        anchor = self._anchor(slot, later)
        if anchor is None or anchor.block is None:
            return Decision(slot, author, Status.UNDECIDED)
        seen = _reached(view, anchor.block, Round(slot.round + 2))
        certified = [
            leader
            for leader in view.slot(slot.round, author)
            if self._seen_certified(seen, leader, _voters(view, leader))
        ]
        assert len(certified) <= 1, "two quorums voted for two blocks of one slot"
        if certified:
            return Decision(slot, author, Status.COMMIT, certified[0])
        return Decision(slot, author, Status.SKIP)

    def _seen_certified(
        self, seen: Sequence[Vertex], leader: Vertex, voters: Container[Digest]
    ) -> bool:
        return any(self._certifies(block, leader, voters) for block in seen)

    def _anchor(self, slot: Slot, later: Sequence[Decision]) -> Decision | None:
        """The first slot far enough after `slot` that is not skipped; `later` descends."""
        for decision in reversed(later):
            far = decision.slot.round >= slot.round + self._anchor_distance
            if far and decision.status is not Status.SKIP:
                return decision
        return None


def decided(decisions: Sequence[Decision]) -> list[Decision]:
    """The longest prefix without an undecided slot: what may be acted on."""
    prefix: list[Decision] = []
    for decision in decisions:
        if decision.status is Status.UNDECIDED:
            break
        prefix.append(decision)
    return prefix


def _voters(view: View, leader: Vertex) -> set[Digest]:
    after = view.at(Round(leader.round + 1))
    return {block.digest for block in after if block.linked(leader)}


def _reached(view: View, start: Vertex, round_: Round) -> list[Vertex]:
    """The blocks of `round_` among the ancestors of `start`."""
    found, seen, todo = [], {start.digest}, [start]
    while todo:
        block = todo.pop()
        if block.round == round_:
            found.append(block)
            continue
        for link in block.links.values():
            if link.round >= round_ and link.digest not in seen:
                seen.add(link.digest)
                ancestor = view.get(link.digest)
                assert ancestor is not None, "a view holds all ancestors of what may be decided"
                todo.append(ancestor)
    return found


def gc_limit(leader: Vertex, gc_depth: int) -> Round:
    """The highest round that a commit of `leader` leaves behind for ever.

    It depends on the committed leader alone: a limit taken from local state would make nodes order
    different sets of blocks.
    """
    return Round(leader.round - gc_depth)


def linearise(
    view: View, leader: Vertex, committed: Container[Digest], limit: Round
) -> list[Vertex]:
    """The blocks that a commit of `leader` adds, unordered: above `limit`, not yet committed.

    The limit is no lower than the epoch's base round: what it begins with is in no commit.
    """
    found, seen, todo, floor = [], {leader.digest}, [leader], max(limit, 0)
    while todo:
        block = todo.pop()
        found.append(block)
        for link in block.links.values():
            if link.round <= floor or link.digest in seen or link.digest in committed:
                continue
            seen.add(link.digest)
            ancestor = view.get(link.digest)
            assert ancestor is not None, "a view holds all ancestors above the limit"
            todo.append(ancestor)
    return found


def ordered(blocks: Sequence[Vertex], mix: Digest, members: int) -> list[Vertex]:
    """Blocks of one commit in their order (M11): the first of a round changes with the mix."""
    turn = int.from_bytes(mix) % members
    return sorted(
        blocks, key=lambda block: (block.round, (block.author + turn) % members, block.digest)
    )


def commit_time(view: View, leader: Vertex, committee: Committee, previous_ms: int) -> int:
    """The time of a commit (H9): the lower median of the leader's direct ancestors, growing."""
    times = []
    for author, link in leader.links.items():
        if link.round == leader.round - 1:
            ancestor = view.get(link.digest)
            assert ancestor is not None, "a leader's direct ancestors are above every limit"
            times.append((ancestor.block.header.timestamp_ms, committee.weights[author]))
    return max(previous_ms + 1, lower_median(times))


def commit_digest(record: CommitRecord) -> Digest:
    """Names a commit and, through `previous`, all before it."""
    return digest(COMMIT_TAG, encode(record))
