"""The blobs of a node that is only a picture of one."""

from pathlib import Path

import msgspec

from dpin.base.blob import blob_id, manifest_of
from dpin.base.errors import NotFound
from dpin.node.blobviews import (
    BlobView,
    FetchRequest,
    FetchView,
    HopView,
    PinRequest,
    PutRequest,
    SourceView,
)

BLOB = "cd" * 32
NODE = "11" * 32


def blob_view(**changes: object) -> BlobView:
    view = BlobView(
        blob=BLOB, state="here", reason="", length=2_500_000, chunks=3, present=3,
        pinned=False, public=False, path="/nowhere/blob.data",
    )  # fmt: skip
    return msgspec.structs.replace(view, **changes)


class FakeBlobs:
    """A blob that is half fetched when first asked about, and then ends as a test wants."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.end = blob_view()

    def listed(self) -> list[BlobView]:
        return [blob_view(pinned=True, public=True), blob_view(state="part", present=None)]

    async def put(self, request: PutRequest) -> BlobView:
        self.asked.append(request)
        content = Path(request.path).read_bytes()  # noqa: ASYNC240  A small one.
        return blob_view(blob=blob_id(manifest_of(content)).hex(), pinned=request.pin)

    async def fetch(self, blob: str, request: FetchRequest) -> FetchView:
        self.asked.append((blob, request))
        return self._fetched(blob_view(blob=blob, state="fetching", present=1))

    def fetched(self, blob: str) -> FetchView:
        return self._fetched(msgspec.structs.replace(self.end, blob=blob))

    def stop(self, blob: str) -> FetchView:
        self.asked.append(("stop", blob))
        return self._fetched(blob_view(blob=blob, state="stopped", present=1))

    async def pin(self, blob: str, request: PinRequest) -> BlobView:
        if not BLOB.startswith(blob):
            raise NotFound(f"no blob {blob!r} here", fix="dpin blob list")
        self.asked.append((blob, request))
        return blob_view(pinned=request.pinned)

    def _fetched(self, view: BlobView) -> FetchView:
        hops = [
            HopView(at_ms=1, node=NODE, name="swift-yak", what="asked for a ticket"),
            HopView(at_ms=1_500, node="", name="", what="all chunks are here"),
        ]
        source = SourceView(
            node=NODE, name="swift-yak", chunks=3, bytes=2_500_000, asked_ms=4, first_ms=9,
            last_ms=1_009,
        )  # fmt: skip
        return FetchView(blob=view, took_ms=1_500, sources=[source], hops=hops, left_out=0)
