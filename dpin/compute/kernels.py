"""Fused loops over long vectors: one pass through memory where torch takes eight.

Compiled by numba when first used, and kept on disk where that can be written. All arithmetic is
that of blocks.py, to the bit; whoever has no numba does it with torch. N is the number of blocks.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bytes = NDArray[np.int8]

HALF_LIMIT = 1 << 11  # float16 has 11 significant bits


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def scaled(unit: int, most: int) -> int:
    """The least magnitude from `unit` up that float16 holds, at most `most`."""
    shift = 0
    while unit >> shift >= HALF_LIMIT:
        shift += 1
    return min(most, ((unit + (1 << shift) - 1) >> shift) << shift)


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def peak(block: Ints) -> int:
    """The largest magnitude."""
    most = 0
    for value in block:
        most = max(most, int(abs(value)))
    return most


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def level(block: Ints) -> int:
    """The mean of the magnitudes above three quarters of the mean one of 256."""
    total, above, count = 0, 0, 0
    for value in block:
        total += int(abs(value))
    for value in block:
        size = int(abs(value))
        if size * 1024 > 3 * total:
            above += size
            count += 1
    return above // max(count, 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def quantise_blocks(movement: Ints, most: int, scale_max: int, scales: Ints, values: Bytes) -> None:
    """Fill N scales and P values from a movement, (P,); `most` is the largest value."""
    count = len(movement)
    for block in range(len(scales)):
        low, high = 256 * block, min(count, 256 * block + 256)
        part = movement[low:high]
        top = level(part) if most == 1 else peak(part)
        scale = scaled((top + most * 64 - 1) // (most * 64), scale_max)
        scales[block] = scale
        divisor = np.float64(max(1, scale * 64))
        for at in range(low, high):
            value = np.rint(movement[at] / divisor)
            values[at] = np.int8(min(np.float64(most), max(np.float64(-most), value)))


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def add_blocks(scales: Ints, values: Bytes, weight: int, total: Ints) -> None:
    """Add what the blocks say, times `weight`, to a total, (P,)."""
    count = len(values)
    for block in range(len(scales)):
        low, high = 256 * block, min(count, 256 * block + 256)
        unit = scales[block] * 64 * weight
        for at in range(low, high):
            total[at] += values[at] * unit


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def add_shares(scales: Ints, values: Bytes, ppm: int, weight: int, total: Ints) -> None:
    """The same with movements that are scaled by parts per million first, and floored."""
    count = len(values)
    for block in range(len(scales)):
        low, high = 256 * block, min(count, 256 * block + 256)
        unit = scales[block] * 64 * ppm
        for at in range(low, high):
            total[at] += values[at] * unit // 1_000_000 * weight


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def square_blocks(scales: Ints, values: Bytes) -> tuple[int, int]:
    """High and low part, by 22 bits, of the sum of squares of at most 2^16 blocks.

    A block's values have a sum of squares below 2^22 where its scale is at most 2^22 (int8, int4),
    and below 2^9 where that is below 2^29 (ternary): both sums stay below 2^61.
    """
    tops, lows, count = 0, 0, len(values)
    for block in range(len(scales)):
        low, high = 256 * block, min(count, 256 * block + 256)
        found = np.int64(0)
        for at in range(low, high):
            found += np.int64(values[at]) * np.int64(values[at])
        square = scales[block] * scales[block]
        tops += (square >> 22) * found
        lows += (square & 0x3FFFFF) * found
    return tops, lows


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def product_blocks(
    one: tuple[Ints, Bytes], other: tuple[Ints, Bytes], blocks: tuple[int, int], stride: int
) -> tuple[int, int]:
    """High and low part, by 22 bits, of the sum of products of every `stride`-th number.

    Of two movements of one length, in blocks first to last, at most 2^16; see `square_blocks`.
    """
    tops, lows, count = 0, 0, len(one[1])
    for block in range(blocks[0], blocks[1]):
        low, high = 256 * block, min(count, 256 * block + 256)
        found = np.int64(0)
        for at in range((low + stride - 1) // stride * stride, high, stride):
            found += np.int64(one[1][at]) * np.int64(other[1][at])
        scale = one[0][block] * other[0][block]
        tops += (scale >> 22) * found
        lows += (scale & 0x3FFFFF) * found
    return tops, lows


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def strays(scales: Ints, values: Bytes, most: int) -> tuple[bool, bool]:
    """Whether a value lies below -most, and whether one moves a block of scale zero."""
    below, moved, count = False, False, len(values)
    for block in range(len(scales)):
        low, high = 256 * block, min(count, 256 * block + 256)
        beyond = 0
        for at in range(low, high):
            beyond += values[at] < -most
        below |= beyond > 0
        if scales[block] == 0 and np.any(values[low:high]):
            moved = True
    return below, moved


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def feed_back(movement: Ints, error: Ints, how: tuple[int, int, int], total: Ints) -> None:
    """Fill a total, (P,), with a movement and an error that decays; how = (ppm, times, most)."""
    ppm, times, most = how
    for at in range(len(movement)):
        left = error[at]
        for _ in range(times):
            left = left * ppm // 1_000_000
        total[at] = min(most, max(-most, movement[at] + left))


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def floor_of(keys: Ints, kept: int, used: int) -> np.int64:
    """A number that `kept` of the keys, no two of which are equal, reach; `used` is all their bits.

    Found bit by bit from the highest, which a processor does for several keys at once. NumPy's
    partition does as much and takes 12 s to compile.
    """
    bit = np.int64(1)
    while bit <= used >> 1:
        bit <<= 1
    least = np.int64(0)
    while bit:
        reach = 0
        for at in range(len(keys)):
            reach += keys[at] >= least | bit
        if reach >= kept:
            least |= bit
        if reach == kept:
            break
        bit >>= 1
    return least


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def largest(chunks: Ints, places: Ints) -> None:
    """Fill (C, K) places with the K largest magnitudes of each row of (C, N), in order."""
    length, kept = chunks.shape[1], places.shape[1]
    keys = np.empty(length, np.int64)
    for row in range(len(chunks)):
        used = np.int64(0)
        for at in range(length):  # No two keys are equal: of equal magnitudes the first wins.
            keys[at] = abs(chunks[row, at]) * length + (length - 1 - at)
            used |= keys[at]
        least = floor_of(keys, kept, used)
        found = 0
        for at in range(length):
            if keys[at] >= least:
                places[row, found] = at
                found += 1
