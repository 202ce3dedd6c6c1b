"""A small blob is fetched with one question; what does not hash is blamed, and never kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from dpin.base.blob import BLOB_BYTES_MAX, blob_id, manifest_of
from dpin.base.ids import NodeId
from dpin.base.machine import Blame
from dpin.net.blobwire import SMALL_BLOB_BYTES_MAX, Question, read_question
from dpin.net.bulk import BulkOptions, BulkPlane
from dpin.net.fake import FakeHost, FakeWorld, open_world
from dpin.node.courier import Courier
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import Fetch, Fetched, Missing, Oversized, Purpose, StoreEvent
from tests.support.bulk import Shelf

DATA = b"an update of a few bytes"
BLOB = blob_id(manifest_of(DATA))
PATIENCE_SECONDS = 20


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


@dataclass
class Place:
    """One node's courier, what it has told, and what it was asked."""

    host: FakeHost
    store: BlobStore
    plane: BulkPlane
    courier: Courier
    told: list[StoreEvent | Blame] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)

    async def fetched(self, *sources: int, at_most: int = BLOB_BYTES_MAX) -> StoreEvent | Blame:
        """What becomes of it."""
        wanted = Fetch(BLOB, tuple(map(node, sources)), Purpose.UPDATE, at_most)
        self.courier.perform(wanted)
        return await self.next()

    async def next(self) -> StoreEvent | Blame:
        with trio.fail_after(PATIENCE_SECONDS):
            while not self.told:
                await trio.sleep(0.01)
        return self.told.pop(0)

    async def lend(self, data: bytes = DATA, *, to_all: bool = True) -> None:
        blob = await self.store.add_bytes(data)
        self.courier.lending.lend(blob, Purpose.UPDATE, None if to_all else frozenset())


def place(world: FakeWorld, nursery: trio.Nursery, folder: Path, number: int) -> Place:
    host = world.join(node(number))
    store = BlobStore(folder / str(number), 1 << 30)
    told: list[StoreEvent | Blame] = []

    async def tell(event: StoreEvent | Blame) -> None:
        told.append(event)

    plane = BulkPlane(host, BulkOptions())
    made = Place(host, store, plane, Courier(nursery, plane, store, tell), told)
    answer = host.inbox.handlers["/dpin/blob/1"]

    async def noted(peer: NodeId, data: bytes) -> bytes:
        made.asked.append(read_question(data))
        return await answer(peer, data)

    host.serve(noted)
    return made


@asynccontextmanager
async def places(folder: Path, count: int = 2) -> AsyncIterator[list[Place]]:
    async with open_world() as world, trio.open_nursery() as nursery:
        found = [place(world, nursery, folder, number) for number in range(1, count + 1)]
        for other in found[:-1]:
            await found[-1].host.dial(other.host.addresses[0])
        yield found
        nursery.cancel_scope.cancel()


def names(asked: list[Question]) -> list[str]:
    return [type(question).__name__ for question in asked]


async def test_a_small_blob_takes_one_question_and_is_counted_at_both_ends(tmp_path: Path) -> None:
    async with places(tmp_path) as (one, two):
        await one.lend()
        fetched = await two.fetched(1)
        assert isinstance(fetched, Fetched)
        assert (fetched.data, fetched.length) == (DATA, len(DATA))
        assert await trio.Path(fetched.path).read_bytes() == DATA
        assert names(one.asked) == ["AskBlob"]
        assert one.courier.bytes_out[Purpose.UPDATE] == len(DATA)
        assert two.courier.bytes_in[Purpose.UPDATE] == len(DATA)
        assert two.plane.chunks_streamed == 1
        assert two.store.has(BLOB)


async def test_a_node_of_the_version_before_is_asked_for_the_manifest_and_then_the_chunk(
    tmp_path: Path,
) -> None:
    async with places(tmp_path) as (one, two):
        await one.lend()
        two.host.of_before.add(node(1))
        assert isinstance(await two.fetched(1), Fetched)
        assert names(one.asked) == ["AskManifest", "AskChunk"]


