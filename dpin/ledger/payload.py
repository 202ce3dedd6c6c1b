"""How much of the mempool goes into the next own block: less while this node cannot keep up.

Additive-increase, multiplicative-decrease, as Mysticeti's implementations bound a proposer: half
after a round in which execution lagged, own blocks went unseen, or a full block took too long to be
followed by the next; a tenth more after any other. The consensus limit is the ceiling. What it
protects is the time that a commit waits, on every node; it is no rule, and nobody checks it. No
rate is measured (docs/decisions/0061-blocks-follow-what-waits.md).
"""

from dataclasses import dataclass
from typing import Final

from dpin.base.ids import Round
from dpin.base.units import MICROS_PER_MILLI, Instant
from dpin.ledger.blocks import Vertex
from dpin.ledger.dag import Dag
from dpin.ledger.params import Consensus

FLOOR_BYTES: Final = 64 << 10  # some 300 transfers: with four members and slow links, 4,000/s
LAG_ROUNDS: Final = 20  # from the newest round to what is executed; some 4 where all is well
UNSEEN_ROUNDS: Final = 5  # in which nobody has linked to an own block
GROWTH: Final = 10  # one part in so many


@dataclass(frozen=True, slots=True)
class Standing:
    """How an author stands when it makes a block."""

    last: Vertex  # its newest block
    executed: Round  # of the newest leader whose commit was executed
    now: Instant


class Payload:
    """The byte limit of own blocks, from one to the next."""

    def __init__(self, consensus: Consensus, dag: Dag) -> None:
        self._ceiling = consensus.block_bytes_max
        self._floor = min(FLOOR_BYTES, self._ceiling)
        self._patience = consensus.leader_timeout_ms * MICROS_PER_MILLI
        self._dag = dag
        self._made_at: Instant | None = None
        self.bytes_max = self._ceiling

    def next(self, standing: Standing) -> int:
        """The limit of the block that is made now."""
        if self._too_much(standing):
            self.bytes_max = max(self._floor, self.bytes_max // 2)
        else:
            self.bytes_max = min(self._ceiling, self.bytes_max + self.bytes_max // GROWTH)
        self._made_at = standing.now
        return self.bytes_max

    def _too_much(self, standing: Standing) -> bool:
        lagging = self._dag.highest - standing.executed > LAG_ROUNDS
        return lagging or self._slow(standing) or self._unseen(standing.last)

    def _slow(self, standing: Standing) -> bool:
        """Whether a block that was all that might be held its author up; long links may, too."""
        if self._made_at is None or standing.now - self._made_at <= self._patience:
            return False
        return standing.last.block.header.payload_bytes * 2 >= self.bytes_max

    def _unseen(self, last: Vertex) -> bool:
        """Whether the newest own blocks have been linked to by nobody, for so many rounds."""
        author, highest = last.author, self._dag.highest
        alone = len(self._dag.newest) == 1
        if alone or last.round <= self._dag.base or highest - self._dag.base <= UNSEEN_ROUNDS:
            return False
        newest = range(highest - UNSEEN_ROUNDS + 1, highest + 1)
        return not any(
            author in vertex.links
            for number in newest
            for vertex in self._dag.at(Round(number))
            if vertex.author != author
        )
