"""The node's int8 blocks straight from float32: what averaging.py compiles.

The same bytes as those of `as_units`, then dpin.compute.kernels: averaging.py compares them in each
run. These loops are fast because nothing of 8 bytes a number goes through memory: a block of 256
lies in the cache from the floats to the bytes. Sums are of integers below 2^53, in float64: exact.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dpin.compute.kernels import scaled

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bits = NDArray[np.int64]
Bytes = NDArray[np.int8]
Halves = NDArray[np.uint16]

ONE: Final = 1073741824.0  # units of 2^-30
VALUE_MAX: Final = 127
SCALE_MAX: Final = 1 << 22
# Added to a float64 below 2^51, it leaves the nearest integer, half to even, in the lowest bits.
TO_INTEGER: Final = 6755399441055744.0
_WITHOUT_SIGN: Final = 0x7FFF_FFFF
_LONG_WITHOUT_SIGN: Final = 0x7FFF_FFFF_FFFF_FFFF

fused = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "ninf", "nsz"}
)  # no reassociation: what is added first stays first


@fused  # type: ignore[untyped-decorator]  # It has no types.
def scale_of(peak: float) -> int:
    """The scale of a block whose largest movement is `peak` units of 2^-30."""
    step = VALUE_MAX * 64
    least: int = scaled((np.int64(peak) + step - 1) // step, SCALE_MAX)
    return least


@fused  # type: ignore[untyped-decorator]  # It has no types.
def values_of(held: Doubles, bits: Bits, scale: int, values: Bytes) -> None:
    """A block's movements as multiples of its scale; `bits` are those of `held`, which is lost."""
    divisor = np.float64(max(1, scale * 64))
    for at in range(len(values)):
        value = min(np.float64(VALUE_MAX), max(np.float64(-VALUE_MAX), held[at] / divisor))
        held[at] = value + TO_INTEGER
    for at in range(len(values)):
        values[at] = np.int8(bits[at])


@fused  # type: ignore[untyped-decorator]  # It has no types.
def quantise_floats(vector: Floats, scales: Bits, values: Bytes) -> None:
    """Fill N scales and P values from P floats."""
    held = np.empty(256, np.float64)
    bits = held.view(np.int64)
    whole = vector.view(np.int32)
    one = np.empty(1, np.int32)
    for block in range(len(scales)):
        low, high = 256 * block, min(len(vector), 256 * block + 256)
        part, signs, row = vector[low:high], whole[low:high], values[low:high]
        top = np.int32(0)  # positive floats are in the order of their bits
        for at in range(len(part)):
            top = max(top, signs[at] & np.int32(_WITHOUT_SIGN))
        for at in range(len(part)):
            held[at] = np.rint(np.float64(part[at]) * ONE)
        one[0] = top
        scales[block] = scale_of(np.rint(np.float64(one.view(np.float32)[0]) * ONE))
        values_of(held, bits, scales[block], row)


@fused  # type: ignore[untyped-decorator]  # It has no types.
def merge_blocks(
    own: Floats, heads: Halves, rows: Bytes, units: Doubles, out: tuple[Bits, Bytes]
) -> None:
    """The mean of one's own P floats and of what W - 1 others have encoded, encoded again.

    `heads` are their (W - 1, N) scales as float16 by their bits, `rows` their (W - 1, P) values;
    `units` is the table of all such scales. `out` are the N scales and P values to fill.
    """
    scales, values = out
    world = np.float64(len(rows) + 1)
    held = np.empty(256, np.float64)
    bits = held.view(np.int64)
    one = np.empty(1, np.int64)
    for block in range(len(scales)):
        low, high = 256 * block, min(len(own), 256 * block + 256)
        part = own[low:high]
        for at in range(len(part)):
            held[at] = np.rint(np.float64(part[at]) * ONE)
        for peer in range(len(rows)):
            unit, row = units[heads[peer, block]], rows[peer, low:high]
            for at in range(len(part)):
                held[at] += np.float64(np.int32(row[at])) * unit
        for at in range(len(part)):
            held[at] = np.floor(held[at] / world)
        top = np.int64(0)
        for at in range(len(part)):
            top = max(top, bits[at] & np.int64(_LONG_WITHOUT_SIGN))
        one[0] = top
        scales[block] = scale_of(one.view(np.float64)[0])
        values_of(held, bits, scales[block], values[low:high])


@fused  # type: ignore[untyped-decorator]  # It has no types.
def floats_of(scales: Halves, table: Floats, values: Bytes, vector: Floats) -> None:
    """What encoded blocks say; `table` is that of all float16."""
    for block in range(len(scales)):
        unit = table[scales[block]]
        part = vector[256 * block : min(len(values), 256 * block + 256)]
        row = values[256 * block : min(len(values), 256 * block + 256)]
        for at in range(len(part)):
            part[at] = np.float32(row[at]) * unit
