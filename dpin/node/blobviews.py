"""Views of a node's blobs, and what may be asked about them; see dpin.node.status."""

from typing import Protocol

import msgspec

from dpin.node.status import View


class BlobView(View):
    """One blob. A fetch that has ended badly stays as a blob of which little or nothing is here."""

    blob: str  # its id, hex
    state: str  # "here" | "part" | "fetching" | "stopped" | "failed"
    reason: str  # why it failed
    length: int  # 0 while it is not known
    chunks: int
    present: int | None  # chunks that are here; null where nobody has looked yet
    pinned: bool
    public: bool  # the pin lets everybody read it
    path: str  # of the whole file on the node's disk, to be read only; "" before


class HopView(View):
    """One thing that happened in a transfer."""

    at_ms: int  # since it began
    node: str  # "" where it happened here
    name: str
    what: str


class SourceView(View):
    """What one source gave."""

    node: str
    name: str
    chunks: int
    bytes: int
    asked_ms: int | None  # for its first chunk, since the transfer began
    first_ms: int | None  # its first chunk
    last_ms: int | None


class FetchView(View):
    """One transfer into the store."""

    blob: BlobView
    took_ms: int  # so far
    sources: list[SourceView]
    hops: list[HopView]
    left_out: int  # hops beyond the first ones


class PutRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A file of this machine, by its whole path."""

    path: str
    pin: bool = True


class FetchRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """From whom, by names or beginnings of ids; none: whoever has it."""

    sources: list[str] = []


class PinRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Whether it is to stay until it is unpinned."""

    pinned: bool


class Blobs(Protocol):
    """The blobs of a node. A blob that is here goes by any unambiguous beginning of its id.

    Raises NotFound for one that is not here, Misuse, with its fix, for what cannot be done.
    """

    def listed(self) -> list[BlobView]:
        """All of them, the longest unused first."""
        ...

    async def put(self, request: PutRequest) -> BlobView:
        """Copy a file into the store, for everybody to read."""
        ...

    async def fetch(self, blob: str, request: FetchRequest) -> FetchView:
        """Begin to fetch a blob, or go on; returns at once."""
        ...

    def fetched(self, blob: str) -> FetchView:
        """How far the last fetch of it has come, by hop."""
        ...

    def stop(self, blob: str) -> FetchView:
        """End a fetch; what has come is kept."""
        ...

    async def pin(self, blob: str, request: PinRequest) -> BlobView:
        """Keep it until it is unpinned, over restarts; or do not."""
        ...
