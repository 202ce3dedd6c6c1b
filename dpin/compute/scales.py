"""Integers that float16 holds exactly: all magnitudes that an update speaks of.

A magnitude is an integer of units of 2^-24, the finest step of float16, so that every finite
float16 is one. N is any number of them.
"""

from typing import Final

import torch
from torch import Tensor

from dpin.base.errors import PeerFault
from dpin.compute.tensors import ONE, tensor_bytes, tensor_from

SCALE_UNIT_BITS: Final = 24
UNITS_PER_SCALE_UNIT: Final = ONE >> SCALE_UNIT_BITS
MANTISSA_BITS: Final = 11  # of a float16
MAGNITUDE_MAX: Final = 2047 << 18  # the largest that float16 holds below 32
HALF_BYTES: Final = 2


def round_up(magnitudes: Tensor) -> Tensor:
    """The next magnitude from each integer up, (N,) int64 below 2^53."""
    shift = _spare_bits(magnitudes)
    return (magnitudes + (1 << shift) - 1) >> shift << shift


def round_nearest(numbers: Tensor) -> Tensor:
    """The magnitude nearest to each integer, half to even, with its sign; (N,) int64 below 2^53."""
    shift = _spare_bits(numbers.abs())
    step = (1 << shift).double()  # dividing by a power of two is exact
    return (numbers.double() / step).round().to(torch.int64) << shift


def _spare_bits(magnitudes: Tensor) -> Tensor:
    """How many low bits float16 cannot hold. Rounding up may add a bit: a power of two is exact."""
    length = torch.frexp(magnitudes.double()).exponent.to(torch.int64)  # bit length
    return (length - MANTISSA_BITS).clamp(min=0)


def half_bytes(numbers: Tensor) -> bytes:
    """(N,) int64 with magnitudes that float16 holds -> 2 N bytes."""
    return tensor_bytes((numbers.double() / (1 << SCALE_UNIT_BITS)).to(torch.float16))


def read_halves(data: bytes | memoryview, what: str) -> Tensor:
    """(N,) int64; raises PeerFault unless each is finite, no minus zero and below 32 either way."""
    halves = tensor_from(data, torch.float16)
    exact = halves.double() * (1 << SCALE_UNIT_BITS)
    inside = exact.abs() <= MAGNITUDE_MAX  # false for NaN
    if not bool(inside.all()):
        raise PeerFault(f"an update with a {what} that is not finite or not below 32")
    if bool((torch.signbit(halves) & (exact == 0)).any()):
        raise PeerFault(f"an update with a {what} of minus zero")
    return exact.to(torch.int64)


def read_scales(data: bytes | memoryview, most: int) -> Tensor:
    """(N,) int64 in 0..most; raises PeerFault where one is negative or larger."""
    scales = read_halves(data, "scale")
    if bool(((scales < 0) | (scales > most)).any()):
        raise PeerFault(f"an update with a scale that is negative or over {most} units of 2^-24")
    return scales
