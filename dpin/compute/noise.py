"""Chance in bulk: bytes that a seed fixes everywhere, for weights, data order and sampling.

Torch's own generator gives other numbers on other instruction sets, so nothing here uses it.
"""

from collections.abc import Sequence
from hashlib import shake_256
from typing import Final

from dpin.base.codec import encode

NOISE_TAG: Final = b"dpin/noise/v1\0"
BYTES_PER_WORD: Final = 8


def noise(seed: Sequence[object], count: int) -> bytes:
    """`count` bytes: SHAKE-256 over the canonical encoding of `seed`."""
    return shake_256(NOISE_TAG + encode(list(seed))).digest(count)


def words(seed: Sequence[object], count: int) -> list[int]:
    """`count` integers, uniform over [0, 2^64)."""
    data = noise(seed, count * BYTES_PER_WORD)
    return [
        int.from_bytes(data[at : at + BYTES_PER_WORD], "little")
        for at in range(0, len(data), BYTES_PER_WORD)
    ]
