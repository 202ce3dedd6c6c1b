"""int8, int4 and ternary: a scale for each block of 256 movements, and a small integer for each.

A scale is an integer of units of 2^-24 that float16 holds exactly; a value is the movement over its
scale, rounded half to even, within -127..127, -7..7 or -1..1. For the first two the scale is the
least that saturates nothing. For ternary it is the mean of the magnitudes above three quarters of
the mean one, which for normal numbers is nearly the best one (Max, IRE Trans. Inf. Theory 6, 1960).
P is the number of parameters, N = ceil(P / 256) that of blocks.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dpin.base.errors import PeerFault
from dpin.base.units import MILLION, ceil_div
from dpin.compute import fused
from dpin.compute.packing import TRITS, from_nibbles, from_trits, nibbles, trits
from dpin.compute.scales import (
    HALF_BYTES,
    MAGNITUDE_MAX,
    SCALE_UNIT_BITS,
    UNITS_PER_SCALE_UNIT,
    half_bytes,
    read_scales,
    round_up,
)
from dpin.compute.tensors import tensor_bytes, tensor_from

BLOCK_BITS: Final = 8
BLOCK: Final = 1 << BLOCK_BITS
BYTE: Final = 127  # the largest value of int8
NIBBLE: Final = 7  # of int4
TRIT: Final = 1  # of ternary
SCALE_MAX: Final = 1 << (SCALE_UNIT_BITS - 2)  # 2^-2; of ternary MAGNITUDE_MAX


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A movement in blocks."""

    scales: Tensor  # (N,) int64, units of 2^-24, 0..scale_max(most)
    values: Tensor  # (P,) int8, -most..most
    most: int  # BYTE, NIBBLE or TRIT

    @property
    def count(self) -> int:
        """P."""
        return self.values.numel()

    def dense(self) -> Tensor:
        """See updates.Update."""
        if fused.serves(self.count):
            total = torch.zeros(self.count, dtype=torch.int64)
            fused.add(self.scales, self.values, (MILLION, 1), total)
            return total
        units = (self.scales * UNITS_PER_SCALE_UNIT).repeat_interleave(BLOCK)
        return units[: self.count].mul_(self.values)

    def part(self, start: int, end: int) -> "Blocks":
        """Numbers from `start`, where a block begins, to before `end`: views."""
        scales = self.scales[start // BLOCK : ceil_div(end, BLOCK)]
        return Blocks(scales, self.values[start:end], self.most)

    def sampled(self, stride: int) -> Tensor:
        """Every `stride`-th number of `dense`, without the others."""
        scales = self.scales[torch.arange(0, self.count, stride).bitwise_right_shift_(BLOCK_BITS)]
        return scales.mul_(UNITS_PER_SCALE_UNIT).mul_(self.values[::stride])

    def encoded(self) -> bytes:
        """N scales as float16, then P values, packed as small as they are."""
        pack = {NIBBLE: nibbles, TRIT: trits}.get(self.most)
        return half_bytes(self.scales) + tensor_bytes(pack(self.values) if pack else self.values)


def scale_max(most: int) -> int:
    """The largest scale of blocks with values up to `most`, in units of 2^-24."""
    return MAGNITUDE_MAX if most == TRIT else SCALE_MAX


def empty_blocks(count: int, most: int) -> Blocks:
    """Blocks to be filled."""
    scales = torch.empty(ceil_div(count, BLOCK), dtype=torch.int64)
    return Blocks(scales, torch.empty(count, dtype=torch.int8), most)


def quantise(movement: Tensor, most: int) -> Blocks:
    """The nearest blocks to a movement, (P,) int64; what lies beyond the range saturates.

    A quotient a / b that is not a half is at least 1 / 2b from one, and float64 is less than that
    off for every a below 2^51: rounding it is rounding the exact quotient.
    """
    if fused.serves(len(movement)):
        made = empty_blocks(len(movement), most)
        fused.quantise(movement, most, scale_max(most), (made.scales, made.values))
        return made
    blocks = value_blocks(movement)
    step = most * UNITS_PER_SCALE_UNIT
    peaks = _levels(blocks.abs()) if most == TRIT else blocks.abs().amax(1)
    scales = round_up((peaks + step - 1) // step).clamp(max=scale_max(most))
    divisor = (scales * UNITS_PER_SCALE_UNIT).clamp(min=1)[:, None]  # a zero block divides by one
    values = (blocks.double() / divisor).round_().clamp_(-most, most)
    return Blocks(scales, values.to(torch.int8).reshape(-1)[: len(movement)].contiguous(), most)


def _levels(magnitudes: Tensor) -> Tensor:
    """(N, 256) int64 -> (N,): of each block the mean of those above three quarters of its mean."""
    large = magnitudes * (4 * BLOCK) > 3 * magnitudes.sum(1, keepdim=True)
    return (magnitudes * large).sum(1) // large.sum(1).clamp(min=1)


def value_blocks(vector: Tensor) -> Tensor:
    """(P,) -> (N, 256): one row a block, the last filled up with zeros."""
    return functional.pad(vector, (0, -len(vector) % BLOCK)).view(-1, BLOCK)


def blocks_bytes(count: int, most: int) -> int:
    """Length of the encoded blocks of a model of `count` parameters."""
    a_byte = {BYTE: 1, NIBBLE: 2, TRIT: TRITS}[most]
    return HALF_BYTES * ceil_div(count, BLOCK) + ceil_div(count, a_byte)


def decode_blocks(data: bytes | memoryview, count: int, most: int) -> Blocks:
    """Read blocks_bytes(count, most) bytes; raises PeerFault for anything malformed."""
    values_at = HALF_BYTES * ceil_div(count, BLOCK)
    scales = read_scales(data[:values_at], scale_max(most))
    values = _values(data[values_at:], count, most)
    below, moved = _strays(scales, values, most)
    if below:
        raise PeerFault(f"an update with a value of {-most - 1}")
    if moved:
        raise PeerFault("an update that moves a block of scale zero")
    return Blocks(scales, values, most)


def _strays(scales: Tensor, values: Tensor, most: int) -> tuple[bool, bool]:
    """Whether a value lies below -most, and whether one moves a block of scale zero."""
    if fused.serves(len(values)):
        return fused.strays(scales, values, most)
    still = value_blocks(values)[scales == 0]
    return bool((values < -most).any()), bool(still.any())


def _values(data: bytes | memoryview, count: int, most: int) -> Tensor:
    if most == TRIT:
        return from_trits(tensor_from(data, torch.uint8), count)
    values = tensor_from(data, torch.int8)
    return from_nibbles(values, count) if most == NIBBLE else values
