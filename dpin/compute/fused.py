"""The fused loops of kernels.py, where numba is there and can keep what it compiled.

For vectors below LONG, loading a compiler takes longer than it saves: callers do the same by torch.
"""

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from dpin.base.units import ceil_div

LONG: Final = 1 << 22  # numbers
BLOCK: Final = 256


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether the loops can be had here."""
    try:
        from dpin.compute import kernels  # noqa: F401
    except (ImportError, RuntimeError):  # The latter: nowhere to keep what was compiled.
        return False
    return True


def quantised(movement: Tensor, most: int, scale_max: int) -> tuple[Tensor, Tensor]:
    """(P,) int64 on the CPU -> scales (N,) int64 and values (P,) int8, as blocks.quantise."""
    from dpin.compute import kernels

    scales = torch.empty(ceil_div(len(movement), BLOCK), dtype=torch.int64)
    values = torch.empty(len(movement), dtype=torch.int8)
    kernels.quantise_blocks(
        movement.contiguous().numpy(), most, scale_max, scales.numpy(), values.numpy()
    )
    return scales, values


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


def add(scales: Tensor, values: Tensor, weight: int, total: Tensor) -> None:
    """Add what blocks say, times `weight`, to (P,) int64 in place."""
    from dpin.compute import kernels

    kernels.add_blocks(scales.numpy(), values.numpy(), weight, total.numpy())
