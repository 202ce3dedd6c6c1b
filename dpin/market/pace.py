"""How long a unit may take, so that its update comes in time.

A round does not wait for the slow: it goes on when a quorum and its grace are over. Who could not
do a whole unit in the time that the last round has taken does as much as fits, and is paid for it
(H3); otherwise all its updates would come late and count for little.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dpin.base.ids import Round
from dpin.base.units import Tick
from dpin.compute.course import unit_bounds
from dpin.compute.task import Trained, TrainManifest
from dpin.ledger.accounts import Job
from dpin.ledger.params import grace_for
from dpin.verify.jobfiles import JobFiles

MARGIN_MS: Final = 2_000  # from the end of a unit to its commit, or half of the grace
UNBOXED_MS: Final = 1 << 62
ROUNDS_KEPT: Final = 4
LEAST_PARTS: Final = 3  # tenths of a unit that are done, whatever the time


@dataclass(slots=True)
class Pace:
    """What the others take for a round, and what this provider takes for a unit."""

    grace_ticks: int = 0  # at least, as Params has it; the ledger gives a long round more
    whole: Callable[[Round], int] = lambda _: 1  # steps of a whole unit
    _done_ms: int = 0  # that the last unit has taken
    _done: int = 1  # its steps
    _began: dict[Round, Tick] = field(default_factory=dict)
    _took: int = -1  # ticks from the begin of a round to its quorum, of the last one known
    _of: Round = Round(0)  # that round

    def follow(self, job: Job, tick: Tick) -> None:
        """Look at the last rounds; one is known from its begin only where this node saw that."""
        for record in job.rounds[-ROUNDS_KEPT:]:
            if record.quorum_at is None:
                self._began.setdefault(record.round, tick)
            elif record.round in self._began:
                self._took, self._of = record.quorum_at - self._began[record.round], record.round
        for round_ in [round_ for round_ in self._began if round_ < len(job.rounds) - ROUNDS_KEPT]:
            del self._began[round_]

    def trained(self, report: Trained) -> None:
        """A unit is done."""
        self._done_ms, self._done = report.milliseconds, max(1, report.leaves[-1].step)

    def box_ms(self, round_: Round, tick: Tick, tick_ms: int) -> int:
        """What is left for a unit that begins now; no box for who is fast enough."""
        if self._took < 0 or round_ not in self._began:
            return UNBOXED_MS
        steps = self.whole(round_)
        took = self._took * steps // self.whole(self._of)
        unit_ms = self._done_ms * steps // self._done
        grace = grace_for(self.grace_ticks, took) * tick_ms
        left = took * tick_ms + grace - min(MARGIN_MS, grace // 2)
        left -= (tick - self._began[round_]) * tick_ms
        least = unit_ms * LEAST_PARTS // 10  # Less than a fifth is not taken at all.
        return max(1, left, least) if unit_ms > left else UNBOXED_MS


def whole_steps(files: JobFiles, round_: Round) -> int:
    """Of a unit that is not cut short."""
    manifest = files.manifest
    if not isinstance(manifest, TrainManifest):
        return files.job.propose.steps
    return unit_bounds(manifest, round_)[-1]
