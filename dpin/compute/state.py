"""The global state of a training job: integers, so that whoever merges the same holds the same.

P is the number of parameters.
"""

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from dpin.base.ids import Digest, Round
from dpin.base.units import MILLION
from dpin.compute.task import Architecture, ModelSpec
from dpin.compute.tensors import tensors_root
from dpin.compute.weights import Shapes, initial_parameters, shapes


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """AdamW's running means where the outer step is AdamW."""

    first: Tensor  # (P,) float32, of gradients
    second: Tensor  # (P,) float32, of squared gradients

    @staticmethod
    def zeros(count: int) -> "Means":
        """Before any gradient."""
        return Means(torch.zeros(count), torch.zeros(count))


@dataclass(frozen=True, slots=True, eq=False)
class GlobalState:
    """What all participants of a job hold before round `round`."""

    spec: Architecture
    round: Round
    parameters: Tensor  # (P,) int64 in units of 2^-30, tensors in name order
    momentum: Tensor | None = None  # (P,) int64, likewise; None while all are zero
    means: Means | None = None
    digest: Digest | None = None  # its `state_hash`, once somebody has computed it

    def named(self) -> dict[str, Tensor]:
        """Its tensors, as they are hashed and stored."""
        layout = shapes(self.spec)
        tensors = unflatten("parameters", self.parameters, layout)
        if self.momentum is not None:
            tensors |= unflatten("momentum", self.momentum, layout)
        if self.means is not None:
            tensors |= unflatten("outer_avg", self.means.first, layout)
            tensors |= unflatten("outer_avg_sq", self.means.second, layout)
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
    return state.digest or tensors_root(state.named())


def hashed(state: GlobalState) -> GlobalState:
    """The same state, which knows its digest: nobody hashes it again."""
    return replace(state, digest=state_hash(state))


def scaled_ppm(vector: Tensor, factor_ppm: int) -> Tensor:
    """Scaled by parts per million, floored. By all of them it is the vector itself, no copy."""
    if factor_ppm == MILLION:
        return vector
    return torch.div(vector * factor_ppm, MILLION, rounding_mode="floor")
