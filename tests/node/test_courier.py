"""Blobs go to whom they are allowed, come whole or not at all, and are counted by purpose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from dpin.base.blob import BLOB_BYTES_MAX, CHUNK_BYTES
from dpin.base.ids import BlobId, NodeId
from dpin.base.machine import Blame
from dpin.net.bulk import BulkOptions, BulkPlane
from dpin.net.fake import FakeHost, FakeWorld, open_world
from dpin.node.courier import Courier
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import (
    Allow,
    Fetch,
    Fetched,
    Keep,
    Kept,
    Missing,
    Oversized,
    Purpose,
    StoreEvent,
)

DATA = bytes(range(256)) * (CHUNK_BYTES // 128)  # two chunks
PATIENCE_SECONDS = 60  # A chunk is synced, on a disk that others use as well.


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


@dataclass
class Place:
    """One node's courier, and what it has told."""

    host: FakeHost
    store: BlobStore
    courier: Courier
    told: list[StoreEvent | Blame] = field(default_factory=list)

    async def next(self) -> StoreEvent | Blame:
        """What it tells next."""
        with trio.fail_after(PATIENCE_SECONDS):
            while not self.told:
                await trio.sleep(0.01)
        return self.told.pop(0)

    async def keep(self, path: Path, readers: frozenset[NodeId] | None) -> BlobId:
        """Put a file into the store."""
        await trio.Path(path).write_bytes(DATA)
        self.courier.perform(Keep(str(path), Purpose.UPDATE, readers))
        kept = await self.next()
        assert isinstance(kept, Kept)
        return kept.blob


def place(world: FakeWorld, nursery: trio.Nursery, folder: Path, number: int) -> Place:
    host = world.join(node(number))
    store = BlobStore(folder / str(number), 1 << 30)
    told: list[StoreEvent | Blame] = []

    async def tell(event: StoreEvent | Blame) -> None:
        told.append(event)

    return Place(host, store, Courier(nursery, BulkPlane(host, BulkOptions()), store, tell), told)


@asynccontextmanager
async def two_places(folder: Path) -> AsyncIterator[tuple[Place, Place]]:
    async with open_world() as world, trio.open_nursery() as nursery:
        one, two = place(world, nursery, folder, 1), place(world, nursery, folder, 2)
        await two.host.dial(one.host.addresses[0])
        yield one, two
        nursery.cancel_scope.cancel()


async def test_what_everybody_may_read_arrives_whole_and_is_counted(tmp_path: Path) -> None:
    async with two_places(tmp_path) as (one, two):
        blob = await one.keep(tmp_path / "file", None)
        two.courier.perform(Fetch(blob, (node(1),), Purpose.UPDATE, BLOB_BYTES_MAX))
        fetched = await two.next()
        assert isinstance(fetched, Fetched)
        assert await trio.Path(fetched.path).read_bytes() == DATA
        assert fetched.data == b""  # Too large to come with its content.
        assert one.courier.bytes_out[Purpose.UPDATE] == len(DATA)
        assert two.courier.bytes_in[Purpose.UPDATE] == one.courier.bytes_out[Purpose.UPDATE]


@pytest.mark.parametrize("purpose", list(Purpose))
async def test_what_only_passes_is_used_before_the_disk_has_it(
    tmp_path: Path, purpose: Purpose
) -> None:
    async with two_places(tmp_path) as (one, two):
        blob = await one.keep(tmp_path / "file", None)
        two.courier.perform(Fetch(blob, (node(1),), purpose, BLOB_BYTES_MAX))
        assert isinstance(await two.next(), Fetched)
        passes = purpose in {Purpose.UPDATE, Purpose.CHECK}
        assert BlobStore(tmp_path / "2", 1 << 30).has(blob) != passes


async def test_nobody_reads_before_it_is_allowed(tmp_path: Path) -> None:
    async with two_places(tmp_path) as (one, two):
        blob = await one.keep(tmp_path / "file", frozenset())
        two.courier.perform(Fetch(blob, (node(1),), Purpose.UPDATE, BLOB_BYTES_MAX))
        missing = await two.next()
        assert isinstance(missing, Missing)
        assert "not for you" in missing.reason
        one.courier.perform(Allow(blob, frozenset({node(2)})))
        two.courier.perform(Fetch(blob, (node(1),), Purpose.UPDATE, BLOB_BYTES_MAX))
        assert isinstance(await two.next(), Fetched)


