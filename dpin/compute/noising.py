"""Client-level differential privacy: a clip in whole numbers, and discrete Gaussian noise.

Each of the m updates that a round needs at least carries 1 / m of the noise's variance (Kairouz et
al. 2021), so the sum carries all of it though nobody is trusted to add it. Noise and numbers lie on
one grid, which is coarsened until the deviation is at most 2^16 steps of it. P numbers, int64.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Final

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray
from torch import Tensor

from dpin.base.units import MILLION
from dpin.compute.aggregation.gram import gram_of

DEVIATION_MAX: Final = 1 << 16
TAIL: Final = 9  # deviations: what lies beyond has a chance below 2^-60
DRAW_BITS: Final = 63
CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Noise:
    """What one participant does to its update."""

    clip: int  # largest Euclidean norm, in units of the numbers
    deviation: int  # of the noise of this participant alone, likewise
    seed: bytes  # 32 secret bytes, of this round alone

    @property
    def coarse(self) -> int:
        """Bits by which the grid is coarser than the numbers."""
        return max(0, (self.deviation // DEVIATION_MAX).bit_length())


def noised(numbers: Tensor, noise: Noise) -> Tensor:
    """(P,) int64 -> (P,) int64: clipped to the norm, put on the grid, noise added."""
    step = 1 << noise.coarse
    near = torch.div(clipped_to(numbers, noise.clip), step, rounding_mode="trunc")
    return (near + gaussian(len(numbers), noise.deviation / step, noise.seed)) * step


def clipped_to(numbers: Tensor, norm_max: int) -> Tensor:
    """Scaled so that the Euclidean norm is at most this; exact, towards nought."""
    norm = isqrt(gram_of([numbers])[0][0]) + 1
    if norm <= norm_max:
        return numbers
    factor = norm_max * MILLION // norm
    return torch.div(numbers * factor, MILLION, rounding_mode="trunc")


def gaussian(count: int, deviation: float, seed: bytes) -> Tensor:
    """Discrete Gaussian noise (Canonne et al. 2020), by inversion: (count,) int64."""
    if deviation <= 0:
        return torch.zeros(count, dtype=torch.int64)
    table = _distribution(deviation)
    cipher = Cipher(AES256(seed), CTR(bytes(16))).encryptor()
    parts = []
    for at in range(0, count, CHUNK):
        size = min(CHUNK, count - at)
        draws = np.frombuffer(cipher.update(bytes(8 * size)), "<u8") >> np.uint64(64 - DRAW_BITS)
        parts.append(np.searchsorted(table, draws.astype(np.int64), side="right"))
    middle = len(table) // 2
    return torch.from_numpy(np.concatenate(parts).astype(np.int64) - middle)


@lru_cache(maxsize=2)
def _distribution(deviation: float) -> NDArray[np.int64]:
    """Chances of 2^-63 that the noise is at most -K, .., K - 1."""
    reach = int(TAIL * deviation) + 2
    places = np.arange(-reach, reach + 1, dtype=np.float64)
    mass = np.exp(-0.5 * (places / deviation) ** 2)
    below = np.cumsum(mass)[:-1] / mass.sum()
    chances: NDArray[np.int64] = np.minimum(below * 2.0**DRAW_BITS, 2.0**DRAW_BITS - 1024).astype(
        np.int64
    )
    return chances
