"""The commits of one lease: made once a unit is done, wished for until the ledger has them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dpin.base.ids import Digest, Round
from dpin.ledger.accounts import Job, State, UnitState
from dpin.ledger.transactions import Commit
from dpin.ledger.wishes import Wish

KEPT: Final = 4  # commits that are on the ledger, for whoever looks back


@dataclass(slots=True)
class Commits:
    """By round. What is done is committed also where its round has gone on without it."""

    lease: Digest
    begun: Round = Round(-1)  # the newest unit that was ordered of a worker
    made: dict[Round, Commit] = field(default_factory=dict)
    _unsaid: set[Round] = field(default_factory=set)  # those that are not on the ledger yet

    def keep(self, round_: Round, commit: Commit) -> None:
        """A unit is done."""
        self.made[round_] = commit
        self._unsaid.add(round_)

    def follow(self, state: State) -> Iterator[Wish]:
        """What is still to be said; harmless to repeat."""
        said = sorted(self.made.keys() - self._unsaid)
        for round_ in said[:-KEPT]:
            del self.made[round_]
        for round_ in sorted(self._unsaid):
            unit = state.units.get((self.lease, round_))
            if unit is None or unit.state != UnitState.RUNNING:
                self._unsaid.discard(round_)
            else:
                yield Wish(f"commit:{self.lease.hex()}:{round_}", self.made[round_])

    def unfinished(self, job: Job, state: State) -> bool:
        """Whether a unit of the lease is under way: it may be committed in its own time.

        So it is after the lease has ended, as in a round that was over before the unit was.
        """
        if not state.leases[self.lease].pending:
            return False
        units = (state.units.get((self.lease, record.round)) for record in reversed(job.rounds))
        return any(unit is not None and unit.state == UnitState.RUNNING for unit in units)
