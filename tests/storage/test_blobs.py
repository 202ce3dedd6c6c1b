"""The blob store on a real disk: downloads that go on, damage, quota, left-overs."""

import errno
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from dpin.base.blob import CHUNK_BYTES, BlobManifest, blob_id, manifest_of
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import BlobId
from dpin.storage.blobfiles import Files
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import Need

QUOTA: Final = 100 * CHUNK_BYTES
DATA: Final = bytes(range(256)) * (CHUNK_BYTES // 256) * 2 + b"the end"  # three chunks
MANIFEST: Final = manifest_of(DATA)
BLOB: Final = blob_id(MANIFEST)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def chunk(index: int, data: bytes = DATA) -> bytes:
    return data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]


def turn_bit(path: Path, place: int) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def set_age(store: BlobStore, blob: BlobId, seconds: int) -> None:
    os.utime(store.path(blob), (seconds, seconds))


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "data", [b"", b"x", DATA[:CHUNK_BYTES], DATA], ids=["empty", "byte", "chunk", "three"]
)
async def test_a_file_and_its_bytes_are_the_same_blob(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    store = BlobStore(tmp_path / "blobs", QUOTA)
    blob = await store.add_file(tmp_path / "file")
    assert blob == await store.add_bytes(data) == blob_id(manifest_of(data))
    assert store.has(blob)
    assert store.manifest(blob) == manifest_of(data)
    assert store.path(blob).read_bytes() == data
    count = len(store.manifest(blob).chunks)
    assert b"".join([await store.reader(blob).read(n) for n in range(count)]) == data


async def test_a_store_opened_again_has_what_it_had(tmp_path: Path) -> None:
    await BlobStore(tmp_path, QUOTA).add_bytes(DATA)
    store = BlobStore(tmp_path, QUOTA)
    assert store.has(BLOB)
    assert await store.reader(BLOB).read(2) == b"the end"


async def test_what_is_not_here_is_said_not_to_be(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    assert not store.has(BLOB)
    assert not store.has(BlobId(b"../../etc/passwd"))
    with pytest.raises(Unavailable, match="is not here"):
        store.path(BLOB)
    with pytest.raises(Unavailable, match="is not here"):
        await store.reader(BLOB).read(0)
    await store.add_bytes(DATA)
    for index in (-1, 3, 1 << 70):
        with pytest.raises(Unavailable, match="is not here"):
            await store.reader(BLOB).read(index)
    assert store.has(BLOB)


async def test_a_download_in_any_order_becomes_the_blob(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    with await store.begin(MANIFEST) as download:
        assert download.blob == BLOB
        for index in (2, 0):
            await download.write_chunk(index, chunk(index))
        assert download.present == {0, 2}
        assert not store.has(BLOB)
        with pytest.raises(Unavailable, match="not whole"):
            store.path(BLOB)
        with pytest.raises(Unavailable, match="lacks 1 chunks"):
            await download.finish()
        await download.write_chunk(1, chunk(1))
        path = await download.finish()
        assert await download.finish() == path
    assert store.has(BLOB)
    assert path.read_bytes() == DATA


async def test_a_chunk_that_is_not_the_one_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    with await store.begin(MANIFEST) as download:
        await download.write_chunk(2, chunk(2))
        wrong = bytes(CHUNK_BYTES)
        for index, data in [
            (0, wrong),
            (0, b""),
            (2, chunk(0)),
            (3, b""),
            (-1, chunk(2)),
            (1, DATA),
        ]:
            with pytest.raises(PeerFault):
                await download.write_chunk(index, data)
        assert download.missing() == [0, 1]
        assert await store.reader(BLOB).read(2) == b"the end"


async def test_a_manifest_outside_the_limits_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    for manifest in (BlobManifest(5, ()), BlobManifest(-1, ()), BlobManifest(1, (b"../x",))):
        with pytest.raises(PeerFault):
            await store.begin(manifest)
    assert names_in(tmp_path) == set()


async def test_a_download_goes_on_after_a_restart_with_what_was_good(tmp_path: Path) -> None:
    with await BlobStore(tmp_path, QUOTA).begin(MANIFEST) as download:
        await download.write_chunk(0, chunk(0))
        await download.write_chunk(2, chunk(2))
    turn_bit(tmp_path / f"{BLOB.hex()}.part", 2 * CHUNK_BYTES)  # what a power cut may leave
    store = BlobStore(tmp_path, QUOTA)
    with pytest.raises(Unavailable, match="is not here"):
        await store.reader(BLOB).read(0)  # Nobody has looked at the part yet.
    with await store.begin(MANIFEST) as download:
        assert download.present == {0}
        assert await store.reader(BLOB).read(0) == chunk(0)
        for index in download.missing():
            await download.write_chunk(index, chunk(index))
        assert (await download.finish()).read_bytes() == DATA


async def test_chunks_that_land_at_once_are_written_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plain, writing, most = BlobStore(tmp_path, QUOTA), Files.write_chunk, [0], [0]

    def counted(files: Files, blob: BlobId, index: int, data: bytes | memoryview) -> None:
        writing[0] += 1
        most[0] = max(most[0], writing[0])
        plain(files, blob, index, data)
        writing[0] -= 1

    monkeypatch.setattr(Files, "write_chunk", counted)
    with await store.begin(MANIFEST) as download:
        async with trio.open_nursery() as nursery:
            for index in range(3):
                nursery.start_soon(download.write_chunk, index, chunk(index))
        path = await download.finish()
    assert path.read_bytes() == DATA
    assert most == [1]


async def test_two_downloads_of_one_blob_share_what_comes(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    with await store.begin(MANIFEST) as one, await store.begin(MANIFEST) as other:
        await one.write_chunk(0, chunk(0))
        await other.write_chunk(0, chunk(0))
        assert other.missing() == [1, 2]
        for index in (1, 2):
            await other.write_chunk(index, chunk(index))
        assert await other.finish() == await one.finish()
        await one.write_chunk(1, chunk(1))
    assert store.path(BLOB).read_bytes() == DATA


async def test_a_damaged_chunk_is_never_given_out_and_only_it_is_fetched_again(
    tmp_path: Path,
) -> None:
    store = BlobStore(tmp_path, QUOTA)
    await store.add_bytes(DATA)
    turn_bit(store.path(BLOB), CHUNK_BYTES + 5)
    assert await store.reader(BLOB).read(0) == chunk(0)
    with pytest.raises(Unavailable, match="damaged on this disk"):
        await store.reader(BLOB).read(1)
    assert not store.has(BLOB)
    with await store.begin(MANIFEST) as download:
        assert download.missing() == [1]
        await download.write_chunk(1, chunk(1))
        await download.finish()
    assert store.path(BLOB).read_bytes() == DATA


async def test_a_chunk_that_rots_while_the_rest_comes_is_missed(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    with await store.begin(MANIFEST) as download:
        await download.write_chunk(0, chunk(0))
        turn_bit(tmp_path / f"{BLOB.hex()}.part", 5)
        with pytest.raises(Unavailable, match="damaged on this disk"):
            await store.reader(BLOB).read(0)
        assert download.missing() == [0, 1, 2]


async def test_a_file_that_somebody_deleted_is_missed_and_can_come_again(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    await store.add_bytes(DATA)
    store.path(BLOB).unlink()
    with pytest.raises(Unavailable, match="damaged"):
        await store.reader(BLOB).read(0)
    assert not store.has(BLOB)
    assert await store.add_bytes(DATA) == BLOB
    assert store.path(BLOB).read_bytes() == DATA


async def test_a_whole_file_of_another_length_is_a_part_when_opened(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    await store.add_bytes(DATA)
    os.truncate(store.path(BLOB), CHUNK_BYTES)
    store = BlobStore(tmp_path, QUOTA)
    assert not store.has(BLOB)
    with await store.begin(MANIFEST) as download:
        assert download.present == {0}


async def test_left_overs_and_foreign_manifests_are_removed_other_files_let_be(
    tmp_path: Path,
) -> None:
    name = BLOB.hex()
    other = await BlobStore(tmp_path, QUOTA).add_bytes(b"other")
    manifest = (tmp_path / f"{other.hex()}.manifest").read_bytes()
    (tmp_path / f"{name}.manifest").write_bytes(manifest)
    (tmp_path / f"{name}.data").write_bytes(DATA)
    (tmp_path / f"{'ab' * 32}.part").write_bytes(b"x")
    (tmp_path / f"{'cd' * 32}.new").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("mine")
    store = BlobStore(tmp_path, QUOTA)
    assert not store.has(BLOB)
    assert store.has(other)
    assert names_in(tmp_path) == {
        "notes.txt",
        f"{other.hex()}.data",
        f"{other.hex()}.manifest",
    }


async def test_the_longest_unused_blob_makes_room(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 3 * (CHUNK_BYTES + 32))
    first, second, third = [await store.add_bytes(bytes([n]) * CHUNK_BYTES) for n in range(3)]
    await store.reader(first).read(0)
    assert store.path(second).exists()
    fourth = await store.add_bytes(b"\3" * CHUNK_BYTES)
    assert [store.has(blob) for blob in (first, second, third, fourth)] == [True, True, False, True]
    assert not any(third.hex() in name for name in names_in(tmp_path))


async def test_of_too_many_blobs_the_longest_unused_goes_however_small_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpin.storage.blobs.BLOBS_MAX", 3)
    store = BlobStore(tmp_path, 1 << 30)
    added = [await store.add_bytes(bytes([n])) for n in range(5)]
    assert [store.has(blob) for blob in added] == [False, False, True, True, True]
    assert (store.count, added[0] in store) == (3, False)
    for blob in added[2:]:
        await store.pins.put(blob, public=False)
    with pytest.raises(Unavailable, match="in use"):
        await store.add_bytes(b"one more")


async def test_after_a_restart_the_oldest_file_makes_room(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 2 * (CHUNK_BYTES + 32))
    first, second = [await store.add_bytes(bytes([n]) * CHUNK_BYTES) for n in range(2)]
    set_age(store, first, 2_000)
    set_age(store, second, 1_000)
    store = BlobStore(tmp_path, 2 * (CHUNK_BYTES + 32))
    store.needs.take(Need(frozenset(), settled=True))
    await store.add_bytes(b"\2" * CHUNK_BYTES)
    assert (store.has(first), store.has(second)) == (True, False)


async def test_what_is_in_use_is_never_evicted_and_the_quota_says_so(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, 2 * (CHUNK_BYTES + 32))
    unused = await store.add_bytes(b"unused")
    used = await store.add_bytes(b"\1" * CHUNK_BYTES)
    with await store.begin(store.manifest(used)):
        with await store.begin(store.manifest(used)):
            pass
        with pytest.raises(Unavailable, match="disk quota of"):
            await store.begin(MANIFEST)
    assert store.has(unused)
    assert store.has(used)
    with pytest.raises(Unavailable, match="disk quota of"):
        await store.add_bytes(DATA)  # Too large even for an empty store.
    assert store.has(used)


async def test_a_download_holds_its_room_and_gives_it_back_when_it_ends(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, len(DATA) + 96)
    with await store.begin(MANIFEST) as download:
        await download.write_chunk(0, chunk(0))
        with pytest.raises(Unavailable, match="disk quota"):
            await store.add_bytes(b"other")
    other = await store.add_bytes(b"other")
    assert store.has(other)
    assert not (tmp_path / f"{BLOB.hex()}.part").exists()


async def test_a_full_disk_refuses_the_chunk_and_the_download_can_go_on(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    with await store.begin(MANIFEST) as download:
        await download.write_chunk(0, chunk(0))
        with files_limited_to(CHUNK_BYTES + 1000), pytest.raises(Unavailable, match="refused"):
            await download.write_chunk(1, chunk(1))
        assert download.missing() == [1, 2]
        for index in download.missing():
            await download.write_chunk(index, chunk(index))
        assert (await download.finish()).read_bytes() == DATA


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", QUOTA)
    with pytest.raises(Unavailable, match=r"No such file .*missing"):
        await store.add_file(tmp_path / "missing")


async def test_a_file_that_changes_while_it_is_copied_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpin.storage.blobs.manifest_of_file", lambda _: manifest_of(DATA[1:]))
    (tmp_path / "file").write_bytes(DATA)
    store = BlobStore(tmp_path / "blobs", QUOTA)
    with pytest.raises(Unavailable, match="changed while it was read"):
        await store.add_file(tmp_path / "file")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that differs at every reading")
async def test_a_file_of_one_chunk_is_read_once(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    blob = await store.add_file(Path("/proc/sys/kernel/random/uuid"))
    assert blob_id(manifest_of(store.path(blob).read_bytes())) == blob


@pytest.mark.parametrize("durable", [True, False])
async def test_a_small_blob_of_which_a_part_is_here_is_made_whole(
    tmp_path: Path, *, durable: bool
) -> None:
    store = BlobStore(tmp_path, QUOTA)
    data = DATA[:100]
    with await store.begin(manifest_of(data)):
        blob = await store.add_bytes(data, durable=durable)
    assert store.path(blob).read_bytes() == data
    assert await store.add_bytes(data) == blob
    assert BlobStore(tmp_path, QUOTA).path(blob).read_bytes() == data


async def test_a_small_blob_that_the_disk_refuses_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BlobStore(tmp_path, QUOTA)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("dpin.storage.blobfiles.Files.write_chunk", full)
        with pytest.raises(Unavailable, match="No space left"):
            await store.add_bytes(b"small")
    assert (store.count, left_in(tmp_path)) == (0, [])
    assert store.has(await store.add_bytes(b"small"))


def test_a_store_without_a_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="the disk refused"):
        BlobStore(tmp_path / "file" / "blobs", QUOTA)
