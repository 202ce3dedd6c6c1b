"""What is trained on: shards of integers, and how a step draws its batch from them.

A batch is one tensor of integers, a row an example; how a row is read is the model's business. A
shard of the built-in model is bytes as they are. Every other shard is a header and a matrix:
little-endian, row after row. N is the number of examples, W the width of one.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, Protocol

import torch
from torch import Tensor

from dpin.base.errors import Misuse, PeerFault
from dpin.compute.hubspec import HubSpec
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.noise import words
from dpin.compute.task import Architecture
from dpin.compute.tensors import tensor_bytes, tensor_from

MAGIC: Final = b"dpds"
VERSION: Final = 1
HEADER: Final = Struct("<4sHHQQ")  # magic, version, type, rows, width
TYPES: Final = {1: torch.uint8, 4: torch.int32}  # by bytes a number
IGNORED: Final = -100  # a label that does not count, as in transformers
WIDTH_MAX: Final = 1 << 24


class Examples(Protocol):
    """What a seat trains on, or what is held out."""

    def batch(self, draw: Sequence[object], count: int) -> Tensor:
        """(B, W) int64 examples hashed from `draw`."""
        ...

    def spread(self, count: int) -> Tensor:
        """(at most count, W) int64 examples, evenly spaced."""
        ...


class Stream:
    """Running tokens: an example is any window of `context` + 1 of them."""

    def __init__(self, tokens: Tensor, context: int) -> None:
        """(N,) tokens of any integer type; raises Misuse where they hold less than one window."""
        if len(tokens) <= context:
            raise Misuse(f"{len(tokens)} tokens of text cannot fill a context of {context}")
        self._windows = tokens.unfold(0, context + 1, 1)  # (N - context, context + 1), a view

    def batch(self, draw: Sequence[object], count: int) -> Tensor:
        """See Examples."""
        starts = len(self._windows)
        places = torch.tensor([word % starts for word in words(("batch", *draw), count)])
        return self._windows.index_select(0, places).long()

    def spread(self, count: int) -> Tensor:
        """See Examples; windows may overlap where the text is short."""
        last = len(self._windows) - 1
        places = torch.tensor([last * index // max(1, count - 1) for index in range(count)])
        return self._windows.index_select(0, places).long()


class Rows:
    """Separate examples."""

    def __init__(self, rows: Tensor) -> None:
        """(N, W) of any integer type; raises Misuse where there are none."""
        if not len(rows):
            raise Misuse("there is not one example")
        self._rows = rows

    def batch(self, draw: Sequence[object], count: int) -> Tensor:
        """See Examples."""
        chosen = [word % len(self._rows) for word in words(("batch", *draw), count)]
        return self._rows[torch.tensor(chosen)].long()

    def spread(self, count: int) -> Tensor:
        """See Examples; no example comes twice."""
        count = min(count, len(self._rows))
        chosen = [index * len(self._rows) // count for index in range(count)]
        return self._rows[torch.tensor(chosen)].long()


def examples_of(model: Architecture, shards: Sequence[bytes]) -> Stream | Rows:
    """The examples of some shards, in order; raises PeerFault for a malformed one, and Misuse."""
    if isinstance(model, ModuleSpec) and model.width:
        rows = torch.cat([decode_shard(shard) for shard in shards])
        if rows.shape[1] != model.width:
            raise PeerFault(f"rows of {rows.shape[1]} numbers, not {model.width}")
        return Rows(rows)
    if not isinstance(model, HubSpec):
        data = bytearray(b"".join(shards))
        if not data:
            raise Misuse("there is no text")
        return Stream(torch.frombuffer(data, dtype=torch.uint8), model.context)
    rows = torch.cat([decode_shard(shard) for shard in shards])
    if rows.shape[1] == 1:
        return Stream(rows.reshape(-1), model.context)
    return Rows(rows)


def encode_shard(rows: Tensor) -> bytes:
    """(N, W) uint8 or int32 -> the bytes of a shard."""
    size = rows.element_size()
    assert TYPES[size] == rows.dtype, "shards hold bytes or 32-bit integers"
    return HEADER.pack(MAGIC, VERSION, size, *rows.shape) + tensor_bytes(rows)


def decode_shard(data: bytes) -> Tensor:
    """(N, W) uint8 or int32; raises PeerFault for anything malformed or cut short."""
    if len(data) < HEADER.size:
        raise PeerFault("a shard without a header")
    magic, version, size, rows, width = HEADER.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION) or size not in TYPES or not 0 < width <= WIDTH_MAX:
        raise PeerFault("a shard of another format or version")
    if len(data) != HEADER.size + size * rows * width:
        raise PeerFault(f"a shard of {len(data)} bytes is not {rows} rows of {width} numbers")
    return tensor_from(data[HEADER.size :], TYPES[size]).reshape(rows, width)
