"""Blocks that a member is likely to lack go out with our own block that links to them.

What a member knows is in its newest block: it links to the newest block of each author that it had.
Where it linked to none of the two rounds before, though there is one, or asked us for a block of
that author, something is between the two; so the next ones will be missing when our block comes,
and a question and an answer late. An author that is a little later than a quorum is linked to a
round later by everybody: it is heard. While all hear from all, nothing is sent twice.
"""

from collections.abc import Sequence
from typing import Final

from dpin.base.ids import Digest, NodeId, Round
from dpin.ledger.blocks import Reference, Vertex
from dpin.ledger.committee import Committee
from dpin.ledger.dag import Dag, encoded

BYTES_MAX: Final = 64 * 1024  # to one member with one block
ROUNDS_MAX: Final = 8  # a member that is further behind comes to ask for whole rounds
LATE_ROUNDS: Final = 2  # in which a block comes to be linked to, where nothing is between the two
ASKED_ROUNDS: Final = 16  # that whoever asked for one block of an author is told the next ones
PUSHED_MAX: Final = 4_096  # blocks that are remembered as sent


class Push:
    """What one epoch's members were sent that they did not ask for."""

    def __init__(self, dag: Dag, committee: Committee) -> None:
        self._dag = dag
        self._committee = committee
        self._pushed: dict[tuple[NodeId, Digest], None] = {}
        self._asked: dict[tuple[NodeId, int], Round] = {}  # by member and author: the newest

    def asked(self, peer: NodeId, links: Sequence[Reference]) -> None:
        """A peer lacks these blocks, so it may lack what their authors make next."""
        if self._committee.index(peer) is None:
            return
        for link in links:
            if 0 <= link.author < len(self._committee) and link.digest in self._dag:
                place = (peer, link.author)
                self._asked[place] = max(link.round, self._asked.get(place, link.round))

    def __len__(self) -> int:
        """How many blocks are remembered as sent."""
        return len(self._pushed)

    def ahead_of(self, own: Vertex, member: NodeId) -> list[bytes]:
        """Encoded blocks for a member, oldest first, that should precede our own block."""
        index = self._committee.index(member)
        newest = None if index is None else self._newest(index)
        if newest is None or newest.round < own.round - ROUNDS_MAX:
            return []
        lacked = [
            author
            for author in range(len(self._committee))
            if author not in {own.author, newest.author}
            and (self._lacked(newest, author) or self._deprived(member, author, own.round))
        ]
        found: list[bytes] = []
        for vertex in self._after(newest, lacked, own.round):
            place = (member, vertex.digest)
            data = encoded(vertex)
            if place in self._pushed or sum(map(len, found)) + len(data) > BYTES_MAX:
                continue
            self._pushed[place] = None
            found.append(data)
        while len(self._pushed) > PUSHED_MAX:
            del self._pushed[next(iter(self._pushed))]
        return found

    def _newest(self, author: int) -> Vertex | None:
        round_ = self._dag.newest[author]
        blocks = self._dag.slot(round_, author) if round_ > self._dag.base else ()
        return blocks[0] if blocks else None

    def _deprived(self, member: NodeId, author: int, round_: Round) -> bool:
        """Whether it has asked for a block of this author not long ago."""
        asked = self._asked.get((member, author))
        return asked is not None and asked >= round_ - ASKED_ROUNDS

    def _lacked(self, newest: Vertex, author: int) -> bool:
        """Whether it links to none of two rounds before, though this author has made one."""
        before = Round(newest.round - LATE_ROUNDS)
        link = newest.links.get(author)
        known = link is not None and link.round >= before
        return not known and before > self._dag.base and bool(self._dag.slot(before, author))

    def _after(self, newest: Vertex, authors: Sequence[int], end: Round) -> list[Vertex]:
        """What these authors made since the blocks that it links to, below a round."""
        found: list[Vertex] = []
        for round_ in range(max(self._dag.base + 1, newest.round - ROUNDS_MAX), end):
            for author in authors:
                link = newest.links.get(author)
                if link is None or link.round < round_:
                    found += self._dag.slot(Round(round_), author)
        return found
