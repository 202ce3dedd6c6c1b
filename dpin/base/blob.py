"""Bulk data by content: 1 MiB chunks, a manifest that lists their digests, an id that fixes both.

A blob's id is BLAKE3 over the canonical `[length, [chunk digests]]`; a chunk's digest is BLAKE3 of
its bytes. So any peer may serve any part, and each part is checked as it arrives.
"""

from typing import Final

from dpin.base.codec import Wire, encode
from dpin.base.crypto import blake3_digest
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, BlobId
from dpin.base.units import ceil_div

CHUNK_BYTES: Final = 1 << 20
BLOB_BYTES_MAX: Final = 12 << 30
CHUNKS_MAX: Final = BLOB_BYTES_MAX // CHUNK_BYTES


class BlobManifest(Wire, frozen=True):
    """What a blob consists of; untrusted until `check_manifest` has passed it."""

    length: int  # bytes in the whole blob
    chunks: tuple[bytes, ...]  # BLAKE3 of each chunk, in order; all but the last are CHUNK_BYTES


def blob_id(manifest: BlobManifest) -> BlobId:
    """The one name of the blob that `manifest` describes."""
    return BlobId(blake3_digest(encode(manifest)))


def manifest_of(data: bytes | memoryview) -> BlobManifest:
    """Describe `data`, which lies in memory; at most BLOB_BYTES_MAX."""
    assert len(data) <= BLOB_BYTES_MAX, "the caller bounds what it makes a blob of"
    view = memoryview(data)
    starts = range(0, len(view), CHUNK_BYTES)
    return BlobManifest(
        len(view), tuple(blake3_digest(view[at : at + CHUNK_BYTES]) for at in starts)
    )


def chunk_length(manifest: BlobManifest, index: int) -> int:
    """Bytes in chunk `index` of a checked manifest."""
    assert 0 <= index < len(manifest.chunks)
    return min(CHUNK_BYTES, manifest.length - index * CHUNK_BYTES)


def check_manifest(blob: BlobId, manifest: BlobManifest) -> None:
    """Raise PeerFault unless `manifest` is the one of `blob`, and within the limits."""
    if not 0 <= manifest.length <= BLOB_BYTES_MAX:
        raise PeerFault(f"a blob of {manifest.length} bytes, at most {BLOB_BYTES_MAX} are taken")
    if len(manifest.chunks) != ceil_div(manifest.length, CHUNK_BYTES):
        raise PeerFault("the manifest's chunks do not add up to its length")
    if any(len(digest) != ID_BYTES for digest in manifest.chunks):
        raise PeerFault("the manifest holds a digest that is not 32 bytes long")
    if blob_id(manifest) != blob:
        raise PeerFault("the manifest is not that of the blob asked for")


def check_chunk(manifest: BlobManifest, index: int, data: bytes | memoryview) -> None:
    """Raise PeerFault unless `data` is chunk `index` of a checked manifest."""
    if not 0 <= index < len(manifest.chunks):
        raise PeerFault(f"chunk {index} of a blob of {len(manifest.chunks)} chunks")
    if len(data) != chunk_length(manifest, index):
        raise PeerFault(f"chunk {index} came with {len(data)} bytes")
    if blake3_digest(data) != manifest.chunks[index]:
        raise PeerFault(f"chunk {index} does not have the digest in its manifest")
