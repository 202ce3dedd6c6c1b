"""int8 and int4: a scale for each block of 256 movements, and a small integer for each of them.

A scale is an integer of units of 2^-24 that float16 holds exactly, at most 2^-2; a value is the
movement over its scale, rounded half to even, within -127..127 (8 bits) or -7..7 (4 bits). P is the
number of parameters, N = ceil(P / 256) that of blocks.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dpin.base.errors import PeerFault
from dpin.base.units import ceil_div
from dpin.compute import fused
from dpin.compute.scales import (
    HALF_BYTES,
    SCALE_UNIT_BITS,
    UNITS_PER_SCALE_UNIT,
    half_bytes,
    read_scales,
    round_up,
)
from dpin.compute.tensors import tensor_bytes, tensor_from

BLOCK: Final = 256
SCALE_MAX: Final = 1 << (SCALE_UNIT_BITS - 2)  # 2^-2
VALUE_MAX: Final = {8: 127, 4: 7}
NIBBLE: Final = 4
NIBBLE_MASK: Final = 15


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A movement in blocks."""

    scales: Tensor  # (N,) int64, units of 2^-24, 0..SCALE_MAX
    values: Tensor  # (P,) int8
    bits: int  # of a value on the wire: 8 or 4

    @property
    def count(self) -> int:
        """P."""
        return len(self.values)

    def dense(self) -> Tensor:
        """See updates.Update."""
        if self.count >= fused.LONG and fused.available():
            total = torch.zeros(self.count, dtype=torch.int64)
            fused.add(self.scales, self.values, 1, total)
            return total
        units = (self.scales * UNITS_PER_SCALE_UNIT).repeat_interleave(BLOCK)
        return units[: self.count].mul_(self.values)

    def encoded(self) -> bytes:
        """N scales as float16, then P values; of 4 bits, two a byte, the first one low."""
        values = self.values if self.bits == 8 else _nibbles(self.values)  # noqa: PLR2004
        return half_bytes(self.scales) + tensor_bytes(values)


def quantise(movement: Tensor, bits: int) -> Blocks:
    """The nearest blocks to a movement, (P,) int64; what lies beyond the range saturates.

    A quotient of float64 that is not a half is at least 2^-29 from one (a scale is below 2^28
    units), and so is what it is rounded from: rounding it is rounding the exact quotient.
    """
    most = VALUE_MAX[bits]
    if len(movement) >= fused.LONG and fused.available():
        return Blocks(*fused.quantised(movement, most, SCALE_MAX), bits)
    blocks = value_blocks(movement)
    step = most * UNITS_PER_SCALE_UNIT
    scales = round_up((blocks.abs().amax(1) + step - 1) // step).clamp(max=SCALE_MAX)
    divisor = (scales * UNITS_PER_SCALE_UNIT).clamp(min=1)[:, None]  # a zero block divides by one
    values = (blocks.double() / divisor).round_().clamp_(-most, most)
    return Blocks(scales, values.to(torch.int8).reshape(-1)[: len(movement)].contiguous(), bits)


def value_blocks(vector: Tensor) -> Tensor:
    """(P,) -> (N, 256): one row a block, the last filled up with zeros."""
    return functional.pad(vector, (0, -len(vector) % BLOCK)).view(-1, BLOCK)


def blocks_bytes(count: int, bits: int) -> int:
    """Length of the encoded blocks of a model of `count` parameters."""
    return HALF_BYTES * ceil_div(count, BLOCK) + ceil_div(count * bits, 8)


def decode_blocks(data: bytes, count: int, bits: int) -> Blocks:
    """Read blocks_bytes(count, bits) bytes; raises PeerFault for anything malformed."""
    values_at = HALF_BYTES * ceil_div(count, BLOCK)
    scales = read_scales(data[:values_at], SCALE_MAX)
    values = tensor_from(data[values_at:], torch.int8)
    if bits == NIBBLE:
        values = _from_nibbles(values, count)
    if bool((values < -VALUE_MAX[bits]).any()):
        raise PeerFault(f"an update with a value of {-VALUE_MAX[bits] - 1}")
    if bool(value_blocks(values)[scales == 0].any()):
        raise PeerFault("an update that moves a block of scale zero")
    return Blocks(scales, values, bits)


def _nibbles(values: Tensor) -> Tensor:
    """(P,) int8 within -8..7 -> (ceil(P / 2),) uint8, two's complement, the first of two low."""
    pairs = functional.pad(values, (0, len(values) % 2)).view(torch.uint8).view(-1, 2)
    return (pairs[:, 0] & NIBBLE_MASK) | (pairs[:, 1] << NIBBLE)


def _from_nibbles(packed: Tensor, count: int) -> Tensor:
    """(ceil(P / 2),) int8 -> (P,) int8; raises PeerFault where the odd nibble is not zero."""
    low = (packed << NIBBLE) >> NIBBLE  # an arithmetic shift brings the sign down
    values = torch.stack([low, packed >> NIBBLE], 1).reshape(-1)
    if bool(values[count:].any()):
        raise PeerFault("an update with a value after its last")
    return values[:count].contiguous()
