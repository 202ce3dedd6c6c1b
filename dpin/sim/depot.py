"""Blob stores of simulated nodes: files by path, blobs by content, who may read what.

Files outlive a crash of their node. A blob travels whole, at once, from any source that holds it,
lets the asker read it, and can be reached.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dpin.base.blob import blob_id, manifest_of
from dpin.base.chance import Chance
from dpin.base.ids import BlobId, Digest, NodeId, Round
from dpin.base.units import Micros, seconds
from dpin.storage.wanted import (
    SMALL_BYTES_MAX,
    Allow,
    Discard,
    Fetch,
    Fetched,
    Keep,
    KeepData,
    Kept,
    Missing,
    Need,
    Oversized,
    Purpose,
    StoreEffect,
    StoreEvent,
)

HASHING: Final[Micros] = seconds(0.01)
PATIENCE: Final[Micros] = seconds(0.3)  # until nobody has a blob
FULL: Final = "disk quota: no room"
TRANSFER_MAX: Final = 200_000  # microseconds

Readers = frozenset[NodeId] | None  # None: everybody
Later = Sequence[tuple[Micros, StoreEvent]]


@dataclass(slots=True)
class Shelf:
    """What one node holds; of the blobs that nobody needs, the longest unused make room."""

    files: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[BlobId, bytes] = field(default_factory=dict)
    readers: dict[BlobId, Readers] = field(default_factory=dict)
    quota_bytes: int | None = None  # for blobs; None: as many as there are
    needed: frozenset[BlobId] = frozenset()
    evicted: int = 0  # blobs that have made room

    def keep(self, data: bytes, readers: Readers) -> BlobId | None:
        """Make a blob of these bytes, or None where there is no room for it."""
        blob = blob_id(manifest_of(data))
        before = self.blobs.pop(blob, None)
        if before is None and not self._make_room(len(data)):
            return None
        self.blobs[blob] = data
        self.allow(blob, readers)
        return blob

    def _make_room(self, size: int) -> bool:
        quota = self.quota_bytes
        if quota is None:
            return True
        unused = [blob for blob in self.blobs if blob not in self.needed]
        taken = sum(map(len, self.blobs.values()))
        if taken - sum(len(self.blobs[blob]) for blob in unused) + size > quota:
            return False
        while taken + size > quota:
            gone = unused.pop(0)
            taken -= len(self.blobs.pop(gone))
            self.files.pop(gone.hex(), None)
            self.evicted += 1
        return True

    def clear(self) -> None:
        """Everything makes room that nobody needs."""
        for blob in [blob for blob in self.blobs if blob not in self.needed]:
            del self.blobs[blob]
            self.files.pop(blob.hex(), None)
            self.evicted += 1

    def need(self, need: Need) -> None:
        """See dpin.storage.needs."""
        self.needed = need.blobs if need.settled else self.needed | need.blobs

    def allow(self, blob: BlobId, readers: Readers) -> None:
        """Let more peers read; what everybody may read stays so."""
        before = self.readers.get(blob, frozenset())
        self.readers[blob] = None if readers is None or before is None else before | readers

    def shows(self, blob: BlobId, peer: NodeId) -> bool:
        """Whether the peer gets this blob from here."""
        readers = self.readers.get(blob, frozenset())
        return blob in self.blobs and (readers is None or peer in readers)


class Depot:
    """The stores of all nodes, and the ways between them."""

    def __init__(self, reach: Callable[[NodeId, NodeId], bool], chance: Chance) -> None:
        self._reach = reach
        self._chance = chance
        self._shelves: dict[NodeId, Shelf] = {}
        self.merged: list[tuple[NodeId, Round, Digest]] = []  # states that workers have come to

    def shelf(self, node: NodeId) -> Shelf:
        """What a node holds."""
        return self._shelves.setdefault(node, Shelf())

    def perform(self, node: NodeId, effect: StoreEffect) -> Later:
        """Do what a node's machine asks of its store."""
        shelf = self.shelf(node)
        match effect:
            case Fetch():
                return [self._fetch(node, effect)]
            case Keep(path, _, readers):
                data = shelf.files[path]
                blob = shelf.keep(data, readers)
                none = Missing(BlobId(b""), FULL)
                return [(HASHING, none if blob is None else Kept(path, blob, len(data)))]
            case KeepData(data):
                shelf.keep(data, None)
            case Allow(blob, readers):
                shelf.allow(blob, readers)
            case Need():
                shelf.need(effect)
            case Discard(paths):
                for path in paths:
                    shelf.files.pop(path, None)
        return []

    def _fetch(self, node: NodeId, wanted: Fetch) -> tuple[Micros, StoreEvent]:
        shelf, blob = self.shelf(node), wanted.blob
        if blob not in shelf.blobs:
            data = self._found(node, wanted)
            if data is None:
                return PATIENCE, Missing(blob, "nobody has it")
            if len(data) > wanted.bytes_max:
                return PATIENCE, Oversized(blob, len(data))
            readers = frozenset[NodeId]() if wanted.purpose == Purpose.CHECK else None
            if shelf.keep(data, readers) is None:
                return PATIENCE, Missing(blob, FULL)
        data, path = shelf.blobs[blob], blob.hex()
        if len(data) > wanted.bytes_max:
            return HASHING, Oversized(blob, len(data))
        shelf.files[path] = data
        small = data if len(data) <= SMALL_BYTES_MAX else b""
        wait = Micros(1_000 + self._chance.below(TRANSFER_MAX))
        return wait, Fetched(blob, path, small, len(data))

    def _found(self, node: NodeId, wanted: Fetch) -> bytes | None:
        """The blob from the first source that gives it."""
        for source in wanted.sources:
            shelf = self.shelf(source)
            if source != node and self._reach(source, node) and shelf.shows(wanted.blob, node):
                return shelf.blobs[wanted.blob]
        return None
