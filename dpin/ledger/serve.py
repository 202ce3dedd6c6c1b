"""Answers to peers that ask for blocks, and the followers that are told every block.

Nothing is pruned, so any node serves any range of rounds of any epoch it has seen. Work is bounded:
so many answers a second for each peer, so many bytes an answer, so many followers.
"""

from collections.abc import Sequence
from typing import Final

from dpin.base.ids import Digest, NodeId, Round
from dpin.base.units import Instant, Micros, after, seconds
from dpin.ledger.blocks import Reference, Vertex
from dpin.ledger.dag import Dag, blocks_from, encoded
from dpin.ledger.messages import BLOCKS_MAX, AskBlocks, AskRange, Blocks, Newest

PAGE_BYTES: Final = 256 * 1024  # a page ends with the first block that brings it here
ANSWERS_MAX: Final = 64  # to one peer in ANSWER_WINDOW
ANSWER_WINDOW: Final[Micros] = seconds(1)
FOLLOWERS_MAX: Final = 32


class Allowance:
    """How many more questions of each peer are answered in this second."""

    def __init__(self) -> None:
        self._answers: dict[NodeId, int] = {}
        self._until = Instant(0)

    def spend(self, peer: NodeId, now: Instant) -> bool:
        """Whether one more question of `peer` is answered."""
        if not self._until - ANSWER_WINDOW <= now < self._until:
            self._answers, self._until = {}, after(now, ANSWER_WINDOW)
        self._answers[peer] = self._answers.get(peer, 0) + 1
        return self._answers[peer] <= ANSWERS_MAX


class Followers:
    """Peers outside the committee that are told every accepted block."""

    def __init__(self) -> None:
        self._peers: dict[NodeId, None] = {}

    def add(self, peer: NodeId) -> bool:
        """Take a follower, unless there are too many."""
        if peer not in self._peers and len(self._peers) >= FOLLOWERS_MAX:
            return False
        self._peers[peer] = None
        return True

    def remove(self, peer: NodeId) -> None:
        """The peer is gone."""
        self._peers.pop(peer, None)

    def list(self) -> list[NodeId]:
        """All followers, in order of arrival."""
        return list(self._peers)


def answer_blocks(dags: Sequence[Dag], question: AskBlocks) -> Blocks:
    """Those of the blocks asked for that are here and fit into a page; the rest is asked again."""
    page: list[bytes] = []
    for link in question.references:
        for dag in dags:
            vertex = dag.get(link.digest)
            if vertex is not None and vertex.round > dag.base:
                page.append(encoded(vertex))
                break
        if sum(map(len, page)) >= PAGE_BYTES:
            break
    return Blocks(tuple(page), None)


def answer_range(dag: Dag, question: AskRange) -> Blocks:
    """The next page of all blocks from a place on that the asker lacks."""
    held: set[Digest] = {*question.held}
    page: list[bytes] = []
    size = 0
    for vertex in blocks_from(dag, question.start):
        if vertex.digest in held:
            continue
        if size >= PAGE_BYTES or len(page) >= BLOCKS_MAX:
            return Blocks(tuple(page), vertex.reference)
        page.append(encoded(vertex))
        size += len(page[-1])
    return Blocks(tuple(page), None)


def answer_newest(epoch: int, dag: Dag, known: Sequence[Vertex]) -> Newest:
    """The newest of these blocks of the asker's, and how far we are."""
    if not known:
        return Newest(epoch, dag.highest, None, b"")
    newest = max(known, key=lambda vertex: (vertex.block.header.epoch, vertex.round, vertex.digest))
    return Newest(epoch, dag.highest, newest.block.header, newest.block.signature)


def blocks_of(dag: Dag, author: int) -> list[Vertex]:
    """The newest blocks of a member, accepted or suspended."""
    known: list[Vertex] = [x.vertex for x in dag.waiting if x.vertex.author == author]
    if dag.newest[author] > dag.base:
        known += dag.slot(dag.newest[author], author)
    return known


def place(round_: Round) -> Reference:
    """Where a range begins that starts with a whole round."""
    return Reference(round_, 0, Digest(b""))
