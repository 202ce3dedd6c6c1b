"""What jobs need makes no room for others; after a start it is said again before anything goes."""

from pathlib import Path

import pytest

from dpin.base.blob import CHUNK_BYTES, blob_id, manifest_of
from dpin.base.errors import Unavailable
from dpin.base.ids import BlobId
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import Need

ROOM_FOR_TWO = 2 * (CHUNK_BYTES + 32)


def data(number: int) -> bytes:
    return bytes([number]) * CHUNK_BYTES


def settled(*blobs: BlobId) -> Need:
    return Need(frozenset(blobs), settled=True)


async def test_what_a_job_needs_stays_though_it_was_used_last_of_all(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, ROOM_FOR_TWO)
    needed, unused = await store.add_bytes(data(1)), await store.add_bytes(data(2))
    store.needs.take(settled(needed))
    third = await store.add_bytes(data(3))
    assert (store.has(needed), store.has(unused), store.has(third)) == (True, False, True)


async def test_what_is_still_to_come_stays_from_its_first_chunk_on(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, ROOM_FOR_TWO)
    other = await store.add_bytes(data(1))
    manifest = manifest_of(data(2))
    with await store.begin(manifest) as download:
        store.needs.take(settled(download.blob))
    with await store.begin(manifest_of(data(3))) as later:
        store.needs.take(settled(download.blob, later.blob))
    with pytest.raises(Unavailable, match="disk quota"):
        await store.add_bytes(data(4))
    assert other not in store
    assert download.blob in store
    assert later.blob in store


async def test_what_nobody_needs_any_more_can_go(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, ROOM_FOR_TWO)
    blobs = [await store.add_bytes(data(number)) for number in range(2)]
    store.needs.take(settled(*blobs))
    with pytest.raises(Unavailable, match="disk quota"):
        await store.add_bytes(data(2))
    store.needs.take(settled(blobs[1]))
    await store.add_bytes(data(2))
    assert [store.has(blob) for blob in blobs] == [False, True]


async def check_that_the_first_goes_once_settled(
    store: BlobStore, first: BlobId, second: BlobId
) -> None:
    store.needs.take(Need(frozenset({second}), settled=False))
    with pytest.raises(Unavailable, match="disk quota"):
        await store.add_bytes(data(2))
    store.needs.take(settled(second))
    await store.add_bytes(data(2))
    assert (store.has(first), store.has(second)) == (False, True)


async def test_a_list_that_is_not_whole_lets_nothing_go(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, ROOM_FOR_TWO)
    first, second = await store.add_bytes(data(0)), await store.add_bytes(data(1))
    store.needs.take(settled(first))
    await check_that_the_first_goes_once_settled(store, first, second)


async def test_after_a_start_nothing_goes_before_the_node_knows_its_jobs(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, ROOM_FOR_TWO)
    first, second = await store.add_bytes(data(0)), await store.add_bytes(data(1))
    store.needs.take(settled(first, second))
    store = BlobStore(tmp_path, ROOM_FOR_TWO)  # No pin is on the disk: nothing can leak.
    assert not [stored for stored in store.pins.listed() if stored.pinned]
    with pytest.raises(Unavailable, match="disk quota"):
        await store.add_bytes(data(2))
    await check_that_the_first_goes_once_settled(store, first, second)


async def test_a_small_blob_that_was_needed_before_it_came_stays(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, ROOM_FOR_TWO)
    store.needs.take(settled(blob_id(manifest_of(data(1)))))
    blobs = [await store.add_bytes(data(number)) for number in (1, 2, 3)]
    assert [store.has(blob) for blob in blobs] == [True, False, True]
