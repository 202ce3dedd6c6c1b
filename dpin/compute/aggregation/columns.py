"""Trimmed mean and median, parameter by parameter (Yin et al. 2018). Every row counts alike."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

COLUMNS: Final = 1 << 18  # sorted at a time, so that memory stays small beside the rows


def trimmed_mean(rows: Sequence[Tensor], cut: int) -> Tensor:
    """Without the `cut` largest and smallest of each parameter: (P,) int64; floors."""
    assert 2 * cut < len(rows), "something must be left"

    def middle(ordered: Tensor) -> Tensor:
        kept = ordered[cut : len(rows) - cut]
        return torch.div(kept.sum(0), len(kept), rounding_mode="floor")

    return _by_column(rows, middle)


def coordinate_median(rows: Sequence[Tensor]) -> Tensor:
    """The median of each parameter: (P,) int64; of an even number the mean of the two; floors."""
    return trimmed_mean(rows, (len(rows) - 1) // 2)


def _by_column(rows: Sequence[Tensor], middle: Callable[[Tensor], Tensor]) -> Tensor:
    parts = [
        middle(torch.stack([row[at : at + COLUMNS] for row in rows]).sort(0).values)
        for at in range(0, len(rows[0]), COLUMNS)
    ]
    return torch.cat(parts)
