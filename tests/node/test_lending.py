"""What a node remembers of blobs that it lent."""

from pathlib import Path

import pytest

from dpin.base.ids import BlobId, NodeId
from dpin.node.lending import SPARE, Lending
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import Purpose

READER = NodeId(bytes(32))


async def test_blobs_that_made_room_are_forgotten_and_those_that_are_here_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpin.node.lending.SPARE", 8)
    assert SPARE > 0
    store = BlobStore(tmp_path, 120)
    lending = Lending(store)
    first = await store.add_bytes(b"first")
    lending.lend(first, Purpose.UPDATE, None)
    await store.pins.put(first, public=False)
    for number in range(64):
        blob = await store.add_bytes(b"%d" % number)
        lending.lend(blob, Purpose.CHECK, frozenset({READER}))
        assert len(lending._readers) <= 8 + 2 * store.count
        assert len(lending.purposes) <= 8 + 2 * store.count
    assert store.count < 8
    assert lending.is_public(first)
    assert lending.purposes[first] == Purpose.UPDATE


async def test_names_that_were_never_here_do_not_fill_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpin.node.lending.SPARE", 8)
    lending = Lending(BlobStore(tmp_path, 1 << 20))
    for number in range(64):
        lending.allow(BlobId(number.to_bytes(32)), None)
    assert len(lending._readers) <= 8
