"""Updates that are another's work: those all but equal to one that was committed earlier.

Commits come before reveals, so what is copied inside a round is copied among friends, and pays
several of them for the work of one. Honest updates of one round were measured at cosines up to
0.986 (easy text, equal shards) and overlaps up to 0.39, so neither limit may be lower.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
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
    found: dict[int, int] = {}
    looks_so = next(_near(gram, SPARSE_COSINE_PPM_MAX), None) is not None
    overlapping = _overlaps(rows()) if looks_so else set()
    limit_ppm = SPARSE_COSINE_PPM_MAX if overlapping else COSINE_PPM_MAX
    for later, earlier in _near(gram, limit_ppm) if looks_so else ():
        if later in found or earlier in found:
            continue
        limit = SPARSE_COSINE_PPM_MAX if (earlier, later) in overlapping else COSINE_PPM_MAX
        if cosine_ppm(gram, earlier, later) >= limit:
            found[later] = earlier
    return found


def _near(gram: Gram, limit_ppm: int) -> Iterator[tuple[int, int]]:
    """All pairs, (later, earlier), whose cosine may be that large.

    The product of two floored lengths is at most the floored length of both, which `cosine_ppm`
    divides by: a pair that is left out is below the limit.
    """
    lengths = [isqrt(line[row]) for row, line in enumerate(gram)]
    for later, line in enumerate(gram):
        least = limit_ppm * lengths[later]
        before = enumerate(zip(line[:later], lengths[:later], strict=True))
        for earlier, (product, length) in before:
            if product * MILLION >= least * length:
                yield later, earlier


def cosine_ppm(gram: Gram, a: int, b: int) -> int:
    """Cosine of the angle between two rows; 0 where one of them is nought."""
    both = isqrt(gram[a][a] * gram[b][b])
    return gram[a][b] * MILLION // both if both else 0


def _share(both: int, one: int, other: int) -> int:
    least = min(one, other)
    return both * MILLION // least if least else 0


def _overlaps(rows: Sequence[Tensor]) -> set[tuple[int, int]]:
    """The pairs, (a, b) either way, of sparse rows that move the same parameters."""
    size = len(rows[0]) * SPARSE_PPM_MAX
    few = [at for at, row in enumerate(rows) if int(row.count_nonzero()) * MILLION <= size]
    both = _shared([rows[at] for at in few])
    return {
        (few[a], few[b])
        for a, b in permutations(range(len(few)), 2)
        if _share(both[a][b], both[a][a], both[b][b]) >= OVERLAP_PPM_MAX
    }


def _shared(rows: Sequence[Tensor]) -> list[list[int]]:
    """How many parameters each two of some rows move, or one by itself."""
    if not rows:
        return []
    counts = torch.zeros(len(rows), len(rows), dtype=torch.int64)
    for at in range(0, len(rows[0]), CHUNK):  # counts below 2^24 are exact in float32
        moved = torch.stack([row[at : at + CHUNK] != 0 for row in rows]).float()
        counts += (moved @ moved.T).to(torch.int64)
    found: list[list[int]] = counts.tolist()
    return found
