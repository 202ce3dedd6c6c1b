"""Small integers packed into bytes: nibbles, two a byte, and trits, five a byte.

P is the number of values. Both readers raise PeerFault for what no writer makes.
"""

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dpin.base.errors import PeerFault

NIBBLE_BITS: Final = 4
NIBBLE_MASK: Final = 15
TRITS: Final = 5  # in a byte
TRIPLES: Final = (1, 3, 9, 27, 81)  # what the digits of a byte count
BYTES: Final = 3**TRITS  # bytes below this hold trits


def nibbles(values: Tensor) -> Tensor:
    """(P,) int8 within -8..7 -> (ceil(P / 2),) uint8, two's complement, the first of two low."""
    pairs = functional.pad(values, (0, len(values) % 2)).view(torch.uint8).view(-1, 2)
    return (pairs[:, 0] & NIBBLE_MASK) | (pairs[:, 1] << NIBBLE_BITS)


def from_nibbles(packed: Tensor, count: int) -> Tensor:
    """(ceil(P / 2),) int8 -> (P,) int8; raises PeerFault where the odd nibble is not zero."""
    low = (packed << NIBBLE_BITS) >> NIBBLE_BITS  # an arithmetic shift brings the sign down
    return _first(torch.stack([low, packed >> NIBBLE_BITS], 1).reshape(-1), count)


def trits(values: Tensor) -> Tensor:
    """(P,) int8 within -1..1 -> (ceil(P / 5),) uint8: base 3, the first lowest, 2 for -1."""
    padded = functional.pad(values, (0, -len(values) % TRITS)).view(-1, TRITS)
    digits = padded.remainder(3).view(torch.uint8)
    packed = torch.zeros(len(digits), dtype=torch.uint8)
    for place, worth in enumerate(TRIPLES):
        packed += digits[:, place] * worth
    return packed


def from_trits(packed: Tensor, count: int) -> Tensor:
    """(ceil(P / 5),) uint8 -> (P,) int8; raises PeerFault for other bytes, or more values."""
    if bool((packed >= BYTES).any()):
        raise PeerFault(f"an update with a byte of {BYTES} or more where five trits are due")
    return _first(_trits_of_bytes()[packed.to(torch.int32)].view(-1), count)


@lru_cache(maxsize=1)
def _trits_of_bytes() -> Tensor:
    """(243, 5) int8."""
    digits = torch.arange(BYTES)[:, None] // torch.tensor(TRIPLES) % 3
    return torch.where(digits == 2, -1, digits).to(torch.int8)  # noqa: PLR2004 - the digit of -1


def _first(values: Tensor, count: int) -> Tensor:
    if bool(values[count:].any()):
        raise PeerFault("an update with a value after its last")
    return values[:count].contiguous()
