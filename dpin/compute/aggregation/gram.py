"""All inner products of a round's updates, exactly: what Krum, RFA and FLTrust need of them.

n rows of P numbers become n x n integers once; after that the model's size does not matter. Each
number is cut into two limbs of 18 bits, so that a float64 product of a chunk is exact, in whatever
order the library adds it up: 2^17 products below 2^36 stay below 2^53.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

LIMB_BITS: Final = 18
LIMB_MASK: Final = (1 << LIMB_BITS) - 1
CHUNK: Final = 1 << 17
ROW_MAX: Final = 1 << 35  # what a movement stays below, either way

Gram = list[list[int]]


def gram_of(rows: Sequence[Tensor]) -> Gram:
    """(P,) int64 rows within ROW_MAX -> n x n exact inner products, in units squared."""
    count = len(rows)
    if not count:
        return []
    sums = [[0] * (2 * count) for _ in range(2 * count)]
    for at in range(0, len(rows[0]), CHUNK):
        part = torch.stack([row[at : at + CHUNK] for row in rows])
        limbs = torch.cat([part >> LIMB_BITS, part & LIMB_MASK]).double()
        for total, found in zip(sums, (limbs @ limbs.T).tolist(), strict=True):
            for index, value in enumerate(found):
                total[index] += int(value)
    return [[_joined(sums, a, b, count) for b in range(count)] for a in range(count)]


def _joined(sums: Gram, a: int, b: int, count: int) -> int:
    """One inner product out of those of its limbs."""
    crossed = sums[a][b + count] + sums[a + count][b]
    return (sums[a][b] << 2 * LIMB_BITS) + (crossed << LIMB_BITS) + sums[a + count][b + count]


def squared_distance(gram: Gram, a: int, b: int) -> int:
    """|row a - row b|^2."""
    return gram[a][a] - 2 * gram[a][b] + gram[b][b]
