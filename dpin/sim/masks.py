"""Masks over a few words: what a real worker does to millions, without numpy.

The words of an update are small; a sum whose masks are not all gone is not, and fails.
"""

from collections.abc import Sequence
from hashlib import shake_256
from typing import Final

from dpin.base.codec import decode, encode
from dpin.base.errors import PeerFault
from dpin.compute.secagg.words import MaskedHead, MaskSeed

WORDS: Final = 8
WORD_BYTES: Final = 4
MODULUS: Final = 1 << 32
SMALL: Final = 1 << 16  # what a word of an update stays below
MAGIC: Final = b"masked"


def words_of(update: bytes) -> list[int]:
    """The words that an update stands for."""
    data = shake_256(update).digest(2 * WORDS)
    return [int.from_bytes(data[2 * at : 2 * at + 2]) for at in range(WORDS)]


def with_masks(words: Sequence[int], seeds: Sequence[MaskSeed]) -> list[int]:
    """Masks laid on, modulo 2^32."""
    total = list(words)
    for seed in seeds:
        stream = shake_256(seed.seed).digest(WORD_BYTES * WORDS)
        sign = -1 if seed.negative else 1
        for at in range(WORDS):
            mask = int.from_bytes(stream[WORD_BYTES * at : WORD_BYTES * (at + 1)])
            total[at] = (total[at] + sign * mask) % MODULUS
    return total


def masked_file(update: bytes, head: MaskedHead, seeds: Sequence[MaskSeed]) -> bytes:
    """A masked update."""
    return MAGIC + encode([head, with_masks(words_of(update), seeds)])


def read_masked(data: bytes) -> tuple[MaskedHead, list[int]]:
    """Head and words of a masked update; raises PeerFault."""
    if not data.startswith(MAGIC):
        raise PeerFault("no masked update")
    return decode(tuple[MaskedHead, list[int]], data.removeprefix(MAGIC))


def unmasked(files: Sequence[bytes], seeds: Sequence[MaskSeed]) -> list[int] | None:
    """The sum of updates; None where masks are left on it."""
    total = [0] * WORDS
    for data in files:
        total = [(a + b) % MODULUS for a, b in zip(total, read_masked(data)[1], strict=True)]
    total = with_masks(total, seeds)
    return total if all(word < SMALL * max(1, len(files)) for word in total) else None
