"""Whole blobs between couriers over real sockets: several sources, a liar, one that goes away."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from os import urandom
from pathlib import Path

import trio

from dpin.base.blob import BLOB_BYTES_MAX, CHUNK_BYTES
from dpin.base.ids import BlobId
from dpin.base.machine import Blame
from dpin.net.budget import Rate
from dpin.net.bulk import BulkOptions, BulkPlane, open_bulk
from dpin.net.course import Course
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.links import clock
from dpin.node.courier import Courier
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import Fetch, Fetched, Keep, Kept, Missing, Purpose, StoreEvent
from tests.support.bulk import PLAIN, Shelf
from tests.support.faraway import far_line
from tests.support.hosts import seed, until

DATA = urandom(6 * CHUNK_BYTES + 5)
PATIENCE_SECONDS = 60
# So slow that each of several has its turn before another has given all: there are seven chunks.
BY_TURNS = BulkOptions(upload=Rate(burst=CHUNK_BYTES, per_second=2 * CHUNK_BYTES))


@dataclass
class Place:
    """A node's share in the bulk plane."""

    host: Host
    plane: BulkPlane
    store: BlobStore
    courier: Courier
    told: trio.MemoryReceiveChannel[StoreEvent | Blame]

    async def next(self) -> StoreEvent | Blame:
        with trio.fail_after(PATIENCE_SECONDS):
            return await self.told.receive()

    async def keep(self, path: Path, data: bytes = DATA) -> BlobId:
        await trio.Path(path).write_bytes(data)
        self.courier.perform(Keep(str(path), Purpose.MODEL, None))
        kept = await self.next()
        assert isinstance(kept, Kept)
        return kept.blob


@asynccontextmanager
async def places(
    folder: Path, count: int, options: BulkOptions = PLAIN, *, joined: bool = True
) -> AsyncIterator[list[Place]]:
    """So many; the first one knows all others, where they are joined."""
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        found: list[Place] = []
        for number in range(1, count + 1):
            host = await stack.enter_async_context(open_host(HostOptions(seed(number))))
            plane = await stack.enter_async_context(open_bulk(host, options))
            store = BlobStore(folder / str(number), 1 << 30)
            put, take = trio.open_memory_channel[StoreEvent | Blame](64)
            courier = Courier(nursery, plane, store, put.send)
            found.append(Place(host, plane, store, courier, take))
        for place in found[1:] if joined else ():
            await found[0].host.dial(place.host.addresses[0])
        yield found
        nursery.cancel_scope.cancel()


async def test_a_blob_comes_from_several_sources_over_sockets(tmp_path: Path) -> None:
    async with places(tmp_path, 3, BY_TURNS) as (taker, *givers):
        blob = await givers[0].keep(tmp_path / "file")
        assert await givers[1].keep(tmp_path / "again") == blob
        sources = tuple(giver.host.node_id for giver in givers)
        taker.courier.perform(Fetch(blob, sources, Purpose.MODEL, BLOB_BYTES_MAX))
        fetched = await taker.next()
        assert isinstance(fetched, Fetched)
        assert await trio.Path(fetched.path).read_bytes() == DATA
        # What one is slow with, the other is asked, too.
        assert 7 <= taker.plane.chunks_direct < 2 * 7
        assert min(giver.courier.bytes_out[Purpose.MODEL] for giver in givers) > 0
        counted = taker.host.traffic()
        assert sum(counted[source].bulk_in for source in sources) > len(DATA)


async def test_a_source_that_lies_is_blamed_and_the_blob_comes_from_another(tmp_path: Path) -> None:
    async with places(tmp_path, 3) as (taker, good, liar):
        blob = await good.keep(tmp_path / "file")
        liar.plane.serve(Shelf(DATA, spoiled=True))
        sources = (liar.host.node_id, good.host.node_id)
        taker.courier.perform(Fetch(blob, sources, Purpose.MODEL, BLOB_BYTES_MAX))
        told = [await taker.next()]
        while isinstance(told[-1], Blame):
            told.append(await taker.next())
        assert isinstance(told[-1], Fetched)
        assert {blame.peer for blame in told if isinstance(blame, Blame)} == {liar.host.node_id}
        assert await trio.Path(told[-1].path).read_bytes() == DATA


async def test_a_source_that_goes_away_half_way_leaves_a_part_that_is_gone_on_with(
    tmp_path: Path,
) -> None:
    async with places(tmp_path, 2) as (taker, giver):
        blob = await giver.keep(tmp_path / "file")
        manifest = giver.store.manifest(blob)
        with await taker.store.begin(manifest) as download:
            for index in range(4):
                start = index * CHUNK_BYTES
                await download.write_chunk(index, DATA[start : start + CHUNK_BYTES])
        giver.host.disconnect(taker.host.node_id)
        await until(lambda: giver.host.node_id not in taker.host.peers())
        taker.courier.perform(Fetch(blob, (giver.host.node_id,), Purpose.MODEL, BLOB_BYTES_MAX))
        assert isinstance(await taker.next(), Missing)
        await taker.host.dial(giver.host.addresses[0])
        taker.courier.perform(Fetch(blob, (giver.host.node_id,), Purpose.MODEL, BLOB_BYTES_MAX))
        assert isinstance(await taker.next(), Fetched)
        assert taker.courier.bytes_in[Purpose.MODEL] == len(DATA) - 4 * CHUNK_BYTES


async def test_the_course_of_a_fetch_names_tickets_sockets_and_what_each_source_gave(
    tmp_path: Path,
) -> None:
    async with places(tmp_path, 3, BY_TURNS) as (taker, *givers):
        blob = await givers[0].keep(tmp_path / "file")
        assert await givers[1].keep(tmp_path / "again") == blob
        sources = tuple(giver.host.node_id for giver in givers)
        course = Course(clock())
        with trio.fail_after(PATIENCE_SECONDS):
            end = await taker.courier.traced(
                Fetch(blob, sources, Purpose.MODEL, BLOB_BYTES_MAX), course
            )
        assert isinstance(end, Fetched)
        # On a busy machine the last chunk may be asked of both, and come from both.
        assert sum(share.bytes for share in course.shares.values()) >= len(DATA)
        for peer in sources:
            told = [hop.what for hop in course.hops if hop.peer == peer]
            ticket, gave = told.index("asked for a ticket"), told.index("gave its first chunk")
            assert ticket < told.index("a bulk socket stands") < gave


async def test_a_blob_gets_over_a_bulk_socket_that_is_long_and_loses(tmp_path: Path) -> None:
    """200 ms there and back, and 2 % of the segments are lost, on both of its connections."""
    data = DATA[: 2 * CHUNK_BYTES + 5]
    async with places(tmp_path, 2, joined=False) as (taker, giver):
        blob = await giver.keep(tmp_path / "file", data)
        address, sockets = giver.host.addresses[0], giver.plane.sockets
        port, bulk_port = int(address.split("/")[4]), sockets.port
        async with far_line(port) as (far, _), far_line(bulk_port, 2) as (far_bulk, line):
            sockets.port = far_bulk  # Where it says that it listens.
            await taker.host.dial(address.replace(f"/tcp/{port}/", f"/tcp/{far}/"))
            taker.courier.perform(Fetch(blob, (giver.host.node_id,), Purpose.MODEL, BLOB_BYTES_MAX))
            fetched = await taker.next()
            assert isinstance(fetched, Fetched)
            assert await trio.Path(fetched.path).read_bytes() == data
            assert (taker.plane.chunks_direct, taker.plane.chunks_streamed) == (3, 0)
            assert line.lost > 0
