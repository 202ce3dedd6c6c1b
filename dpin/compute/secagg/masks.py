"""Masks by the million: AES-128 in counter mode, added modulo 2^32. Only in the worker."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from dpin.compute.secagg.words import MaskSeed

CHUNK_BYTES: Final = 1 << 18  # stays in the cache between cipher and sum
WORD: Final = np.dtype("<u4")
Words = NDArray[np.uint32]


def add_masks(words: Words, seeds: Sequence[MaskSeed]) -> None:
    """Add the stream of each seed to (P,) uint32, or take it off, in place."""
    zeros, stream = bytes(CHUNK_BYTES), bytearray(CHUNK_BYTES + 16)
    for seed in seeds:
        cipher = Cipher(AES128(seed.seed[:16]), CTR(seed.seed[16:32])).encryptor()
        for at in range(0, len(words), CHUNK_BYTES // 4):
            part = words[at : at + CHUNK_BYTES // 4]
            cipher.update_into(memoryview(zeros)[: 4 * len(part)], stream)
            mask = np.frombuffer(stream, WORD, len(part))
            if seed.negative:
                np.subtract(part, mask, out=part)
            else:
                np.add(part, mask, out=part)
