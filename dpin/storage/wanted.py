"""What machines ask of the blob store, and what it answers. Bulk bytes never enter a machine."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dpin.base.ids import BlobId, NodeId

SMALL_BYTES_MAX: Final = 64 * 1024  # a blob up to this size comes with its content


class Purpose(StrEnum):
    """Why bytes are moved; traffic is counted by it."""

    SHARD = "shards"
    UPDATE = "updates"
    CHECK = "checks"
    MODEL = "models"


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get this blob from any of these peers, unless it is here.

    Ends in Fetched, Missing, or Oversized where it has more than `bytes_max`. Each blob is fetched
    once at a time, so what others allow may decide: whoever asked compares the length.
    """

    blob: BlobId
    sources: tuple[NodeId, ...]
    purpose: Purpose
    bytes_max: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """The blob is here, whole and verified; `data` is its content where that is small."""

    blob: BlobId
    path: str
    data: bytes
    length: int


@dataclass(frozen=True, slots=True)
class Oversized:
    """The blob is larger than somebody's Fetch allows, as its manifest says: none came of it."""

    blob: BlobId
    length: int


@dataclass(frozen=True, slots=True)
class Missing:
    """No source had the blob; asking again may help."""

    blob: BlobId
    reason: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Put this file into the store, to be read by `readers` (None: everybody); ends in Kept."""

    path: str
    purpose: Purpose
    readers: frozenset[NodeId] | None


@dataclass(frozen=True, slots=True)
class KeepData:
    """Put these few bytes into the store, to be read by everybody; their id is known already."""

    data: bytes
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Kept:
    """The file at `path` is blob `blob`, of `length` bytes."""

    path: str
    blob: BlobId
    length: int


@dataclass(frozen=True, slots=True)
class Allow:
    """These peers (None: everybody) may read the blob; nobody may before."""

    blob: BlobId
    readers: frozenset[NodeId] | None


@dataclass(frozen=True, slots=True)
class Discard:
    """Files that nobody needs any more."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Need:
    """What jobs under way need, of what is here and of what is still to come: it stays.

    Until another Need leaves it out. Where this one is not `settled`, nothing is left out yet:
    some job has not said what it consists of.
    """

    blobs: frozenset[BlobId]
    settled: bool
    reserved_bytes: int = 0  # that jobs may take, of these blobs and of others still unknown


StoreEvent = Fetched | Oversized | Missing | Kept
StoreEffect = Fetch | Keep | KeepData | Allow | Discard | Need