async def test_what_everybody_may_read_cannot_be_taken_back_by_a_narrower_word(
    tmp_path: Path,
) -> None:
    async with two_places(tmp_path) as (one, two):
        blob = await one.keep(tmp_path / "file", None)
        one.courier.perform(Allow(blob, frozenset({node(9)})))
        two.courier.perform(Fetch(blob, (node(1),), Purpose.UPDATE, BLOB_BYTES_MAX))
        assert isinstance(await two.next(), Fetched)


async def test_a_blob_that_is_here_needs_no_source(tmp_path: Path) -> None:
    async with two_places(tmp_path) as (one, _):
        blob = await one.keep(tmp_path / "file", None)
        one.courier.perform(Fetch(blob, (), Purpose.UPDATE, BLOB_BYTES_MAX))
        assert isinstance(await one.next(), Fetched)


async def test_a_part_that_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    async with two_places(tmp_path) as (one, two):
        blob = await one.keep(tmp_path / "file", None)
        with await two.store.begin(one.store.manifest(blob)) as download:
            await download.write_chunk(0, DATA[:CHUNK_BYTES])
        two.courier.perform(Fetch(blob, (node(1),), Purpose.UPDATE, BLOB_BYTES_MAX))
        assert isinstance(await two.next(), Fetched)
        assert two.courier.bytes_in[Purpose.UPDATE] < len(DATA)


async def test_a_blob_larger_than_whoever_asks_allows_is_not_fetched(tmp_path: Path) -> None:
    async with two_places(tmp_path) as (one, two):
        blob = await one.keep(tmp_path / "file", None)
        two.courier.perform(Fetch(blob, (node(1),), Purpose.UPDATE, len(DATA) - 1))
        assert await two.next() == Oversized(blob, len(DATA))
        assert two.courier.bytes_in[Purpose.UPDATE] == 0
        assert one.courier.bytes_out[Purpose.UPDATE] == 0
        two.courier.perform(Fetch(blob, (node(1),), Purpose.UPDATE, len(DATA)))
        assert isinstance(await two.next(), Fetched)


async def test_a_blob_that_is_here_and_larger_than_allowed_is_not_handed_out(
    tmp_path: Path,
) -> None:
    async with two_places(tmp_path) as (one, _):
        blob = await one.keep(tmp_path / "file", None)
        one.courier.perform(Fetch(blob, (), Purpose.CHECK, len(DATA) - 1))
        assert await one.next() == Oversized(blob, len(DATA))


async def test_a_source_that_lies_is_blamed_and_its_bytes_are_not_kept(tmp_path: Path) -> None:
    async with two_places(tmp_path) as (one, two):
        blob = await one.keep(tmp_path / "file", None)

        async def lie(_peer: NodeId, _question: bytes) -> bytes:
            return b"\\xc1 no answer at all"

        one.host.serve(lie)
        two.courier.perform(Fetch(blob, (node(1),), Purpose.UPDATE, BLOB_BYTES_MAX))
        first, second = await two.next(), await two.next()
        assert isinstance(first, Blame)
        assert isinstance(second, Missing)
        assert not two.store.has(blob)


async def test_a_file_that_is_not_there_ends_as_missing(tmp_path: Path) -> None:
    async with two_places(tmp_path) as (one, _):
        one.courier.perform(Keep(str(tmp_path / "nothing"), Purpose.UPDATE, None))
        assert isinstance(await one.next(), Missing)


@dataclass
class Known:
    """A catalogue that knows one provider of everything."""

    provider: NodeId
    provided: list[BlobId] = field(default_factory=list)

    def provide(self, blob: BlobId) -> None:
        self.provided.append(blob)

    async def sources(self, blob: BlobId) -> tuple[NodeId, ...]:
        return (self.provider,)


async def test_a_model_that_nobody_named_has_any_more_comes_from_whoever_has_it(
    tmp_path: Path,
) -> None:
    async with two_places(tmp_path) as (one, two):
        one.courier.catalogue = two.courier.catalogue = known = Known(node(1))
        await trio.Path(tmp_path / "model").write_bytes(DATA)
        one.courier.perform(Keep(str(tmp_path / "model"), Purpose.MODEL, None))
        kept = await one.next()
        assert isinstance(kept, Kept)
        assert known.provided == [kept.blob]
        two.courier.perform(Fetch(kept.blob, (node(9),), Purpose.MODEL, BLOB_BYTES_MAX))
        assert isinstance(await two.next(), Fetched)
        assert known.provided == [kept.blob, kept.blob]
