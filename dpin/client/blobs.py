"""A node's blobs, as typed calls."""

from typing import Final

from dpin.client.connection import Connection
from dpin.client.errors import ClientError
from dpin.node.blobviews import BlobView, FetchRequest, FetchView, PinRequest, PutRequest

PUT_SECONDS: Final = 3600.0  # it is answered when the file is on the disk
_PATH: Final = "/api/v1/blobs"


class NodeBlobs:
    """Files by their content: `Client.blobs`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def listed(self) -> list[BlobView]:
        """All that is on the node's disk, the longest unused first."""
        return self._connection.get_list(_PATH, "blobs", BlobView)

    def put(self, request: PutRequest) -> BlobView:
        """Copy a file into the store; returns when it is durable."""
        return self._connection.post(_PATH, request, BlobView, PUT_SECONDS)

    def fetch(self, blob: str, request: FetchRequest) -> FetchView:
        """Begin to fetch a blob, or go on; returns at once."""
        return self._connection.post(_path(blob, "fetch"), request, FetchView)

    def fetched(self, blob: str) -> FetchView:
        """How far the last fetch of it has come."""
        return self._connection.get(_path(blob, "fetch"), FetchView)

    def stop(self, blob: str) -> FetchView:
        """End a fetch; what has come is kept."""
        return self._connection.delete(_path(blob, "fetch"), FetchView)

    def pin(self, blob: str, *, pinned: bool) -> BlobView:
        """Keep it until it is unpinned, or do not."""
        return self._connection.post(_path(blob, "pin"), PinRequest(pinned=pinned), BlobView)


def _path(blob: str, rest: str) -> str:
    if not blob.isalnum() or not blob.isascii():
        raise ClientError("not-found", f"{blob[:80]!r} is not a blob's id", "dpin blob list")
    return f"{_PATH}/{blob}/{rest}"
