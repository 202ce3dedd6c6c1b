"""All inner products of a round's updates, exactly: what Krum, RFA and FLTrust need of them.

n rows of P numbers become n x n integers once; after that the model's size does not matter. Each
number is cut into two limbs of 18 bits, so that a float64 product of a chunk is exact, in whatever
order the library adds it up: 2^17 products below 2^36 stay below 2^53. Few small numbers need no
limbs.
"""

from collections.abc import Sequence
from operator import add
from typing import Final

import torch
from torch import Tensor

LIMB_BITS: Final = 18
LIMB_MASK: Final = (1 << LIMB_BITS) - 1
CHUNK: Final = 1 << 17
CHUNKS_HELD: Final = 1 << 8  # twice 2^53 each: 2^62
ROW_MAX: Final = 1 << 35  # what a movement stays below, either way

Gram = list[list[int]]


def gram_of(rows: Sequence[Tensor], step: int = 1) -> Gram:
    """(P,) int64 rows within ROW_MAX -> n x n exact inner products, in units squared.

    All numbers are multiples of `step`, a power of two: that leaves small ones fewer bits.
    """
    if not rows:
        return []
    if len(rows[0]) <= CHUNK:
        whole = torch.stack(list(rows))
        if is_narrow(whole, step):
            numbers = whole.double().mul_(1 / step)
            found: Gram = (numbers @ numbers.T).to(torch.int64).mul_(step * step).tolist()
            return found
    return _by_limbs(rows)


def is_narrow(rows: Tensor, step: int) -> bool:
    """Whether float64 adds up all products of (n, P) multiples of `step` exactly, in any order.

    So it is while they stay below 2^53 steps squared; the products themselves stay in 63 bits.
    """
    least, most = (int(end) for end in rows.aminmax()) if rows.numel() else (0, 0)
    largest = rows.shape[1] * max(-least, most) ** 2
    return largest < 1 << 63 and largest <= step * step << 53


def _by_limbs(rows: Sequence[Tensor]) -> Gram:
    """The same of numbers of any size."""
    count = len(rows)
    # Sums of so many chunks stay in 63 bits: high limbs by each other, crossed ones, low ones.
    totals = [[[0] * count for _ in range(count)] for _ in range(3)]
    held = torch.zeros(3, count, count, dtype=torch.int64)
    bounds = range(0, len(rows[0]), CHUNK)
    for number, at in enumerate(bounds):
        part = torch.stack([row[at : at + CHUNK] for row in rows])
        high, low = (part >> LIMB_BITS).double(), (part & LIMB_MASK).double()
        crossed = (high @ low.T).to(torch.int64)
        held[0] += (high @ high.T).to(torch.int64)
        held[1] += crossed + crossed.T
        held[2] += (low @ low.T).to(torch.int64)
        if (number + 1) % CHUNKS_HELD == 0 or number + 1 == len(bounds):
            _add(totals, held.tolist())
            held.zero_()
    return [
        [(h << 2 * LIMB_BITS) + (c << LIMB_BITS) + low for h, c, low in zip(*lines, strict=True)]
        for lines in zip(*totals, strict=True)
    ]


def _add(totals: list[Gram], more: list[Gram]) -> None:
    for total, found in zip(totals, more, strict=True):
        for line, values in zip(total, found, strict=True):
            line[:] = map(add, line, values)


def squared_distance(gram: Gram, a: int, b: int) -> int:
    """|row a - row b|^2."""
    return gram[a][a] - 2 * gram[a][b] + gram[b][b]
