"""The learning rate over a whole job, and the constants of AdamW."""

from dataclasses import dataclass
from typing import Final

from dpin.base.units import MILLION
from dpin.compute.task import ADAMW, InnerSpec, TrainManifest

DECAY_FIRST: Final = 0.9
DECAY_SECOND: Final = 0.95
EPSILON: Final = 1e-8
RATE_FLOOR_PPM: Final = 100_000  # of the learning rate, at the last step of the job


@dataclass(frozen=True, slots=True)
class Course:
    """A linear warm-up, then a linear fall to a tenth."""

    inner: InnerSpec
    total_steps: int

    def rate(self, cursor: int) -> float:
        """Learning rate of AdamW in the step with that global number."""
        return self._at(cursor, self.inner.learning_rate_ppm)

    def muon_rate(self, cursor: int) -> float:
        """Likewise Muon's."""
        return self._at(cursor, self.inner.muon_rate_ppm)

    def _at(self, cursor: int, peak_ppm: int) -> float:
        inner = self.inner
        warm_ppm = min(MILLION, MILLION * (cursor + 1) // max(1, inner.warmup_steps))
        left = max(0, self.total_steps - cursor)
        fall_ppm = RATE_FLOOR_PPM + (MILLION - RATE_FLOOR_PPM) * left // max(1, self.total_steps)
        return peak_ppm * warm_ppm * fall_ppm / MILLION**3


def course_of(manifest: TrainManifest) -> Course:
    """The learning rates of a job: a data-parallel one takes one step a round."""
    steps = 1 if manifest.outer.rule == ADAMW else manifest.inner.steps
    return Course(manifest.inner, manifest.rounds * steps)
