"""Blobs that are used before the disk has them: what only passes through a node."""

import errno
from pathlib import Path
from typing import Final

import pytest

from dpin.base.blob import CHUNK_BYTES, blob_id, manifest_of
from dpin.base.errors import Unavailable
from dpin.storage import blobfiles
from dpin.storage.blobs import BlobStore

QUOTA: Final = 10 * CHUNK_BYTES
DATA: Final = bytes(range(251)) * 40
MANIFEST: Final = manifest_of(DATA)
BLOB: Final = blob_id(MANIFEST)


async def held(folder: Path) -> BlobStore:
    """A store with one blob, for which nobody has waited."""
    store = BlobStore(folder, QUOTA)
    with await store.begin(MANIFEST) as download:
        await download.write_chunk(0, DATA)
        await download.hold()
    return store


async def test_a_blob_that_is_held_is_read_and_given_away_like_any_other(tmp_path: Path) -> None:
    store = await held(tmp_path)
    assert store.has(BLOB)
    assert store.path(BLOB).read_bytes() == DATA
    assert await store.reader(BLOB).read(0) == DATA


async def test_nothing_is_held_while_chunks_are_missing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    with await store.begin(MANIFEST) as download, pytest.raises(Unavailable, match="lacks 1"):
        await download.hold()
    assert not store.has(BLOB)


async def test_nobody_waits_for_the_disk_but_who_asks_for_a_durable_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[object] = []
    monkeypatch.setattr(blobfiles, "make_durable", synced.append)
    monkeypatch.setattr(blobfiles, "make_names_durable", synced.append)
    await held(tmp_path / "held")
    assert synced == []
    await BlobStore(tmp_path / "durable", QUOTA).add_bytes(DATA)
    assert len(synced) == 3  # the manifest, the data, their names


async def test_after_a_start_it_is_a_part_of_which_every_chunk_is_looked_at(tmp_path: Path) -> None:
    await held(tmp_path)
    store = BlobStore(tmp_path, QUOTA)
    assert not store.has(BLOB)
    with await store.begin(MANIFEST) as download:
        assert download.missing() == []
        await download.finish()
    assert store.path(BLOB).read_bytes() == DATA


async def test_what_a_power_cut_has_taken_of_it_is_fetched_again(tmp_path: Path) -> None:
    await held(tmp_path)
    (tmp_path / f"{BLOB.hex()}.part").write_bytes(bytes(len(DATA)))  # its room, without the bytes
    with await BlobStore(tmp_path, QUOTA).begin(MANIFEST) as download:
        assert download.missing() == [0]


async def test_a_manifest_that_a_power_cut_has_torn_takes_the_rest_with_it(tmp_path: Path) -> None:
    await held(tmp_path)
    (tmp_path / f"{BLOB.hex()}.manifest").write_bytes(b"")
    store = BlobStore(tmp_path, QUOTA)
    assert not store.pins.listed()
    assert await store.add_bytes(DATA) == BLOB


@pytest.mark.parametrize("by", ["a pin", "its owner"])
async def test_it_becomes_durable_when_somebody_asks_and_its_readers_read_on(
    tmp_path: Path, by: str
) -> None:
    store = await held(tmp_path)
    before = store.path(BLOB)
    if by == "a pin":
        await store.pins.put(BLOB, public=False)
    else:
        await store.add_bytes(DATA)
    assert before.read_bytes() == store.path(BLOB).read_bytes() == DATA
    again = BlobStore(tmp_path, QUOTA)
    assert again.has(BLOB)
    assert again.path(BLOB).read_bytes() == DATA


def kinds(folder: Path) -> list[str]:
    """Of the files that there are."""
    return sorted(path.suffix for path in folder.iterdir())


async def test_where_a_file_has_one_name_alone_a_durable_copy_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    store, order = await held(tmp_path), list[str]()
    monkeypatch.setattr("os.link", refuse)
    for name in ("make_durable", "make_names_durable"):
        monkeypatch.setattr(blobfiles, name, lambda _, name=name: order.append(name))
    before = store.path(BLOB)
    await store.add_bytes(DATA)
    # The manifest, the part, the copy; then all their names.
    assert order == [*["make_durable"] * 3, "make_names_durable"]
    assert before.read_bytes() == store.path(BLOB).read_bytes() == DATA
    assert before != store.path(BLOB)
    assert store.path(BLOB).stat().st_mode & 0o777 == 0o600
    assert BlobStore(tmp_path, QUOTA).path(BLOB).read_bytes() == DATA
    assert kinds(tmp_path) == [".data", ".manifest"]


async def test_a_copy_that_a_crash_has_cut_short_is_not_taken_for_the_blob(tmp_path: Path) -> None:
    await held(tmp_path)
    (tmp_path / f"{BLOB.hex()}.new").write_bytes(DATA[:7])
    store = BlobStore(tmp_path, QUOTA)
    assert not store.has(BLOB)
    assert kinds(tmp_path) == [".manifest", ".part"]


async def test_a_held_blob_that_rots_is_missed_and_can_come_again(tmp_path: Path) -> None:
    store = await held(tmp_path)
    store.path(BLOB).write_bytes(DATA[:-1] + b"x")
    with pytest.raises(Unavailable, match="damaged"):
        await store.reader(BLOB).read(0)
    assert not store.has(BLOB)
    assert await store.add_bytes(DATA) == BLOB
    assert store.path(BLOB).read_bytes() == DATA
