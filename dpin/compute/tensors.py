"""Tensors as integers and as bytes, and the digest of a set of them.

A parameter of the global state is an int64 of units of 2^-30. Torch computes on float32, and both
directions are fixed: `as_float` rounds once, half to even; `as_units` takes a float32 exactly where
it can be held and rounds half to even where not.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.ids import Digest
from dpin.compute.task import STATE_TAG

UNIT_BITS: Final = 30
ONE: Final = 1 << UNIT_BITS
AT_ONCE: Final = 1 << 18  # numbers that are worked on together: what is made in between is small
UNITS_MAX: Final = 1 << 40  # a parameter lies within -1024.0..1024.0

_DTYPE_NAMES: Final = {torch.int64: "int64", torch.float32: "float32"}


def as_float(units: Tensor) -> Tensor:
    """(P,) int64 within UNITS_MAX -> (P,) float32."""
    made = torch.empty(units.shape, dtype=torch.float32, device=units.device)
    fill_floats(made, units)
    return made


def fill_floats(made: Tensor, units: Tensor) -> None:
    """`as_float` into (P,) float32 on any device."""
    for part, out in zip(torch.split(units, AT_ONCE), torch.split(made, AT_ONCE), strict=True):
        out.copy_(part.double() / ONE)  # float64 holds both exactly: one rounding


def as_units(parameters: Tensor) -> Tensor:
    """(P,) finite float32 -> (P,) int64 within UNITS_MAX, saturating."""
    made = torch.empty(parameters.shape, dtype=torch.int64, device=parameters.device)
    for part, out in zip(torch.split(parameters, AT_ONCE), torch.split(made, AT_ONCE), strict=True):
        out.copy_((part.double() * ONE).round_().clamp_(-UNITS_MAX, UNITS_MAX))
    return made


def is_finite(vector: Tensor) -> bool:
    """Whether all of (P,) floats, P > 0, are finite: NaN and both infinities show at the ends.

    One pass, where `isfinite` makes three vectors as long.
    """
    return all(bool(end.isfinite()) for end in torch.aminmax(vector))


def tensor_view(tensor: Tensor) -> memoryview:
    """The numbers of a tensor on the CPU, little-endian, row after row: its own memory."""
    flat = tensor.detach().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]  # An array is a buffer.


def tensor_bytes(tensor: Tensor) -> bytes:
    """A copy of `tensor_view`."""
    return bytes(tensor_view(tensor))


def tensor_from(data: bytes | memoryview, dtype: torch.dtype) -> Tensor:
    """A flat tensor that owns a copy of `data`."""
    if not data:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype)


def tensors_root(tensors: Mapping[str, Tensor]) -> Digest:
    """Merkle root (RFC 6962) over one leaf a tensor, in name order.

    A leaf is the state tag, the canonical [name, dtype, shape], then the little-endian bytes.
    """
    return merkle.root([_leaf(name, tensors[name]) for name in sorted(tensors)])


def _leaf(name: str, tensor: Tensor) -> Digest:
    head = encode([name, _DTYPE_NAMES[tensor.dtype], list(tensor.shape)])
    return merkle.leaf_hash_of(STATE_TAG.encode() + b"\0" + head, tensor_view(tensor))
