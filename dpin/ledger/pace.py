"""How soon after its last block a member makes the next one: sooner while little waits.

Rounds cost the same whatever is in them, and whoever waits for finality waits for three or four. So
where little is under way, and nobody who is up lags, rounds come as fast as half a core makes them;
under load, `min_round_delay_ms` apart, with more in each. Such haste is saved up: over time there
are no more rounds than at the usual pace, but for what an epoch begins with. Nobody checks it; a
member that waits longer is waited for (docs/decisions/0062-rounds-in-haste.md).
"""

from typing import Final

from dpin.base.ids import Round
from dpin.base.units import MICROS_PER_MILLI, Instant, Micros, after
from dpin.ledger.blocks import Vertex
from dpin.ledger.dag import Dag
from dpin.ledger.params import ROUND_MARGIN_MAX, Consensus

HASTE_MILLIS_EACH: Final = 2  # a member: its block costs everybody 1 ms of CPU, whatever is in it
SAVED_MAX: Final = 3_000  # rounds: two and a half minutes of them at 50 ms
LITTLE: Final = 32  # transactions that wait here
LITTLE_BYTES: Final = 16 << 10  # of the own last block
LAG_ROUNDS: Final = 8  # behind the newest full round: well within what can be linked to


class Pace:
    """When the next block may be made, of one member in one epoch."""

    def __init__(self, consensus: Consensus, dag: Dag) -> None:
        self._dag = dag
        self._usual = Micros(consensus.min_round_delay_ms * MICROS_PER_MILLI)
        haste = HASTE_MILLIS_EACH * len(dag.newest) * MICROS_PER_MILLI
        self._haste = Micros(min(self._usual, haste))
        self._made_at = Instant(0)
        self._paid_at = Instant(0)  # when the usual pace will have caught up with what was made

    def observe(self, now: Instant) -> None:
        """A clock that was set back must not postpone the next block."""
        self._made_at = min(self._made_at, now)
        self._paid_at = min(self._paid_at, after(now, self._usual))

    def made(self, now: Instant) -> None:
        """An own block is made: it uses up one round of what was saved."""
        saved = Micros(SAVED_MAX * self._usual)
        self._made_at = now
        self._paid_at = after(max(self._paid_at, Instant(now - saved)), self._usual)

    def since(self, delay: Micros) -> Instant:
        """So long after the own last block."""
        return after(self._made_at, delay)

    def usual(self) -> Instant:
        """When the next block is due under load."""
        return self.since(self._usual)

    def haste(self, queued: int, last: Vertex, reached: Round) -> Instant:
        """When it is due while transactions wait to be committed, so many of them here."""
        payload = last.block.header.payload_bytes
        if queued > LITTLE or payload > LITTLE_BYTES or self._lags(reached):
            return self.usual()
        return min(self.usual(), max(self.since(self._haste), self._paid_at))

    def _lags(self, reached: Round) -> bool:
        """Whether somebody is late whose blocks can still be linked to: it must not be outrun.

        Whoever is silent for longer is down, and catches up before it makes blocks again.
        """
        late = (reached - 1 - newest for newest in self._dag.newest)
        return any(LAG_ROUNDS < rounds <= ROUND_MARGIN_MAX for rounds in late)
