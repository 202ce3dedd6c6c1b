"""A blob's parts are checked one by one against a name that fixes them all."""

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.blob import (
    BLOB_BYTES_MAX,
    CHUNK_BYTES,
    CHUNKS_MAX,
    BlobManifest,
    blob_id,
    check_chunk,
    check_manifest,
    chunk_length,
    manifest_of,
)
from dpin.base.codec import MESSAGE_BYTES_MAX, decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId

DATA = bytes(range(256)) * (CHUNK_BYTES // 256) + b"tail"
MANIFEST = manifest_of(DATA)


def test_a_manifest_and_its_chunks_pass_their_own_checks() -> None:
    check_manifest(blob_id(MANIFEST), MANIFEST)
    check_chunk(MANIFEST, 0, DATA[:CHUNK_BYTES])
    check_chunk(MANIFEST, 1, b"tail")
    assert [chunk_length(MANIFEST, index) for index in (0, 1)] == [CHUNK_BYTES, 4]


def test_the_id_is_blake3_of_the_canonical_length_and_digests() -> None:
    digest = blake3(b"abc").digest()
    by_hand = b"\x92\x03\x91\xc4\x20" + digest
    assert blob_id(manifest_of(b"abc")) == blake3(by_hand).digest()


def test_the_empty_blob_has_no_chunks() -> None:
    empty = manifest_of(b"")
    assert empty == BlobManifest(0, ())
    check_manifest(blob_id(empty), empty)


@pytest.mark.parametrize(
    ("index", "data"),
    [(0, b"tail"), (1, b"tali"), (1, b"tail!"), (2, b""), (-1, b"tail")],
)
def test_a_chunk_that_is_not_the_one_named_is_a_peers_fault(index: int, data: bytes) -> None:
    with pytest.raises(PeerFault):
        check_chunk(MANIFEST, index, data)


@pytest.mark.parametrize(
    "manifest",
    [
        BlobManifest(-1, ()),
        BlobManifest(BLOB_BYTES_MAX + 1, MANIFEST.chunks),
        BlobManifest(1, ()),
        BlobManifest(0, MANIFEST.chunks),
        BlobManifest(5, (b"short",)),
    ],
)
def test_an_impossible_manifest_is_a_peers_fault_under_its_own_name(
    manifest: BlobManifest,
) -> None:
    with pytest.raises(PeerFault):
        check_manifest(blob_id(manifest), manifest)


def test_the_manifest_of_another_blob_is_a_peers_fault() -> None:
    with pytest.raises(PeerFault, match="asked for"):
        check_manifest(BlobId(bytes(32)), MANIFEST)


def test_the_largest_manifest_fits_a_message() -> None:
    largest = BlobManifest(BLOB_BYTES_MAX, (bytes(32),) * CHUNKS_MAX)
    check_manifest(blob_id(largest), largest)
    assert len(encode(largest)) < MESSAGE_BYTES_MAX // 2


@given(st.binary(max_size=300))
def test_a_manifest_survives_the_wire(data: bytes) -> None:
    manifest = manifest_of(data)
    assert decode(BlobManifest, encode(manifest)) == manifest
