"""A small blob in one question over real hosts: by a stream, by a socket, and of an older node."""

from os import urandom

import pytest
import trio

from dpin.base.blob import blob_id, manifest_of
from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.net.blobwire import (
    SMALL_BLOB_BYTES_MAX,
    AskBlob,
    AskChunk,
    AskManifest,
    Manifest,
    Whole,
)
from dpin.net.budget import Rate
from dpin.net.bulk import BulkOptions, open_bulk
from dpin.net.host import HostOptions, open_host
from dpin.net.network import BLOB_2
from tests.support.bulk import Landing, Shelf, two_planes
from tests.support.hosts import seed, until

DATA = urandom(SMALL_BLOB_BYTES_MAX)
BLOB = blob_id(manifest_of(DATA))
WHOLE = Whole(manifest_of(DATA), DATA)


async def test_a_small_blob_comes_in_one_answer_over_a_stream_and_over_a_socket() -> None:
    async with two_planes() as (giver, taker):
        shelf = Shelf(DATA)
        giver.serve(shelf)
        await until(lambda: taker._network.beside.takes_ask_blob(giver.node_id))
        assert await taker.ask(giver.node_id, AskBlob(BLOB)) == WHOLE
        assert (taker.chunks_streamed, taker.chunks_direct) == (1, 0)
        assert giver.sockets.door.accepted == 0  # For a small blob none is dialled.
        assert await taker.sockets.opened(giver.node_id) is not None
        assert await taker.ask(giver.node_id, AskBlob(BLOB)) == WHOLE
        assert (taker.chunks_streamed, taker.chunks_direct) == (1, 1)
        assert shelf.asked == [AskBlob(BLOB)] * 2


SLOW = Rate(burst=1, per_second=2 * len(DATA))


@pytest.mark.parametrize(
    ("one", "two"),
    [(BulkOptions(upload=SLOW), BulkOptions()), (BulkOptions(), BulkOptions(download_each=SLOW))],
)
async def test_a_small_blob_counts_against_the_rates_of_either_end(
    one: BulkOptions, two: BulkOptions
) -> None:
    async with two_planes(one, two) as (giver, taker):
        giver.serve(Shelf(DATA))
        await until(lambda: taker._network.beside.takes_ask_blob(giver.node_id))
        began = trio.current_time()
        for _ in range(2):
            await taker.ask(giver.node_id, AskBlob(BLOB))
        assert trio.current_time() - began > 0.4  # The second one waits for the first.


async def test_a_node_of_the_version_before_is_asked_for_the_manifest_alone() -> None:
    async with open_host(HostOptions(seed(1))) as old, open_host(HostOptions(seed(2))) as new:
        old._inside.libp2p.remove_stream_handler(BLOB_2)
        async with open_bulk(old, BulkOptions()) as giver, open_bulk(new, BulkOptions()) as taker:
            shelf = Shelf(DATA)
            giver.serve(shelf)
            await new.dial(old.addresses[0])
            assert await taker.ask(giver.node_id, AskBlob(BLOB)) == Manifest(WHOLE.manifest)
            assert await taker.sockets.opened(giver.node_id) is not None
            assert await taker.ask(giver.node_id, AskBlob(BLOB)) == Manifest(WHOLE.manifest)
            assert shelf.asked == [AskManifest(BLOB)] * 2
            await until(lambda: giver._network.beside.takes_ask_blob(taker.node_id))
            taker.serve(Shelf(DATA))  # The other way round the old one asks as ever.
            assert await giver.ask(taker.node_id, AskManifest(BLOB)) == Manifest(WHOLE.manifest)


async def test_a_whole_blob_is_no_answer_to_who_asks_for_a_chunk() -> None:
    async def confused(_peer: NodeId, _question: bytes) -> bytes:
        return encode(WHOLE)

    async with two_planes() as (giver, taker):
        giver._network.serve(confused)
        landing = Landing(DATA)
        with pytest.raises(PeerFault, match="another question"):
            await taker.fetch(
                giver.node_id, AskChunk(BLOB, 0), landing.land(0), first_of_many=False
            )
        assert not landing.got
