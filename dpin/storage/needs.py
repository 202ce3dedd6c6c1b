"""What jobs need stays; it is never written down: whoever starts again says it again."""

from collections.abc import Mapping

from dpin.base.ids import BlobId
from dpin.storage.blobfiles import Held
from dpin.storage.wanted import Need


class Needs:
    """The blobs of a store that jobs under way need."""

    def __init__(self, held: Mapping[BlobId, Held]) -> None:
        """Made by `BlobStore`. All that was found at the start is needed, until that is settled."""
        self._held = held
        self._blobs: frozenset[BlobId] = frozenset(held)
        self._reserved = 0
        self._mark(self._blobs)

    def __contains__(self, blob: BlobId) -> bool:
        return blob in self._blobs

    def take(self, need: Need) -> None:
        """From here on these stay, and what stayed before too where the new list is not settled."""
        before, self._reserved = self._blobs, need.reserved_bytes
        self._blobs = need.blobs if need.settled else before | need.blobs
        self._mark(before ^ self._blobs)

    def spared(self, blob: BlobId) -> int:
        """Bytes that are kept free for what jobs will bring, where `blob` is none of theirs."""
        if blob in self._blobs or not self._reserved:
            return 0
        held = (self._held.get(needed) for needed in self._blobs)
        return max(0, self._reserved - sum(one.size for one in held if one is not None))

    def _mark(self, changed: frozenset[BlobId]) -> None:
        for blob in changed:
            held = self._held.get(blob)
            if held is not None:
                held.needed = blob in self._blobs
