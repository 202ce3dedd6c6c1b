"""How often to merge and in what encoding, so that neither links nor merges hold training up.

Pure arithmetic over what was measured: no torch. A provider gives its update to all other seats
and the requester, and takes those of the other seats; both directions go at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.units import MICROS_PER_SECOND, MILLION, ceil_div
from dpin.compute.fragments import longest
from dpin.compute.limits import CHUNK
from dpin.compute.presets import FEEDBACK_PPM, KEPT_BY_SIZE
from dpin.compute.task import FP16, INT4, INT8, SPARSE, TERNARY, EncodingSpec

SHARE_PPM_MAX: Final = 50_000  # of a round's time that communication may take
STEPS_MIN: Final = 10
STEPS_MAX: Final = 500
BLOCK: Final = 256  # numbers under one float16 scale
TENTHS: Final = {FP16: 160, INT8: 80, INT4: 40, TERNARY: 16}  # of a bit

# From the one that says most to the one that says least.
CANDIDATES: Final = (
    EncodingSpec(INT8),
    EncodingSpec(INT4),
    *(EncodingSpec(SPARSE, kept, FEEDBACK_PPM) for _, kept in KEPT_BY_SIZE),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the choice depends on. Rates in bytes a second, of the slowest provider."""

    parameters: int
    seats: int
    step_us: int
    up: int
    down: int
    dense_us: int = 0  # to write an update and to merge all of a round; 0: not measured
    sparse_us: int = 0  # the same in the sparse encoding


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what it comes to."""

    steps: int  # inner steps between two merges
    encoding: EncodingSpec
    update_bytes: int
    exchange_us: int
    round_us: int  # all of it
    work_us: int = 0  # of writing and merging updates

    @property
    def share_ppm(self) -> int:
        """Of the round's time, what communication takes."""
        return self.exchange_us * MILLION // max(1, self.round_us)

    @property
    def idle_ppm(self) -> int:
        """Of the round's time, what is no training."""
        return (self.exchange_us + self.work_us) * MILLION // max(1, self.round_us)

    def explained(self, measured: Measured) -> str:
        """The choice and its grounds in one line."""
        name = self.encoding.name
        if name == SPARSE:
            name = f"{name} ({100 * self.encoding.kept / CHUNK:g} % of the numbers)"
        share = f"{self.share_ppm / 10_000:.1f} % of a round"
        if self.work_us:
            share += f", writing and merging updates {self.work_us * 100 / self.round_us:.1f} %"
        verdict = "" if self.idle_ppm <= SHARE_PPM_MAX else ", more than the 5 % aimed at"
        return (
            f"a merge every {self.steps} steps, updates in {name} of {self.update_bytes:,} bytes: "
            f"at {measured.step_us / 1000:.1f} ms a step, {measured.up:,} bytes/s up and "
            f"{measured.down:,} down communication takes {share}{verdict}"
        )


def update_size(parameters: int, encoding: EncodingSpec) -> int:
    """Bytes of an update, to within a few; of the longest, where the model is in fragments."""
    parameters = longest(encoding, parameters)
    if encoding.name == SPARSE:
        chunks = ceil_div(parameters, CHUNK)
        return chunks * 4 + ceil_div(chunks * encoding.kept * 14, 8)
    return ceil_div(parameters * TENTHS[encoding.name], 80) + 2 * ceil_div(parameters, BLOCK)


def choose(measured: Measured, candidates: Sequence[EncodingSpec] = CANDIDATES) -> Choice:
    """The fewest steps between merges that the links allow, then the encoding that says most.

    Where even STEPS_MAX steps do not hide exchange and merge, those that are over first.
    """
    found = [_fitted(measured, encoding) for encoding in candidates]
    fitting = [choice for choice in found if choice.idle_ppm <= SHARE_PPM_MAX]
    if not fitting:
        return min(found, key=lambda choice: choice.exchange_us + choice.work_us)
    return min(fitting, key=lambda choice: choice.steps)  # the first of equals says most


def _fitted(measured: Measured, encoding: EncodingSpec) -> Choice:
    """The encoding with as few steps as its exchange needs."""
    size = update_size(measured.parameters, encoding)
    up = ceil_div(size * measured.seats * MICROS_PER_SECOND, max(1, measured.up))
    down = ceil_div(size * (measured.seats - 1) * MICROS_PER_SECOND, max(1, measured.down))
    exchange, step = max(up, down), max(1, measured.step_us)
    work = measured.sparse_us if encoding.name == SPARSE else measured.dense_us
    # What is no training is at most its share of the whole.
    needed = ceil_div((exchange + work) * (MILLION - SHARE_PPM_MAX), SHARE_PPM_MAX * step)
    steps = min(STEPS_MAX, max(STEPS_MIN, needed))
    return Choice(steps, encoding, size, exchange, steps * step + exchange + work, work)
