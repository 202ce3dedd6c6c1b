"""Pins: blobs that stay until somebody takes the pin away, over restarts and crashes.

A pin is a file `ID.pin` beside the blob's others, made whole before it gets its name. It says
whether everybody may read the blob, which a node that starts again would not know otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import trio

from dpin.base.errors import Unavailable
from dpin.base.ids import BlobId, short
from dpin.storage.blobfiles import Files, Held
from dpin.storage.ondisk import on_disk


@dataclass(frozen=True, slots=True)
class Stored:
    """One blob of the store, as its owner sees it."""

    blob: BlobId
    length: int  # bytes, when it is whole
    chunks: int
    present: int | None  # chunks that are here; None where nobody has looked at a part yet
    pinned: bool
    public: bool  # it is pinned for everybody to read

    @property
    def whole(self) -> bool:
        """Whether all of it is here."""
        return self.present == self.chunks


class Pins:
    """The pins of a store, and the list of what is in it."""

    def __init__(self, files: Files, held: Mapping[BlobId, Held], changing: trio.Lock) -> None:
        """Made by `BlobStore`."""
        self._files = files
        self._held = held
        self._changing = changing

    async def put(self, blob: BlobId, *, public: bool) -> None:
        """Keep a blob, whole or in part, until `take`; Unavailable where it is not here."""
        async with self._changing:
            held = self._known(blob)
            if held.whole and not held.durable:
                await on_disk(partial(self._files.settle, blob))
                held.durable = True
            await on_disk(partial(self._files.secure, blob))
            await on_disk(partial(self._files.set_pin, blob, public=public))
            held.pin = public

    async def take(self, blob: BlobId) -> None:
        """Let it be evicted again; Unavailable where it is not here."""
        async with self._changing:
            held = self._known(blob)
            await on_disk(partial(self._files.set_pin, blob, public=None))
            held.pin = None

    def _known(self, blob: BlobId) -> Held:
        held = self._held.get(blob)
        if held is None:
            raise Unavailable(f"blob {short(blob)} is not here")
        return held

    @property
    def size(self) -> int:
        """Bytes of the quota that pins take."""
        return sum(held.size for held in self._held.values() if held.pin is not None)

    def public(self) -> list[BlobId]:
        """What is pinned for everybody to read."""
        return sorted(blob for blob, held in self._held.items() if held.pin)

    def listed(self) -> list[Stored]:
        """All blobs, the longest unused first."""
        return [_stored(blob, held) for blob, held in self._held.items()]


def _stored(blob: BlobId, held: Held) -> Stored:
    chunks = len(held.manifest.chunks)
    some = None if held.present is None else len(held.present)
    return Stored(
        blob=blob,
        length=held.manifest.length,
        chunks=chunks,
        present=chunks if held.whole else some,
        pinned=held.pin is not None,
        public=bool(held.pin),
    )
