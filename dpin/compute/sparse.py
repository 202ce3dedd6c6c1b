"""Sparse 2-bit updates: of every chunk of 4,096 movements the largest few, by place and level.

SparseLoCo (arXiv 2508.15706): chunked top-k, values of 2 bits, indices of 12. A value is a sign and
one of its chunk's two magnitudes; these are the means of the kept movements below and above their
mean. P is the number of parameters, C = ceil(P / 4096) that of chunks, K entries are kept in each
(fewer in a shorter last chunk), E of them in all.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dpin.base.errors import PeerFault
from dpin.base.units import ceil_div
from dpin.compute import fused
from dpin.compute.limits import CHUNK
from dpin.compute.scales import (
    HALF_BYTES,
    MAGNITUDE_MAX,
    UNITS_PER_SCALE_UNIT,
    half_bytes,
    read_scales,
    round_nearest,
)
from dpin.compute.tensors import tensor_bytes, tensor_from

INDEX_BITS: Final = 12
CODES_A_BYTE: Final = 4
NEGATIVE: Final = 2  # bit of a code: the sign
HIGH: Final = 1  # bit of a code: which of the two magnitudes

_SHIFTS: Final = (0, 2, 4, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """The kept movements of all chunks, in ascending place."""

    count: int  # P
    kept: int  # K
    levels: Tensor  # (C, 2) int64, units of 2^-24: low <= high, below 32
    places: Tensor  # (E,) int64, ascending, 0..P-1
    codes: Tensor  # (E,) int64, 0..3

    def dense(self) -> Tensor:
        """See updates.Update."""
        return torch.zeros(self.count, dtype=torch.int64).index_put_((self.places,), self.said())

    def said(self) -> Tensor:
        """The movements at `places`, (E,) int64 in units of 2^-30; all others are zero."""
        size = self.levels[self.places // CHUNK, self.codes & HIGH] * UNITS_PER_SCALE_UNIT
        return torch.where((self.codes & NEGATIVE) == 0, size, -size)

    def encoded(self) -> bytes:
        """C pairs of magnitudes as float16, E codes of 2 bits, E indices of 12 bits."""
        return (
            half_bytes(self.levels.reshape(-1))
            + tensor_bytes(_packed_codes(self.codes))
            + tensor_bytes(_packed_indices(self.places % CHUNK))
        )


def kept_counts(count: int, kept: int) -> tuple[int, int]:
    """(chunks C, entries in the last one): its share of `kept`, at least one."""
    chunks = ceil_div(count, CHUNK)
    last = count - (chunks - 1) * CHUNK
    return chunks, max(1, kept * last // CHUNK)


def sparse_bytes(count: int, kept: int) -> int:
    """Length of the encoded update of a model of `count` parameters."""
    chunks, last = kept_counts(count, kept)
    entries = (chunks - 1) * kept + last
    indices = 3 * ceil_div(entries, 2)
    return 2 * HALF_BYTES * chunks + ceil_div(entries, CODES_A_BYTE) + indices


def sparsify(movement: Tensor, kept: int) -> Sparse:
    """The largest movements of each chunk of (P,) int64; of equal ones those that come first."""
    count = len(movement)
    chunks, last = kept_counts(count, kept)
    whole = (chunks - 1) * CHUNK
    parts = [_largest(movement[:whole].view(-1, CHUNK), kept)] if whole else []
    parts.append(_largest(movement[whole:].view(1, -1), last))
    levels, places, codes = zip(*parts, strict=True)
    offsets = torch.arange(chunks) * CHUNK
    spread = [offsets[:-1, None] + places[0]] if whole else []
    spread.append(offsets[-1:, None] + places[-1])
    return Sparse(
        count,
        kept,
        torch.cat(levels),
        torch.cat([part.reshape(-1) for part in spread]),
        torch.cat([part.reshape(-1) for part in codes]),
    )


def _largest(chunks: Tensor, kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """Levels (C, 2), indices (C, K) and codes (C, K) of the K largest of each row."""
    indices = _places(chunks, kept)
    picked = chunks.gather(1, indices)
    sizes = picked.abs()
    high = sizes > sizes.sum(1, keepdim=True) // kept
    levels = torch.stack([_mean(sizes, ~high), _mean(sizes, high)], 1)
    levels[:, 1] = levels[:, 1].maximum(levels[:, 0])  # none is above the mean where all are equal
    codes = (picked < 0).to(torch.int64) * NEGATIVE + high.to(torch.int64) * HIGH
    return levels, indices, codes


def _places(chunks: Tensor, kept: int) -> Tensor:
    """(C, K) where the K largest of each row are, ascending."""
    if fused.serves(chunks.numel()):
        return fused.largest(chunks, kept)
    # Below 2^41 and 2^12: keys fit 53 bits, and no two are equal, so every device picks the same.
    order = torch.arange(CHUNK - 1, CHUNK - 1 - chunks.shape[1], -1)
    keys = chunks.abs() * CHUNK + order
    return keys.topk(kept, dim=1).indices.sort(dim=1).values


def _mean(sizes: Tensor, chosen: Tensor) -> Tensor:
    """(C,) the mean of the chosen of each row as a magnitude; 0 where none is."""
    means = (sizes * chosen).sum(1) // chosen.sum(1).clamp(min=1)
    return round_nearest(means // UNITS_PER_SCALE_UNIT).clamp(max=MAGNITUDE_MAX)


def decode_sparse(data: bytes | memoryview, count: int, kept: int) -> Sparse:
    """Read sparse_bytes(count, kept) bytes; raises PeerFault for anything malformed."""
    chunks, last = kept_counts(count, kept)
    entries = (chunks - 1) * kept + last
    codes_at = 2 * HALF_BYTES * chunks
    indices_at = codes_at + ceil_div(entries, CODES_A_BYTE)
    levels = read_scales(data[:codes_at], MAGNITUDE_MAX).view(-1, 2)
    if bool((levels[:, 0] > levels[:, 1]).any()):
        raise PeerFault("an update whose low magnitude is above its high one")
    codes = _codes(tensor_from(data[codes_at:indices_at], torch.uint8), entries)
    indices = _indices(tensor_from(data[indices_at:], torch.uint8), entries)
    chunk = (torch.arange(entries) // kept).clamp(max=chunks - 1)
    places = chunk * CHUNK + indices
    if bool((places[1:] <= places[:-1]).any()):
        raise PeerFault("an update whose indices do not ascend")
    if int(places[-1]) >= count:
        raise PeerFault("an update with an index beyond the model")
    return Sparse(count, kept, levels, places, codes)


def _packed_codes(codes: Tensor) -> Tensor:
    """(E,) -> (ceil(E / 4),) uint8, the first of four lowest."""
    fours = functional.pad(codes, (0, -len(codes) % CODES_A_BYTE)).view(-1, CODES_A_BYTE)
    return (fours << torch.tensor(_SHIFTS)).sum(1).to(torch.uint8)


def _codes(packed: Tensor, entries: int) -> Tensor:
    """(ceil(E / 4),) uint8 -> (E,) int64; raises PeerFault where the last byte says more."""
    codes = ((packed.to(torch.int64)[:, None] >> torch.tensor(_SHIFTS)) & 3).reshape(-1)
    if bool(codes[entries:].any()):
        raise PeerFault("an update with a code after its last")
    return codes[:entries]


def _packed_indices(indices: Tensor) -> Tensor:
    """(E,) below 4096 -> (3 ceil(E / 2),) uint8: two in three bytes, the first one lowest."""
    pairs = functional.pad(indices, (0, len(indices) % 2)).view(-1, 2)
    words = pairs[:, 0] | (pairs[:, 1] << INDEX_BITS)
    return (words[:, None] >> torch.tensor((0, 8, 16))).to(torch.uint8).reshape(-1)


def _indices(packed: Tensor, entries: int) -> Tensor:
    """(3 ceil(E / 2),) uint8 -> (E,) int64; raises PeerFault where the last bits say more."""
    words = (packed.view(-1, 3).to(torch.int64) << torch.tensor((0, 8, 16))).sum(1)
    pairs = torch.stack([words & (CHUNK - 1), words >> INDEX_BITS], 1).reshape(-1)
    if bool(pairs[entries:].any()):
        raise PeerFault("an update with an index after its last")
    return pairs[:entries]