async def test_a_source_that_still_fetches_it_says_what_it_consists_of_alone(
    tmp_path: Path,
) -> None:
    async with places(tmp_path) as (one, two):
        with await one.store.begin(manifest_of(DATA)) as download:
            one.courier.lending.lend(BLOB, Purpose.UPDATE, None)
            two.courier.perform(Fetch(BLOB, (node(1),), Purpose.UPDATE, BLOB_BYTES_MAX))
            with trio.fail_after(PATIENCE_SECONDS):
                while "AskChunk" not in names(one.asked):
                    await trio.sleep(0.01)
            await download.write_chunk(0, DATA)
            await download.hold()
        told = [await two.next()]
        assert isinstance(told[-1], Fetched | Missing)
        assert names(one.asked)[0] == "AskBlob"


async def test_who_sends_bytes_that_do_not_hash_is_blamed_and_the_next_source_asked(
    tmp_path: Path,
) -> None:
    async with places(tmp_path, 3) as (liar, good, taker):
        liar.plane.serve(Shelf(DATA, spoiled=True))
        await good.lend()
        blame = await taker.fetched(1, 2)
        assert isinstance(blame, Blame)
        assert (blame.peer, "digest" in blame.reason) == (node(1), True)
        fetched = await taker.next()
        assert isinstance(fetched, Fetched)
        assert fetched.data == DATA


async def test_a_liar_alone_leaves_nothing_behind(tmp_path: Path) -> None:
    async with places(tmp_path) as (liar, taker):
        liar.plane.serve(Shelf(DATA, spoiled=True))
        assert isinstance(await taker.fetched(1), Blame)
        assert isinstance(await taker.next(), Missing)
        assert taker.store.count == 0
        assert taker.courier.bytes_in[Purpose.UPDATE] == 0


async def test_what_is_larger_than_allowed_is_not_kept_although_it_came(tmp_path: Path) -> None:
    async with places(tmp_path) as (one, two):
        await one.lend()
        assert await two.fetched(1, at_most=len(DATA) - 1) == Oversized(BLOB, len(DATA))
        assert two.store.count == 0
        assert isinstance(await two.fetched(1, at_most=len(DATA)), Fetched)


async def test_who_may_not_read_a_blob_gets_nothing_of_it(tmp_path: Path) -> None:
    async with places(tmp_path) as (one, two):
        await one.lend(to_all=False)
        missing = await two.fetched(1)
        assert isinstance(missing, Missing)
        assert "not for you" in missing.reason
        assert one.courier.bytes_out[Purpose.UPDATE] == 0


async def test_one_byte_beyond_what_is_small_comes_as_a_chunk(tmp_path: Path) -> None:
    async with places(tmp_path) as (one, two):
        for data, questions in (
            (bytes(SMALL_BLOB_BYTES_MAX), ["AskBlob"]),
            (bytes(SMALL_BLOB_BYTES_MAX + 1), ["AskBlob", "AskChunk"]),
        ):
            one.asked.clear()
            await one.lend(data)
            blob = blob_id(manifest_of(data))
            two.courier.perform(Fetch(blob, (node(1),), Purpose.UPDATE, BLOB_BYTES_MAX))
            assert isinstance(await two.next(), Fetched)
            assert names(one.asked) == questions


async def test_a_blob_that_is_damaged_on_the_disk_is_not_given_away(tmp_path: Path) -> None:
    async with places(tmp_path) as (one, two):
        await one.lend()
        path = trio.Path(one.store.path(BLOB))
        await path.chmod(0o600)
        await path.write_bytes(b"?" + DATA[1:])
        missing = await two.fetched(1)
        assert isinstance(missing, Missing)
        assert "damaged" in missing.reason
        assert not one.store.has(BLOB)
