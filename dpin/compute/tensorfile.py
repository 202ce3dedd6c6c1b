"""Tensors as a safetensors file, in parts that are the tensors' own memory: nothing is copied.

The library's own writer makes two copies. What comes out is the same, to the byte.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from dpin.compute.sizes import LENGTH_BYTES
from dpin.compute.tensors import tensor_view

TYPE_NAMES: Final = {torch.int64: "I64", torch.float32: "F32"}
ALIGNED: Final = 8  # the header ends at a multiple of it, filled up with spaces

Parts = Sequence[bytes | memoryview]


def tensor_file(text: str, tensors: Mapping[str, Tensor]) -> Parts:
    """One metadata entry, "dpin", and int64 or float32 tensors on the CPU: header, then numbers.

    Whoever changes a tensor before the parts were written changes the file.
    """
    order = sorted(tensors, key=lambda name: (tensors[name].dtype != torch.int64, name))
    head: dict[str, object] = {"__metadata__": {"dpin": text}}
    at = 0
    for name in order:
        part = tensors[name]
        end = at + part.numel() * part.element_size()
        head[name] = {
            "dtype": TYPE_NAMES[part.dtype],
            "shape": list(part.shape),
            "data_offsets": [at, end],
        }
        at = end
    said = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    said += b" " * (-len(said) % ALIGNED)
    length = len(said).to_bytes(LENGTH_BYTES, "little")
    return [length + said, *(tensor_view(tensors[name]) for name in order)]
