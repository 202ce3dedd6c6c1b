"""Muon (Jordan et al. 2024): a step of a hidden matrix is its momentum made orthogonal.

As `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, but in float32: bfloat16 is slow on
processors, and every step must be replayed to the bit. Embeddings, heads, gains and biases stay
with AdamW.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from torch import Tensor

from dpin.compute.weights import Shapes

COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
ITERATIONS: Final = 5
MOMENTUM: Final = 0.95
MATRIX: Final = 2  # dimensions
EPSILON: Final = 1e-8
SIZE: Final = 0.2  # times the root of the longer side: the size of AdamW's steps


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hidden matrix stands in a flat vector."""

    start: int
    end: int
    shape: tuple[int, ...]

    def of(self, vector: Tensor) -> Tensor:
        """Its part of a (P,) vector, as a matrix: a view."""
        return vector[self.start : self.end].view(self.shape)


def hidden(layout: Shapes) -> list[Place]:
    """The matrices inside numbered layers (`blocks.0.…`, `model.layers.3.…`), in their order."""
    found, start = [], 0
    for name, shape in layout.items():
        end = start + math.prod(shape)
        if len(shape) == MATRIX and any(part.isdigit() for part in name.split(".")):
            found.append(Place(start, end, shape))
        start = end
    return found


def others(places: list[Place], count: int) -> list[tuple[int, int]]:
    """What of a vector of `count` numbers is in none of the places: (start, end) each."""
    ends = [0, *(bound for place in places for bound in (place.start, place.end)), count]
    gaps = list(pairwise(ends))[::2]
    return [(start, end) for start, end in gaps if start < end]


def muon_step(weight: Tensor, gradient: Tensor, momentum: Tensor, rate: float) -> None:
    """Move a matrix and its momentum by one step (Nesterov), in place."""
    momentum.lerp_(gradient, 1 - MOMENTUM)
    turn = orthogonal(gradient.lerp(momentum, MOMENTUM))
    weight.add_(turn, alpha=-rate * SIZE * math.sqrt(max(turn.shape)))


def orthogonal(matrix: Tensor) -> Tensor:
    """(rows, columns) with all singular values near one: five Newton-Schulz steps."""
    wide = matrix.shape[0] <= matrix.shape[1]
    found: Tensor = matrix if wide else matrix.T
    found = found / (found.norm() + EPSILON)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = found @ found.T
        step = square.mul(cubic) + (square @ square).mul(quintic)
        found = found.mul(linear) + step @ found
    return found if wide else found.T
