"""The learning rate over a whole job, how long its units are, and the constants of AdamW.

Workers drift apart by the rate times the steps between two merges, and so far as they drift a merge
loses (QSR, arXiv 2310.14423, section 3). Where a job says so, units are short while the rate is
high, so that each round drifts alike for the same number of merges.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from dpin.base.ids import Round
from dpin.base.leaf import window_bounds
from dpin.base.units import MILLION, ceil_div
from dpin.compute.task import ADAMW, COSINE, InnerSpec, TrainManifest

DECAY_FIRST: Final = 0.9
DECAY_SECOND: Final = 0.95
EPSILON: Final = 1e-8
RATE_FLOOR_PPM: Final = 100_000  # of the learning rate, at the last step of the job
SHORTEST: Final = 4  # units by rate have at least such a part of the steps; a fifth must be done
NANO: Final = 10**9
HALF_PI_NANO: Final = 1_570_796_327
COSINE_TERMS: Final = 9  # of its series: enough for parts in 10^9 up to half pi


@dataclass(frozen=True, slots=True)
class Course:
    """A linear warm-up, then a fall to a tenth: linear, or as half a turn of a cosine."""

    inner: InnerSpec
    total_steps: int

    def rate(self, cursor: int) -> float:
        """Learning rate of AdamW in the step with that global number."""
        return self._at(cursor, self.inner.learning_rate_ppm)

    def muon_rate(self, cursor: int) -> float:
        """Likewise Muon's."""
        return self._at(cursor, self.inner.muon_rate_ppm)

    def _at(self, cursor: int, peak_ppm: int) -> float:
        warm_ppm = min(MILLION, MILLION * (cursor + 1) // max(1, self.inner.warmup_steps))
        fall_ppm = fallen_ppm(self.inner.schedule, cursor, self.total_steps)
        return peak_ppm * warm_ppm * fall_ppm / MILLION**3


def fallen_ppm(schedule: str, cursor: int, total: int) -> int:
    """The rate over its peak at a step of so many, apart from the warm-up."""
    done = min(cursor, total)
    if schedule == COSINE:
        angle = HALF_PI_NANO * done // max(1, total)
        left_ppm = _cosine_nano(angle) ** 2 * MILLION // NANO**2
    else:
        left_ppm = MILLION * (total - done) // max(1, total)
    return RATE_FLOOR_PPM + (MILLION - RATE_FLOOR_PPM) * left_ppm // MILLION


def _cosine_nano(angle: int) -> int:
    """Of an angle in 10^-9 from 0 to half pi, by its series, so that all machines agree."""
    term = total = NANO
    for index in range(1, COSINE_TERMS):
        term = -term * angle * angle // (NANO * NANO * (2 * index - 1) * 2 * index)
        total += term
    return max(0, total)


def course_of(manifest: TrainManifest) -> Course:
    """The learning rates of a job: a data-parallel one takes one step a round."""
    if manifest.outer.rule == ADAMW:
        return Course(manifest.inner, manifest.rounds)
    return Course(manifest.inner, steps_before(manifest, Round(manifest.rounds)))


def unit_bounds(manifest: TrainManifest, round_: Round) -> list[int]:
    """Step counts at which the windows of a whole unit of that round end."""
    bounds = window_bounds(manifest.inner.steps, manifest.windows)
    if not manifest.inner.steps_by_rate:
        return bounds
    return bounds[: 1 + bounds.index(_stage_at(manifest, round_).length)]


def steps_before(manifest: TrainManifest, round_: Round) -> int:
    """Steps of a seat that did all its units whole, when that round begins."""
    if not manifest.inner.steps_by_rate:
        return round_ * manifest.inner.steps
    stage = _stage_at(manifest, round_)
    return stage.steps_before + (round_ - stage.round) * stage.length


class _Stage(NamedTuple):
    """From that round on units have so many steps."""

    round: int
    steps_before: int
    length: int


def _stage_at(manifest: TrainManifest, round_: Round) -> _Stage:
    inner = manifest.inner
    stages = _stages(_Growth(inner.schedule, inner.steps, manifest.windows, manifest.rounds))
    return next(stage for stage in reversed(stages) if stage.round <= round_)


@dataclass(frozen=True, slots=True)
class _Growth:
    """What the length of units by rate depends on."""

    schedule: str
    steps: int
    windows: int
    rounds: int

    def lengths(self) -> list[tuple[int, int]]:
        """Steps of a unit, and the place (10^-9 of the job) up to which units have so many."""
        found = []
        for end in window_bounds(self.steps, self.windows)[1:]:
            until = bisect_right(range(NANO), end, key=self._wished)
            if until:
                found.append((end, until))
        return found

    def stages(self, lengths: Sequence[tuple[int, int]], total: int) -> tuple[_Stage, ...]:
        """Of a job of `total` steps; the last one is the end of the job."""
        found, place, done = list[_Stage](), 0, 0
        for length, until in lengths:
            found.append(_Stage(place, done, length))
            left = max(0, ceil_div(until * total, NANO) - done)
            rounds = self.rounds - place if until == NANO else ceil_div(left, length)
            place, done = _onward(found[-1], min(rounds, self.rounds - place))
        return (*found, _Stage(place, done, self.steps))

    def _wished(self, place: int) -> int:
        """Steps that drift as far as the longest unit does at the least rate that counts."""
        rate_ppm = fallen_ppm(self.schedule, place, NANO)
        return min(self.steps, ceil_div(self.steps * MILLION, SHORTEST * rate_ppm))


def _onward(stage: _Stage, rounds: int) -> tuple[int, int]:
    return stage.round + rounds, stage.steps_before + rounds * stage.length


@lru_cache(maxsize=64)
def _stages(growth: _Growth) -> tuple[_Stage, ...]:
    """Those of the least total, by bisection, that the job's units do not pass."""
    lengths = growth.lengths()
    low, high = growth.rounds, growth.rounds * growth.steps
    while low < high:
        middle = (low + high) // 2
        if growth.stages(lengths, middle)[-1].steps_before <= middle:
            high = middle
        else:
            low = middle + 1
    return growth.stages(lengths, low)
