"""Keep one update from outweighing the others: each is clipped to the median norm of its round.

Norms are exact integers, so every node clips alike, in whatever order the updates came.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Final

import torch
from torch import Tensor

from dpin.base.units import MILLION
from dpin.compute.scales import UNITS_PER_SCALE_UNIT
from dpin.compute.sparse import Sparse
from dpin.compute.updates import Update

UPDATES_MIN: Final = 3  # with fewer, the median says nothing about the rest
GROUP: Final = 1 << 22  # numbers
LOW_BITS: Final = 29
LOW_MASK: Final = (1 << LOW_BITS) - 1


def norm(update: Update) -> int:
    """Floor of the Euclidean norm, in units of 2^-24.

    A number is below 2^29 units, its square below 2^58; taken in two halves, the sums of a group
    stay in 63 bits.
    """
    total = 0
    said = update.said() if isinstance(update, Sparse) else update.dense()
    for part in torch.split(said // UNITS_PER_SCALE_UNIT, GROUP):
        squares = part * part
        total += (int((squares >> LOW_BITS).sum()) << LOW_BITS) + int((squares & LOW_MASK).sum())
    return isqrt(total)


def clip_factors(updates: Sequence[Update]) -> list[int]:
    """What to scale each update by, in ppm: at most its norm over the (lower) median norm."""
    norms = [norm(update) for update in updates]
    if len(norms) < UPDATES_MIN:
        return [MILLION] * len(norms)
    median = sorted(norms)[(len(norms) - 1) // 2]
    return [MILLION if size <= median else median * MILLION // size for size in norms]


def clipped(update: Update, factor_ppm: int) -> Tensor:
    """The movement of an update, scaled: (P,) int64 in units of 2^-30; floors."""
    return _scaled(update.dense(), factor_ppm)


def add_clipped(total: Tensor, update: Update, factor_ppm: int, weight: int) -> None:
    """Add `clipped`, times a weight, to a total; of a sparse one only what it says."""
    if isinstance(update, Sparse):
        total.index_add_(0, update.places, _scaled(update.said(), factor_ppm) * weight)
    else:
        total.add_(clipped(update, factor_ppm), alpha=weight)


def _scaled(movement: Tensor, factor_ppm: int) -> Tensor:
    if factor_ppm == MILLION:
        return movement
    return torch.div(movement * factor_ppm, MILLION, rounding_mode="floor")
