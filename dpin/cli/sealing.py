"""Files sealed and opened a piece at a time, whatever their length."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from dpin.base.errors import Misuse, PeerFault, unreadable
from dpin.base.ids import NodeId, read_id
from dpin.base.sealed import (
    HEAD_START_BYTES,
    PIECE_BYTES,
    SEALED_PIECE_BYTES,
    Seal,
    Unseal,
    head_length,
    marked,
)

_FIX: Final = "name a file that can be read, and a new one that can be written"


def node_id(text: str) -> NodeId:
    """A node's id in hex; raises Misuse."""
    found = read_id(text)
    if found is None:
        raise Misuse(f"{text[:80]!r} is not a node's id", fix="64 hex digits: dpin peers --json")
    return NodeId(found)


@contextmanager
def pieces_of(path: Path) -> Iterator[Iterable[bytes]]:
    """The contents of a file, in pieces as a seal wants them; raises Misuse."""
    try:
        with path.open("rb") as file:
            yield iter(partial(file.read, PIECE_BYTES), b"")
    except OSError as error:
        raise unreadable(error.filename or path, error, fix=_FIX) from error


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that was not there, for its owner alone; gone again if anything goes wrong."""
    try:
        with open(path, "xb", opener=_private) as file:
            try:
                yield file
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise Misuse(f"{error.filename or path}: {error.strerror}", fix=_FIX) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def seal_into(seal: Seal, pieces: Iterable[bytes], out: BinaryIO) -> int:
    """Write the sealed file; returns the length of what is in it."""
    out.write(seal.head)
    length = 0
    for data, last in marked(pieces):
        out.write(seal.piece(data, last=last))
        length += len(data)
    return length


def open_into(seed: bytes, path: Path, out: BinaryIO) -> int:
    """Write what is in a sealed file, and return its length.

    Raises Misuse where it is not for this reader, or not what was sealed.
    """
    length = 0
    try:
        with path.open("rb") as file:
            start = file.read(HEAD_START_BYTES)
            unseal = Unseal(seed, start + file.read(head_length(start) - len(start)))
            for sealed, last in marked(iter(partial(file.read, SEALED_PIECE_BYTES), b"")):
                data = unseal.piece(sealed, last=last)
                out.write(data)
                length += len(data)
    except OSError as error:
        raise unreadable(error.filename or path, error, fix=_FIX) from error
    except PeerFault as fault:
        raise Misuse(f"{path}: {fault}", fix="have it sent again") from fault
    return length
