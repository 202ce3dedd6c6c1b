"""fp16: each movement as a float16, for debugging and for models where bytes do not matter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpin.compute.scales import (
    HALF_BYTES,
    MAGNITUDE_MAX,
    UNITS_PER_SCALE_UNIT,
    half_bytes,
    read_halves,
    round_nearest,
)


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """A movement in float16."""

    numbers: Tensor  # (P,) int64, units of 2^-24, each a float16 below 32 either way

    @property
    def count(self) -> int:
        """P."""
        return len(self.numbers)

    def dense(self) -> Tensor:
        """See updates.Update."""
        return self.numbers * UNITS_PER_SCALE_UNIT

    def encoded(self) -> bytes:
        """P numbers as float16."""
        return half_bytes(self.numbers)


def halve(movement: Tensor) -> Halves:
    """The nearest float16 numbers: to a multiple of 2^-24 first, then to 11 significant bits."""
    numbers = (movement.double() / UNITS_PER_SCALE_UNIT).round().to(torch.int64)
    return Halves(round_nearest(numbers).clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX))


def halves_bytes(count: int) -> int:
    """Length of the encoded numbers of a model of `count` parameters."""
    return HALF_BYTES * count


def decode_halves(data: bytes | memoryview) -> Halves:
    """Read numbers; raises PeerFault for one that is not finite, minus zero, or 32 and more."""
    return Halves(read_halves(data, "value"))
