"""Updates that are another's work: those all but equal to one that was committed earlier.

Commits come before reveals, so what is copied inside a round is copied among friends, and pays
several of them for the work of one. Honest updates of one round were measured at cosines up to
0.986 (easy text, equal shards) and overlaps up to 0.39, so neither limit may be lower.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Final

from torch import Tensor

from dpin.base.units import MILLION
from dpin.compute.aggregation.gram import Gram

COSINE_PPM_MAX: Final = 999_000
SPARSE_COSINE_PPM_MAX: Final = 600_000  # beside the overlap: same places, other values is no copy
OVERLAP_PPM_MAX: Final = 400_000  # of the indices that two sparse updates move (templar)
SPARSE_PPM_MAX: Final = 250_000  # an update that moves fewer parameters than that is sparse


def copies(rows: Sequence[Tensor], gram: Gram) -> dict[int, int]:
    """Row -> the earlier row that it copies; rows are in the order of their commits."""
    supports = [_sparse_support(row) for row in rows]
    found: dict[int, int] = {}
    for later in range(len(rows)):
        for earlier in range(later):
            if earlier in found:
                continue
            cosine = cosine_ppm(gram, earlier, later)
            same_places = _overlapping(supports[earlier], supports[later])
            if cosine >= (SPARSE_COSINE_PPM_MAX if same_places else COSINE_PPM_MAX):
                found[later] = earlier
                break
    return found


def cosine_ppm(gram: Gram, a: int, b: int) -> int:
    """Cosine of the angle between two rows; 0 where one of them is nought."""
    both = isqrt(gram[a][a] * gram[b][b])
    return gram[a][b] * MILLION // both if both else 0


def overlap_ppm(a: Tensor, b: Tensor) -> int:
    """How much of the smaller support, (P,) bool, lies in the larger one."""
    least = min(int(a.sum()), int(b.sum()))
    return int((a & b).sum()) * MILLION // least if least else 0


def _sparse_support(row: Tensor) -> Tensor | None:
    """Which parameters a sparse row moves; None for a dense one."""
    support = row != 0
    return support if int(support.sum()) * MILLION <= len(row) * SPARSE_PPM_MAX else None


def _overlapping(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and overlap_ppm(a, b) >= OVERLAP_PPM_MAX
