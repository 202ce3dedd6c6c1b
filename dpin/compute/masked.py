"""Updates as words modulo 2^32: what is masked, summed and unmasked. Only in the worker.

A word is a parameter's movement in units of 2^-24, within one either way, times the share of a full
unit that was done; so the sum of 64 of them stays inside 31 bits. P is the number of parameters.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

import torch
from torch import Tensor

from dpin.base.codec import MESSAGE_BYTES_MAX, decode, encode
from dpin.base.errors import PeerFault
from dpin.compute.noising import Noise, noised
from dpin.compute.secagg.masks import Words, add_masks
from dpin.compute.secagg.words import MaskedHead, MaskSeed
from dpin.compute.tensors import UNIT_BITS

MAGIC: Final = b"dpmk"
VERSION: Final = 1
PREFIX: Final = Struct("<4sHxxIQ")  # magic, version, bytes of the head, parameters
WORD_BITS: Final = 24
MOVEMENT_MAX: Final = 1 << WORD_BITS
UNITS_PER_WORD: Final = 1 << (UNIT_BITS - WORD_BITS)


def numbers_of(movement: Tensor, steps: int, full: int) -> Tensor:
    """(P,) int64 units of 2^-30 -> (P,) int64 of 2^-24, by work done; rounds towards nought."""
    near = torch.div(movement, UNITS_PER_WORD, rounding_mode="trunc")
    return torch.div(near.clamp(-MOVEMENT_MAX, MOVEMENT_MAX) * steps, full, rounding_mode="trunc")


def masked_update(numbers: Tensor, head: MaskedHead, seeds: Sequence[MaskSeed]) -> bytes:
    """The bytes of a masked update: prefix, head, words."""
    words = to_words(numbers)
    add_masks(words, seeds)
    said = encode(head)
    return PREFIX.pack(MAGIC, VERSION, len(said), len(words)) + said + words.tobytes()


def to_words(numbers: Tensor) -> Words:
    """(P,) int64 -> (P,) uint32, modulo 2^32."""
    return (numbers & 0xFFFFFFFF).numpy().astype("<u4")


def masked_head(data: bytes, count: int) -> MaskedHead:
    """The head of a masked update of `count` parameters; raises PeerFault."""
    if len(data) < PREFIX.size:
        raise PeerFault("a masked update without a head")
    magic, version, size, found = PREFIX.unpack_from(data)
    if (magic, version, found) != (MAGIC, VERSION, count):
        raise PeerFault("a masked update of another format, version or model")
    if size > MESSAGE_BYTES_MAX or len(data) != PREFIX.size + size + 4 * count:
        raise PeerFault("a masked update of a wrong length")
    return decode(MaskedHead, data[PREFIX.size : PREFIX.size + size])


def unmasked_sum(files: Sequence[bytes], seeds: Sequence[MaskSeed], count: int) -> Tensor:
    """The exact sum of what is under the masks: (P,) int64 in units of 2^-24."""
    total = to_words(torch.zeros(count, dtype=torch.int64))
    for data in files:
        part = torch.frombuffer(bytearray(data[len(data) - 4 * count :]), dtype=torch.int32)
        total += part.numpy().view("<u4")
    add_masks(total, seeds)
    return torch.from_numpy(total.view("<i4").astype("<i8"))


def mean_of_sum(total: Tensor, steps: int, full: int) -> Tensor:
    """The mean movement that a sum stands for: (P,) int64 in units of 2^-30; floors."""
    return torch.div(total * UNITS_PER_WORD * full, steps, rounding_mode="floor")


def shielded(numbers: Tensor, noise: Noise | None) -> Tensor:
    """Clipped and noised where the job is differentially private."""
    return numbers if noise is None else noised(numbers, noise)
