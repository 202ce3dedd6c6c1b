"""The fused loops of kernels.py, where numba is there and can keep what it compiled.

For vectors below LONG, loading a compiler takes longer than it saves: callers do the same by torch.
"""

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from dpin.base.units import MILLION

LONG: Final = 1 << 22  # numbers
BLOCK: Final = 256
GROUP: Final = 1 << 16  # blocks whose squares are added up in 63 bits
HALF_BITS: Final = 22  # as in kernels.square_blocks


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether the loops can be had here."""
    try:
        from dpin.compute import kernels  # noqa: F401
    except (ImportError, RuntimeError):  # The latter: nowhere to keep what was compiled.
        return False
    return True


def serves(count: int) -> bool:
    """Whether the loops are there, and worth loading for so many numbers."""
    return count >= LONG and available()


def quantise(movement: Tensor, most: int, scale_max: int, into: tuple[Tensor, Tensor]) -> None:
    """(P,) int64 on the CPU into scales (N,) int64 and values (P,) int8, as blocks.quantise."""
    from dpin.compute import kernels

    scales, values = (part.numpy() for part in into)
    kernels.quantise_blocks(movement.contiguous().numpy(), most, scale_max, scales, values)


def fed(movement: Tensor, error: Tensor, ppm: int, age: int, most: int) -> Tensor:
    """(P,) int64 + what `age` decays leave of (P,) int64, kept within -most..most."""
    from dpin.compute import kernels

    total = torch.empty_like(movement)
    held = movement.contiguous().numpy(), error.contiguous().numpy()
    kernels.feed_back(*held, (ppm, age, most), total.numpy())
    return total


def largest(chunks: Tensor, kept: int) -> Tensor:
    """Of each row of (C, 4096) int64 the `kept` largest by magnitude: (C, kept) ascending places.

    Of equal ones those that come first.
    """
    from dpin.compute import kernels

    places = torch.empty(len(chunks), kept, dtype=torch.int64)
    kernels.largest(chunks.contiguous().numpy(), places.numpy())
    return places


def add(scales: Tensor, values: Tensor, weights: tuple[int, int], total: Tensor) -> None:
    """Add what blocks say to (P,) int64 in place; weights = (ppm, times): floored, then whole."""
    from dpin.compute import kernels

    held = scales.numpy(), values.numpy()
    ppm, times = weights
    if ppm == MILLION:
        kernels.add_blocks(*held, times, total.numpy())
    else:
        kernels.add_shares(*held, ppm, times, total.numpy())


def strays(scales: Tensor, values: Tensor, most: int) -> tuple[bool, bool]:
    """Whether a value lies below -most, and whether one moves a block of scale zero."""
    from dpin.compute import kernels

    below, moved = kernels.strays(scales.numpy(), values.numpy(), most)
    return bool(below), bool(moved)


def product(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], stride: int) -> int:
    """The sum of products of every `stride`-th number, in units of scales squared.

    `one` and `other` are scales (N,) int64 and values (P,) int8.
    """
    from dpin.compute import kernels

    left, right = ((scales.numpy(), values.numpy()) for scales, values in (one, other))
    found = 0
    for first in range(0, len(one[0]), GROUP):
        blocks = first, min(len(one[0]), first + GROUP)
        high, low = kernels.product_blocks(left, right, blocks, stride)
        found += (int(high) << HALF_BITS) + int(low)
    return found


def squares(scales: Tensor, values: Tensor) -> int:
    """The sum of the squares of scale times value."""
    from dpin.compute import kernels

    found = 0
    for at in range(0, len(scales), GROUP):
        part = values[BLOCK * at : BLOCK * (at + GROUP)]
        high, low = kernels.square_blocks(scales[at : at + GROUP].numpy(), part.numpy())
        found += (int(high) << HALF_BITS) + int(low)
    return found
