"""The global state of a training job, and the outer step that takes it from round to round.

Everything is an integer: whoever merges the same updates, in any order and anywhere, holds the same
state and the same `state_hash`. P is the number of parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import torch
from torch import Tensor

from dpin.base.errors import Misuse
from dpin.base.ids import Digest, Round
from dpin.base.units import MILLION
from dpin.compute.limits import check_outer
from dpin.compute.robust import clip_factors, clipped
from dpin.compute.task import ModelSpec, OuterSpec
from dpin.compute.tensors import UNITS_MAX, as_units, tensors_root
from dpin.compute.updates import Update, quantise
from dpin.compute.weights import Shapes, initial_parameters, shapes

WEIGHT_BITS: Final = 16
CONTRIBUTIONS_MAX: Final = 1024
STEPS_MAX: Final = 1 << 40


@dataclass(frozen=True, slots=True, eq=False)
class GlobalState:
    """What all participants of a job hold before round `round`."""

    spec: ModelSpec
    round: Round
    parameters: Tensor  # (P,) int64 in units of 2^-30, tensors in name order
    momentum: Tensor | None = None  # (P,) int64, likewise; None while all are zero

    def named(self) -> dict[str, Tensor]:
        """Its tensors, as they are hashed and stored."""
        layout = shapes(self.spec)
        tensors = unflatten("parameters", self.parameters, layout)
        if self.momentum is not None:
            tensors |= unflatten("momentum", self.momentum, layout)
        return tensors


def unflatten(prefix: str, vector: Tensor, layout: Shapes) -> dict[str, Tensor]:
    """Cut (P,) into the model's tensors; each is a view, named `prefix/name`."""
    parts = torch.split(vector, [prod(shape) for shape in layout.values()])
    return {
        f"{prefix}/{name}": part.view(shape)
        for (name, shape), part in zip(layout.items(), parts, strict=True)
    }


def initial_state(spec: ModelSpec, seed: bytes) -> GlobalState:
    """The state of round 0: weights hashed from the seed."""
    return GlobalState(spec, Round(0), initial_parameters(spec, seed))


def state_hash(state: GlobalState) -> Digest:
    """The digest that leaf 0 of every unit of the round opens to."""
    return tensors_root(state.named())


def movement(parameters: Tensor, base: GlobalState) -> Update:
    """The update from a global state to trained parameters, (P,) float32."""
    return quantise(as_units(parameters) - base.parameters)


def weights_of(steps: Sequence[int]) -> list[int]:
    """Weight of each contribution, in units of 2^-16; together at most one."""
    if len(steps) > CONTRIBUTIONS_MAX or any(not 0 < count <= STEPS_MAX for count in steps):
        raise Misuse("contributions must be at most 1,024, each of some work")
    return [(count << WEIGHT_BITS) // sum(steps) for count in steps]


def mean_movement(updates: Sequence[Update], steps: Sequence[int], count: int) -> Tensor:
    """The clipped, weighted mean of a round: (P,) int64 in units of 2^-30, below 2^35."""
    total = torch.zeros(count, dtype=torch.int64)
    factors = clip_factors(updates)
    for update, weight, factor in zip(updates, weights_of(steps), factors, strict=True):
        total += clipped(update, factor) * weight
    return total >> WEIGHT_BITS


def merge(
    state: GlobalState, outer: OuterSpec, updates: Sequence[Update], steps: Sequence[int]
) -> GlobalState:
    """The state of the next round: SGD over the mean movement, saturating at UNITS_MAX.

    A round of no contributions has a mean of zero: only the momentum moves the state.
    """
    check_outer(outer)
    mean = mean_movement(updates, steps, len(state.parameters))
    if outer.momentum_ppm == 0:
        direction, momentum = mean, None
    else:
        momentum = (
            mean if state.momentum is None else mean + _ppm(state.momentum, outer.momentum_ppm)
        )
        direction = mean + _ppm(momentum, outer.momentum_ppm) if outer.nesterov else momentum
    moved = state.parameters + _ppm(direction, outer.learning_rate_ppm)
    moved = moved.clamp(-UNITS_MAX, UNITS_MAX)
    return GlobalState(state.spec, Round(state.round + 1), moved, momentum)


def _ppm(vector: Tensor, factor_ppm: int) -> Tensor:
    """Scaled by parts per million, floored."""
    return torch.div(vector * factor_ppm, MILLION, rounding_mode="floor")
