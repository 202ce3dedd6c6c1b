"""Blobs in their owner's hands: put on one node, fetched by another, pinned, traced."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from dpin.base.blob import CHUNK_BYTES
from dpin.base.errors import Misuse, NotFound
from dpin.base.ids import NodeId
from dpin.base.machine import Blame
from dpin.net.bulk import BulkOptions, BulkPlane
from dpin.net.fake import FakeWorld, open_world
from dpin.node.blobviews import BlobView, FetchRequest, FetchView, PinRequest, PutRequest
from dpin.node.courier import Courier
from dpin.node.storeroom import FETCHES_MAX, Storeroom, Ties
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import StoreEvent

DATA = bytes(range(256)) * (CHUNK_BYTES // 64) + b"end"  # five chunks
LEFT: dict[int, int] = {}  # bytes that no job has a claim on; without an entry, no limit
PATIENCE_SECONDS = 60  # A chunk is synced, on a disk that others use as well.


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


async def ignore(_: StoreEvent | Blame) -> None:
    """Nobody else is told what the owner asks for."""


async def told(_: int) -> None:
    """No job waits for room."""


def room(
    world: FakeWorld, nursery: trio.Nursery, folder: Path, number: int, *, again: bool = False
) -> Storeroom:
    host = world.nodes[node(number)] if again else world.join(node(number))
    store = BlobStore(folder / str(number), 1 << 30)
    courier = Courier(nursery, BulkPlane(host, BulkOptions()), store, ignore)
    ties = Ties(
        peers=host.peers,
        named=lambda text: node(int(text)),
        name=lambda one: str(one[-1]),
        room=lambda: LEFT.get(number),
        pinned=told,
    )
    return Storeroom(courier, ties)


@asynccontextmanager
async def rooms(folder: Path) -> AsyncIterator[tuple[FakeWorld, trio.Nursery, list[Storeroom]]]:
    """Two nodes that are connected."""
    async with open_world() as world, trio.open_nursery() as nursery:
        both = [room(world, nursery, folder, number) for number in (1, 2)]
        await world.nodes[node(2)].dial(world.nodes[node(1)].addresses[0])
        yield world, nursery, both
        nursery.cancel_scope.cancel()


async def put(here: Storeroom, folder: Path, *, pin: bool = True) -> BlobView:
    path = folder / "file"
    await trio.Path(path).write_bytes(DATA)
    return await here.put(PutRequest(path=str(path), pin=pin))


async def got(here: Storeroom, blob: str, *sources: str) -> FetchView:
    view = await here.fetch(blob, FetchRequest(sources=list(sources)))
    with trio.fail_after(PATIENCE_SECONDS):
        while view.blob.state == "fetching":
            await trio.sleep(0.01)
            view = here.fetched(blob)
    return view


async def test_a_file_put_on_one_node_is_fetched_by_another_and_its_course_is_told(
    tmp_path: Path,
) -> None:
    async with rooms(tmp_path) as (_, _, (one, two)):
        kept = await put(one, tmp_path)
        assert (kept.state, kept.pinned, kept.public) == ("here", True, True)
        view = await got(two, kept.blob)
        assert view.blob.state == "here"
        assert await trio.Path(view.blob.path).read_bytes() == DATA
        (source,) = view.sources
        assert (source.name, source.chunks, source.bytes) == ("1", 5, len(DATA))
        told = [hop.what for hop in view.hops]
        for part in ("asked what", f"{len(DATA):,} bytes", "has 5 chunks", "first chunk", "all ch"):
            assert any(part in what for what in told), (part, told)
        assert [hop.at_ms for hop in view.hops] == sorted(hop.at_ms for hop in view.hops)
        assert [view.blob for view in two.listed()] == [kept.blob]


async def test_what_was_put_is_given_to_everybody_also_after_a_restart(tmp_path: Path) -> None:
    async with rooms(tmp_path) as (world, nursery, (one, two)):
        kept = await put(one, tmp_path)
        room(world, nursery, tmp_path, 1, again=True)
        assert (await got(two, kept.blob, "1")).blob.state == "here"


async def test_a_pin_is_taken_away_and_what_is_not_pinned_is_private_after_a_restart(
    tmp_path: Path,
) -> None:
    async with rooms(tmp_path) as (world, nursery, (one, two)):
        kept = await put(one, tmp_path)
        unpinned = await one.pin(kept.blob[:8], PinRequest(pinned=False))
        assert not unpinned.pinned
        again = room(world, nursery, tmp_path, 1, again=True)
        view = await got(two, kept.blob, "1")
        assert view.blob.state == "failed"
        assert "not for you" in view.blob.reason
        pinned = await again.pin(kept.blob, PinRequest(pinned=True))
        assert (pinned.pinned, pinned.public) == (True, False)


async def test_a_fetch_that_is_stopped_is_gone_on_with(tmp_path: Path) -> None:
    async with rooms(tmp_path) as (_, _, (one, two)):
        kept = await put(one, tmp_path)
        await two.fetch(kept.blob, FetchRequest())
        two.stop(kept.blob)
        with trio.fail_after(PATIENCE_SECONDS):
            while two.fetched(kept.blob).blob.state == "fetching":
                await trio.sleep(0.01)
        assert two.fetched(kept.blob).blob.state == "stopped"
        assert (await got(two, kept.blob)).blob.state == "here"


async def test_only_so_many_blobs_are_fetched_at_once_and_only_so_many_ends_are_told(
    tmp_path: Path,
) -> None:
    async with rooms(tmp_path) as (_, _, (one, _two)):
        for turn in range(3):
            wanted = [f"{turn:02x}{number:02x}" * 16 for number in range(FETCHES_MAX + 1)]
            for blob in wanted[:FETCHES_MAX]:
                await one.fetch(blob, FetchRequest())
            await one.fetch(wanted[0], FetchRequest())  # To look at one that is under way.
            with pytest.raises(Misuse, match="32 blobs are being fetched"):
                await one.fetch(wanted[FETCHES_MAX], FetchRequest())
            with trio.fail_after(PATIENCE_SECONDS):
                while any(one.fetched(blob).blob.state == "fetching" for blob in wanted[:-1]):
                    await trio.sleep(0.01)
        with pytest.raises(NotFound):
            one.fetched("0000" * 16)
        assert one.fetched("0100" * 16).blob.state == "failed"


async def test_what_cannot_be_is_refused_with_a_fix(tmp_path: Path) -> None:
    async with rooms(tmp_path) as (_, _, (one, _two)):
        for path, why in (("file", "not the whole path"), (str(tmp_path), "is a folder")):
            with pytest.raises(Misuse, match=why):
                await one.put(PutRequest(path=path))
        with pytest.raises(NotFound, match="No such file"):
            await one.put(PutRequest(path=str(tmp_path / "nothing")))
        with pytest.raises(Misuse, match="not the id of a blob"):
            await one.fetch("ab", FetchRequest())
        for look in (one.fetched, one.stop):
            with pytest.raises(NotFound):
                look("ab")
        with pytest.raises(NotFound, match="no blob"):
            await one.pin("ab", PinRequest(pinned=True))


async def test_what_jobs_may_still_need_is_not_pinned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LEFT, 1, len(DATA) - 1)
    async with rooms(tmp_path) as (_, _, (one, _two)):
        with pytest.raises(Misuse, match="that no job may need"):
            await put(one, tmp_path)
        monkeypatch.setitem(LEFT, 1, len(DATA))
        assert (await put(one, tmp_path)).pinned
