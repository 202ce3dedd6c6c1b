"""Keep one update from outweighing the others: each is clipped to the median norm of its round.

Norms are exact integers, so every node clips alike, in whatever order the updates came.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Final

import torch
from torch import Tensor

from dpin.base.units import MILLION
from dpin.compute import fused
from dpin.compute.blocks import Blocks
from dpin.compute.scales import SCALE_UNIT_BITS
from dpin.compute.sparse import Sparse
from dpin.compute.tensors import UNIT_BITS
from dpin.compute.updates import Update

UPDATES_MIN: Final = 3  # with fewer, the median says nothing about the rest
GROUP: Final = 1 << 22  # numbers
TOGETHER: Final = 1 << 20  # numbers of small updates that are looked at in one go
SCALE_UNIT_SHIFT: Final = UNIT_BITS - SCALE_UNIT_BITS
LOW_BITS: Final = 29
LOW_MASK: Final = (1 << LOW_BITS) - 1


def norm(update: Update) -> int:
    """Floor of the Euclidean norm, in units of 2^-24."""
    return norms([update])[0]


def norms(updates: Sequence[Update]) -> list[int]:
    """The norm of each; small updates are taken together, for a call costs more than a number.

    A number is below 2^29 units, its square below 2^58; taken in two halves, the sums of a group
    stay in 63 bits.
    """
    found: list[int] = []
    together = max(1, TOGETHER // max(1, max((update.count for update in updates), default=1)))
    for at in range(0, len(updates), together):
        found += map(isqrt, _squares_of(updates[at : at + together]))
    return found


def _squares_of(updates: Sequence[Update]) -> list[int]:
    """Of each update the sum of squares, in units of 2^-24."""
    blocks = [update for update in updates if isinstance(update, Blocks)]
    if len(blocks) == len(updates) and fused.serves(updates[0].count):
        return [fused.squares(update.scales, update.values) for update in blocks]
    if len(updates) == 1 or any(isinstance(update, Sparse) for update in updates):
        return [_squares(_said(update)[None])[0] for update in updates]
    return _squares(torch.stack([update.dense() for update in updates]))


def _said(update: Update) -> Tensor:
    """The numbers that are not zero for certain, in units of 2^-30."""
    return update.said() if isinstance(update, Sparse) else update.dense()


def _squares(rows: Tensor) -> list[int]:
    """Of each row of (n, P) the sum of squares, in units of 2^-24."""
    totals = [0] * len(rows)
    for part in torch.split(rows >> SCALE_UNIT_SHIFT, GROUP, 1):
        squares = part * part
        high = (squares >> LOW_BITS).sum(1).tolist()
        low = (squares & LOW_MASK).sum(1).tolist()
        totals = [
            total + (more << LOW_BITS) + less
            for total, more, less in zip(totals, high, low, strict=True)
        ]
    return totals


def clip_factors(updates: Sequence[Update], sizes: Sequence[int] = ()) -> list[int]:
    """What to scale each update by, in ppm: at most its norm over the (lower) median norm.

    `sizes` are their norms where they are known.
    """
    if len(updates) < UPDATES_MIN:
        return [MILLION] * len(updates)
    found = list(sizes) or norms(updates)
    median = sorted(found)[(len(found) - 1) // 2]
    return [MILLION if size <= median else median * MILLION // size for size in found]


def clipped(update: Update, factor_ppm: int) -> Tensor:
    """The movement of an update, scaled: (P,) int64 in units of 2^-30; floors."""
    return _scaled(update.dense(), factor_ppm)


def add_clipped(total: Tensor, update: Update, factor_ppm: int, weight: int) -> None:
    """Add `clipped`, times a weight, to a total; of a sparse one only what it says."""
    if isinstance(update, Sparse):
        total.index_add_(0, update.places, _scaled(update.said(), factor_ppm) * weight)
    elif isinstance(update, Blocks) and fused.serves(update.count):
        fused.add(update.scales, update.values, (factor_ppm, weight), total)
    else:
        total.add_(clipped(update, factor_ppm), alpha=weight)


def _scaled(movement: Tensor, factor_ppm: int) -> Tensor:
    if factor_ppm == MILLION:
        return movement
    return torch.div(movement * factor_ppm, MILLION, rounding_mode="floor")
