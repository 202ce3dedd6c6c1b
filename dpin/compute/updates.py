"""What a provider uploads after a unit: how far its parameters moved, in 8 bits each.

All on integers, so that everybody decodes the same and a verifier encodes the same. A movement is
an integer of units of 2^-30. Per block of 256 there is one scale, a multiple of 2^-24 that float16
holds exactly, at most 2^-2; a value is the movement over its scale, rounded half to even, within
-127..127. P is the number of parameters, N = ceil(P / 256) that of blocks.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dpin.base.errors import PeerFault
from dpin.base.units import ceil_div
from dpin.compute.tensors import ONE, tensor_bytes, tensor_from

MAGIC: Final = b"dpup"
VERSION: Final = 1
HEADER: Final = Struct("<4sHHQ")  # magic, version, block size, parameter count
BLOCK: Final = 256
VALUE_MAX: Final = 127
SCALE_UNIT_BITS: Final = 24  # a scale is an integer of units of 2^-24, float16's finest
UNITS_PER_SCALE_UNIT: Final = ONE >> SCALE_UNIT_BITS
SCALE_MAX: Final = 1 << (SCALE_UNIT_BITS - 2)  # 2^-2
MANTISSA_BITS: Final = 11  # of a float16


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """A movement in blocks."""

    scales: Tensor  # (N,) int64, units of 2^-24, 0..SCALE_MAX
    values: Tensor  # (P,) int8, -127..127

    def dense(self) -> Tensor:
        """The movement: (P,) int64 in units of 2^-30; below 2^35 either way."""
        spread = self.scales.repeat_interleave(BLOCK)[: len(self.values)]
        return self.values.to(torch.int64) * (spread * UNITS_PER_SCALE_UNIT)


def quantise(movement: Tensor) -> Update:
    """The nearest update to a movement, (P,) int64; what lies beyond the range saturates."""
    blocks = value_blocks(movement)
    most = blocks.abs().amax(1)
    step = VALUE_MAX * UNITS_PER_SCALE_UNIT
    scales = _round_up_to_float16((most + step - 1) // step).clamp(max=SCALE_MAX)
    divisor = (scales * UNITS_PER_SCALE_UNIT).clamp(min=1)[:, None]  # a zero block divides by one
    whole = blocks // divisor
    rest_twice = 2 * (blocks - whole * divisor)
    up = (rest_twice > divisor) | ((rest_twice == divisor) & (whole % 2 == 1))
    values = (whole + up).clamp(-VALUE_MAX, VALUE_MAX)
    return Update(scales, values.to(torch.int8).reshape(-1)[: len(movement)].contiguous())


def value_blocks(vector: Tensor) -> Tensor:
    """(P,) -> (N, 256): one row a block, the last filled up with zeros."""
    return functional.pad(vector, (0, -len(vector) % BLOCK)).view(-1, BLOCK)


def _round_up_to_float16(scales: Tensor) -> Tensor:
    """The next integer from `scales` up, (N,) int64, that has at most 11 significant bits.

    Rounding up may add a bit, but a power of two is exact. `frexp` is exact up to 2^53, far more
    than a movement of 2^42 units asks for.
    """
    length = torch.frexp(scales.double()).exponent.to(torch.int64)  # bit length
    shift = (length - MANTISSA_BITS).clamp(min=0)
    return (scales + (1 << shift) - 1) >> shift << shift


def encode_update(update: Update) -> bytes:
    """The bytes of an update: header, N scales as float16, P values as int8."""
    scales = (update.scales.double() / (1 << SCALE_UNIT_BITS)).to(torch.float16)
    header = HEADER.pack(MAGIC, VERSION, BLOCK, len(update.values))
    return header + tensor_bytes(scales) + tensor_bytes(update.values)


def update_bytes(count: int) -> int:
    """Length of the encoded update of a model of `count` parameters."""
    return HEADER.size + 2 * ceil_div(count, BLOCK) + count


def decode_update(data: bytes, count: int) -> Update:
    """Read an update of `count` parameters; raises PeerFault for anything malformed."""
    if len(data) != update_bytes(count):
        raise PeerFault(f"an update of {len(data)} bytes where {update_bytes(count)} are due")
    if HEADER.unpack_from(data) != (MAGIC, VERSION, BLOCK, count):
        raise PeerFault("an update of another format, version or model")
    values_at = len(data) - count
    scales = _checked_scales(tensor_from(data[HEADER.size : values_at], torch.float16))
    values = tensor_from(data[values_at:], torch.int8)
    if bool((values < -VALUE_MAX).any()):
        raise PeerFault("an update with a value of -128")
    if bool(value_blocks(values)[scales == 0].any()):
        raise PeerFault("an update that moves a block of scale zero")
    return Update(scales, values)


def _checked_scales(scales: Tensor) -> Tensor:
    """(N,) float16 -> (N,) int64; raises PeerFault unless each is finite and in 0..2^-2."""
    exact = scales.double() * (1 << SCALE_UNIT_BITS)
    inside = (exact >= 0) & (exact <= SCALE_MAX)  # false for NaN
    if not bool(inside.all()) or bool(torch.signbit(scales).any()):
        raise PeerFault("an update with a scale that is negative, not finite or over 2^-2")
    return exact.to(torch.int64)
