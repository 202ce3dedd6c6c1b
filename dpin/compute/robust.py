"""Keep one update from outweighing the others: each is clipped to the median norm of its round.

Norms are exact integers, so every node clips alike, in whatever order the updates came.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Final

import torch
from torch import Tensor

from dpin.base.units import MILLION
from dpin.compute.updates import Update, value_blocks

UPDATES_MIN: Final = 3  # with fewer, the median says nothing about the rest
GROUP: Final = 1 << 16  # blocks
LOW_BITS: Final = 22
LOW_MASK: Final = (1 << LOW_BITS) - 1


def norm(update: Update) -> int:
    """Floor of the Euclidean norm, in units of 2^-24.

    A scale is below 2^23, its square below 2^46, the squares of a block's values sum to below 2^22;
    taken in two halves, the sums stay in 63 bits for up to 2^17 blocks, so they run in groups.
    """
    squares = update.scales * update.scales
    energies = value_blocks(update.values).to(torch.int64).square().sum(1)
    total = 0
    for part, energy in zip(torch.split(squares, GROUP), torch.split(energies, GROUP), strict=True):
        high, low = part >> LOW_BITS, part & LOW_MASK
        total += (int((high * energy).sum()) << LOW_BITS) + int((low * energy).sum())
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
    dense = update.dense()
    if factor_ppm == MILLION:
        return dense
    return torch.div(dense * factor_ppm, MILLION, rounding_mode="floor")
