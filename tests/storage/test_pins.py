"""Pins of blobs: over restarts, against eviction, and what a crash leaves of them."""

from pathlib import Path

import pytest

from dpin.base.blob import blob_id, manifest_of
from dpin.base.errors import Unavailable
from dpin.base.ids import BlobId
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import Need

QUOTA = 3_000
NOBODY = BlobId(bytes(32))


def data(number: int) -> bytes:
    return bytes([number]) * 900


def blob(number: int) -> BlobId:
    return blob_id(manifest_of(data(number)))


def state(store: BlobStore) -> dict[BlobId, tuple[bool, bool]]:
    return {one.blob: (one.pinned, one.public) for one in store.pins.listed()}


async def test_a_pin_holds_over_a_restart_and_says_who_may_read(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    for number in range(3):
        await store.add_bytes(data(number))
    await store.pins.put(blob(0), public=True)
    await store.pins.put(blob(1), public=False)
    again = BlobStore(tmp_path, QUOTA)
    assert state(again) == {
        blob(0): (True, True),
        blob(1): (True, False),
        blob(2): (False, False),
    }
    assert again.pins.public() == [blob(0)]
    await again.pins.take(blob(0))
    assert state(BlobStore(tmp_path, QUOTA))[blob(0)] == (False, False)


async def test_what_is_pinned_makes_no_room_also_after_a_restart(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    for number in range(2):
        await store.add_bytes(data(number))
    await store.pins.put(blob(0), public=True)  # The longest unused.
    store = BlobStore(tmp_path, QUOTA)
    store.needs.take(Need(frozenset(), settled=True))
    for number in (2, 3, 4):
        await store.add_bytes(data(number))
    assert store.has(blob(0))
    assert not store.has(blob(1))
    await store.pins.put(blob(3), public=True)
    await store.pins.put(blob(4), public=True)
    with pytest.raises(Unavailable, match="quota"):
        await store.add_bytes(data(5))
    await store.pins.take(blob(0))
    await store.add_bytes(data(5))
    assert not store.has(blob(0))
    assert not (tmp_path / f"{blob(0).hex()}.pin").exists()


async def test_what_is_not_here_cannot_be_pinned(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, QUOTA)
    with pytest.raises(Unavailable, match="is not here"):
        await store.pins.put(NOBODY, public=True)
    assert not store.pins.listed()


async def test_a_pin_that_was_cut_short_lets_nobody_else_read_and_one_left_over_is_removed(
    tmp_path: Path,
) -> None:
    store = BlobStore(tmp_path, QUOTA)
    await store.add_bytes(data(0))
    await store.pins.put(blob(0), public=True)
    (tmp_path / f"{blob(0).hex()}.pin").write_bytes(b"pub")
    (tmp_path / f"{NOBODY.hex()}.pin").write_bytes(b"public\n")
    assert state(BlobStore(tmp_path, QUOTA)) == {blob(0): (True, False)}
    assert not (tmp_path / f"{NOBODY.hex()}.pin").exists()
