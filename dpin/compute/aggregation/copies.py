"""Updates that are another's work: those all but equal to one that was committed earlier.

Commits come before reveals, so what is copied inside a round is copied among friends, and pays
several of them for the work of one. Honest updates of one round were measured at cosines up to
0.986 (easy text, equal shards) and overlaps up to 0.39, so neither limit may be lower.
"""

from collections.abc import Callable, Sequence
from math import isqrt
from typing import Final

import torch
from torch import Tensor

from dpin.base.units import MILLION
from dpin.compute.aggregation.gram import CHUNK, Gram

COSINE_PPM_MAX: Final = 999_000
SPARSE_COSINE_PPM_MAX: Final = 600_000  # beside the overlap: same places, other values is no copy
OVERLAP_PPM_MAX: Final = 400_000  # of the indices that two sparse updates move (templar)
SPARSE_PPM_MAX: Final = 250_000  # an update that moves fewer parameters than that is sparse


def copies(rows: Callable[[], Sequence[Tensor]], gram: Gram) -> dict[int, int]:
    """Row -> the earlier row that it copies; rows are in the order of their commits.

    They are asked for where their products look like copies, which most rounds do not.
    """
    overlapping: list[list[bool]] | None = None  # most rounds need not know
    lengths = [isqrt(gram[row][row]) for row in range(len(gram))]
    found: dict[int, int] = {}
    for later in range(len(gram)):
        for earlier in range(later):
            # A cosine of at most one half, also by the floors: most pairs end here.
            if 2 * gram[earlier][later] <= lengths[earlier] * lengths[later] or earlier in found:
                continue
            cosine = cosine_ppm(gram, earlier, later)
            if cosine < SPARSE_COSINE_PPM_MAX:
                continue
            overlapping = overlapping or _overlaps(rows())
            limit = SPARSE_COSINE_PPM_MAX if overlapping[earlier][later] else COSINE_PPM_MAX
            if cosine >= limit:
                found[later] = earlier
                break
    return found


def cosine_ppm(gram: Gram, a: int, b: int) -> int:
    """Cosine of the angle between two rows; 0 where one of them is nought."""
    both = isqrt(gram[a][a] * gram[b][b])
    return gram[a][b] * MILLION // both if both else 0


def _share(both: int, one: int, other: int) -> int:
    least = min(one, other)
    return both * MILLION // least if least else 0


def _overlaps(rows: Sequence[Tensor]) -> list[list[bool]]:
    """Whether two rows are sparse and move the same parameters, for all pairs."""
    counts = torch.zeros(len(rows), len(rows), dtype=torch.int64)
    for at in range(0, len(rows[0]), CHUNK):  # counts below 2^24 are exact in float32
        moved = torch.stack([row[at : at + CHUNK] != 0 for row in rows]).float()
        counts += (moved @ moved.T).to(torch.int64)
    both = counts.tolist()
    size = len(rows[0]) * SPARSE_PPM_MAX
    sparse = [both[row][row] * MILLION <= size for row in range(len(rows))]
    return [
        [
            sparse[a]
            and sparse[b]
            and _share(both[a][b], both[a][a], both[b][b]) >= OVERLAP_PPM_MAX
            for b in range(len(rows))
        ]
        for a in range(len(rows))
    ]
