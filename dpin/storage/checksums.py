"""CRC-32 of every part of some bytes, each in constant time after one pass over them.

A CRC is the remainder of a polynomial over GF(2), so that of a part follows from those of two
beginnings: what came before is multiplied by x^8 for every byte of the part, and taken off. Bits
are reflected, as in zlib: the highest bit of a word is the coefficient of x^0.
"""

from array import array
from itertools import accumulate
from typing import Final

_POLYNOMIAL: Final = 0xEDB88320
_ONES: Final = 0xFFFFFFFF
_ONE: Final = 1 << 31


def _halved(word: int) -> int:
    """Times x."""
    return word >> 1 ^ (_POLYNOMIAL if word & 1 else 0)


def _shifted(byte: int) -> int:
    for _ in range(8):
        byte = _halved(byte)
    return byte


_TABLE: Final = tuple(map(_shifted, range(256)))


def product(one: int, other: int) -> int:
    """Of two remainders."""
    total, bit = 0, _ONE
    while one:
        if one & bit:
            total ^= other
            one ^= bit
        bit >>= 1
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return total


def _next(word: int, byte: int) -> int:
    return word >> 8 ^ _TABLE[(word ^ byte) & 255]


class Checksums:
    """Of the parts of `data`."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._before = array("I", accumulate(data, _next, initial=0))
        # x^(8 n): a byte of zeros more.
        self._powers = array("I", accumulate(bytes(len(data)), _next, initial=_ONE))

    def of(self, start: int, end: int, begun: int) -> int:
        """As `zlib.crc32(data[start:end], begun)`."""
        first = begun ^ _ONES ^ self._before[start]
        return product(first, self._powers[end - start]) ^ self._before[end] ^ _ONES
