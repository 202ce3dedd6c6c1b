"""A model that is somebody's own code, as a manifest names it.

Nothing here runs anything: a node reads and checks these values. Only `compute.sandboxed`, in a
process of its own, ever imports the code.
"""

import re
from math import prod
from typing import Final

from dpin.base.codec import Wire
from dpin.base.errors import Misuse
from dpin.base.ids import NO_BLOB, BlobId

CODE_BYTES_MAX: Final = 256 << 10
TENSORS_MAX: Final = 4_096
NAME_CHARS_MAX: Final = 200
DIMENSIONS_MAX: Final = 8
CONTEXT_MAX: Final = 1 << 15
WIDTH_MAX: Final = 1 << 24  # of a row
NUMBERS_MAX: Final = 1 << 34  # parameters
_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.\w+)*")


class TensorShape(Wire, frozen=True):
    """One tensor that is trained."""

    name: str
    shape: tuple[int, ...]


class ModuleSpec(Wire, frozen=True, tag=3):
    """The module that `entry()` of the file `code` returns.

    It is trained on text, windows of `context` + 1 bytes; or, where `width` is not 0, on rows of so
    many numbers, and `context` is 1.
    `layout` names every tensor that is trained, in name order, so that updates are merged and
    models written by nodes that never run the code. It is empty until the code was run once.
    """

    entry: str
    context: int
    layout: tuple[TensorShape, ...] = ()
    code: BlobId = NO_BLOB
    width: int = 0


def check_module(spec: ModuleSpec) -> None:
    """Raise Misuse where no such module can be."""
    if not spec.entry.isidentifier() or len(spec.entry) > NAME_CHARS_MAX:
        raise Misuse(
            f"{spec.entry!r:.40} is no name of a function", "model: {module: net.py:build}"
        )
    if not 0 < spec.context <= CONTEXT_MAX:
        raise Misuse(f"a context of {spec.context} bytes")
    if not 0 <= spec.width <= WIDTH_MAX or (spec.width and spec.context != 1):
        raise Misuse(f"rows of {spec.width} numbers in a context of {spec.context}")
    check_layout(spec.layout)


def check_layout(layout: tuple[TensorShape, ...]) -> None:
    """Raise Misuse for tensors that no module has, or that nobody can hold."""
    names = [part.name for part in layout]
    if names != sorted(set(names)) or len(names) > TENSORS_MAX:
        raise Misuse(f"{len(names)} tensors that are not in the order of their names")
    for part in layout:
        if len(part.name) > NAME_CHARS_MAX or not _NAME.fullmatch(part.name):
            raise Misuse(f"a tensor called {part.name!r:.40}")
        if len(part.shape) > DIMENSIONS_MAX or not all(
            0 < size <= NUMBERS_MAX for size in part.shape
        ):
            raise Misuse(f"{part.name} has a shape of {part.shape}"[:200])
    if sum(prod(part.shape) for part in layout) > NUMBERS_MAX:
        raise Misuse("a module with more parameters than anybody trains")
