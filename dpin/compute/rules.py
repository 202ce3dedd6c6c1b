"""Outer rules: from the global state and the mean movement of a round to the next global state.

All rules are pure and exact, so that everybody who merged the same updates holds the same state.
FedAvg (arXiv 1602.05629), FedAvgM (1909.06335), DiLoCo (2311.08105) and SparseLoCo (2508.15706) are
one rule, SGD with or without momentum, and differ in the numbers and in the encoding. The mean is
always over all contributions by their weight: where a sparse update says nothing it says zero. (The
code of SparseLoCo divides by the senders of an entry alone, so its steps on rare entries are
larger; the plain mean is linear, which group sums of masked updates need.)
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from dpin.base.ids import Round
from dpin.base.units import MILLION
from dpin.compute.course import DECAY_FIRST, DECAY_SECOND, EPSILON, Course
from dpin.compute.limits import check_outer
from dpin.compute.state import GlobalState, Means, scaled_ppm
from dpin.compute.task import ADAMW, OuterSpec, TrainManifest
from dpin.compute.tensors import AT_ONCE, ONE, UNITS_MAX
from dpin.compute.weights import shapes

GRADIENT_SCALE: Final = 16  # a gradient of norm 1 then uses the range that the encodings have


class OuterRule(Protocol):
    """How a round moves the global state."""

    def next(self, state: GlobalState, mean: Tensor) -> GlobalState:
        """The state after `state`, from the mean movement (P,) int64 below 2^35 of its round.

        The mean is used up: its memory may be that of the new state.
        """
        ...


@dataclass(frozen=True, slots=True)
class Descent:
    """SGD over mean movements, saturating at UNITS_MAX.

    A round of no contributions has a mean of zero: only the momentum moves the state.
    """

    outer: OuterSpec

    def __post_init__(self) -> None:
        """Raise Misuse where the outer step could leave the range of integers."""
        check_outer(self.outer)

    def next(self, state: GlobalState, mean: Tensor) -> GlobalState:
        """See OuterRule. Part by part, so that what is made in between is small."""
        momentum = self._momentum(state, mean)
        moved = mean if momentum is None else torch.empty_like(mean)
        held = [state.parameters, mean, moved, mean if momentum is None else momentum]
        parts = [torch.split(vector, AT_ONCE) for vector in held]
        for before, mean_, after, kept in zip(*parts, strict=True):
            direction = kept
            if momentum is not None and self.outer.nesterov:
                direction = mean_ + scaled_ppm(kept, self.momentum_ppm(state.round))
            step = scaled_ppm(direction, self.outer.learning_rate_ppm)
            torch.add(before, step, out=after).clamp_(-UNITS_MAX, UNITS_MAX)
        return GlobalState(state.spec, Round(state.round + 1), moved, momentum)

    def _momentum(self, state: GlobalState, mean: Tensor) -> Tensor | None:
        """The momentum after a round: (P,) int64, the mean itself where there was none before."""
        if self.outer.momentum_ppm == 0:
            return None
        if state.momentum is None:
            return mean
        share, made = self.momentum_ppm(state.round), torch.empty_like(mean)
        parts = [torch.split(vector, AT_ONCE) for vector in (state.momentum, mean, made)]
        for before, mean_, after in zip(*parts, strict=True):
            torch.add(mean_, scaled_ppm(before, share), out=after)
        return made

    def momentum_ppm(self, round_: int) -> int:
        """The momentum of that round: early means are large and soon out of date."""
        full, ramp = self.outer.momentum_ppm, self.outer.ramp_rounds
        return full if round_ + 1 >= ramp else full * (round_ + 1) // ramp


@dataclass(frozen=True, slots=True)
class DataParallel:
    """AdamW on the mean gradient of a round: synchronous data-parallel training.

    A movement is the downhill gradient, clipped to norm 1 at its provider, times GRADIENT_SCALE.
    float64, one operation at a time, each correctly rounded: the same bits on every device.
    """

    course: Course

    def next(self, state: GlobalState, mean: Tensor) -> GlobalState:
        """See OuterRule."""
        means = state.means or Means.zeros(len(mean))
        gradient = mean.double() / (-ONE * GRADIENT_SCALE)
        first = _towards(means.first, gradient, DECAY_FIRST)
        second = _towards(means.second, gradient * gradient, DECAY_SECOND)
        steps = state.round + 1
        deviation = (second.double() / (1 - _power(DECAY_SECOND, steps))).sqrt() + EPSILON
        descent = first.double() / (1 - _power(DECAY_FIRST, steps)) / deviation
        rate = self.course.rate(state.round)
        decay = state.parameters.double() * (rate * self.course.inner.weight_decay_ppm / MILLION)
        step = descent * (rate * ONE) + decay * _decayed(state)
        moved = state.parameters - step.clamp(-UNITS_MAX, UNITS_MAX).round().to(torch.int64)
        moved = moved.clamp(-UNITS_MAX, UNITS_MAX)
        return GlobalState(state.spec, Round(steps), moved, None, Means(first, second))


def rule_of(manifest: TrainManifest) -> OuterRule:
    """The rule that a job's manifest names."""
    if manifest.outer.rule == ADAMW:
        return DataParallel(Course(manifest.inner, manifest.rounds))
    return Descent(manifest.outer)


def next_state(rule: OuterRule, state: GlobalState, mean: Tensor, here: slice) -> GlobalState:
    """The state after a round that merged the numbers `here`; of the others all stays."""
    if here == slice(0, len(state.parameters)):
        return rule.next(state, mean)
    momentum = None if state.momentum is None else state.momentum[here]
    part = GlobalState(state.spec, state.round, state.parameters[here], momentum)
    found = rule.next(part, mean)
    parameters, momentum = state.parameters.clone(), None
    parameters[here] = found.parameters
    if found.momentum is not None:
        before = state.momentum
        momentum = torch.zeros_like(parameters) if before is None else before.clone()
        momentum[here] = found.momentum
    return GlobalState(state.spec, found.round, parameters, momentum)


def _towards(held: Tensor, found: Tensor, decay: float) -> Tensor:
    """A running mean, (P,) float32, one value on."""
    return (held.double() * decay + found * (1 - decay)).float()


def _power(base: float, exponent: int) -> float:
    """By multiplications alone, which all machines round alike; a library's power may differ."""
    result, square = 1.0, base
    for bit in reversed(f"{exponent:b}"):
        if bit == "1":
            result *= square
        square *= square
    return result


def _decayed(state: GlobalState) -> Tensor:
    """(P,) 1 in matrices, 0 in gains of norms."""
    parts = [
        torch.full((math.prod(shape),), float(len(shape) > 1), dtype=torch.float64)
        for shape in shapes(state.spec).values()
    ]
    return torch.cat(parts)
