"""Blobs over sockets of our own, beside real libp2p: what comes, and what it survives."""

from contextlib import suppress
from os import urandom

import pytest
import trio

from dpin.base.blob import CHUNK_BYTES, blob_id, manifest_of
from dpin.base.codec import encode
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import NodeId
from dpin.net import bulkdoor, bulkwire
from dpin.net.blobwire import AskChunk, AskHave, AskManifest, AskTicket, Have, Manifest, Ticket
from dpin.net.budget import BULK_PENDING_PER_IP_MAX, Rate
from dpin.net.bulk import BulkOptions, BulkPlane
from dpin.net.bulkasked import Denial
from dpin.net.bulkdoor import MAGIC, dial, listeners_at
from dpin.net.bulkframe import HEADER_BYTES, Kind, Opener, Sealer
from dpin.net.bulksockets import NO_PORT
from dpin.net.tickets import KEY_BYTES, Keys, keys_of
from tests.support.bulk import Landing, Shelf, two_planes
from tests.support.files import no_more_files
from tests.support.hosts import until

DATA = urandom(2 * CHUNK_BYTES) + b"the end"
BLOB = blob_id(manifest_of(DATA))
CHUNKS = range(3)
SALT = bytes(32)
NO_SOCKETS = BulkOptions(port=NO_PORT)


async def fetch_all(giver: BulkPlane, taker: BulkPlane) -> Landing:
    landing = Landing(DATA)
    async with trio.open_nursery() as nursery:
        for index in CHUNKS:
            question = AskChunk(BLOB, index)
            nursery.start_soon(taker.fetch, giver.node_id, question, landing.land(index))
    assert b"".join(landing.got[index] for index in CHUNKS) == DATA
    return landing


async def ticket_of(giver: BulkPlane, taker: NodeId) -> tuple[Ticket, Keys]:
    ticket = await giver.sockets.answer(taker, AskTicket(SALT))
    assert isinstance(ticket, Ticket)
    return ticket, keys_of(ticket.ticket, ticket.secret, SALT, taker, giver.node_id)


async def test_a_taken_bulk_port_is_told_with_its_setting_and_what_helps() -> None:
    [taken] = await listeners_at(("127.0.0.1",), (0,))
    port = int(taken.socket.getsockname()[1])
    try:
        with pytest.raises(
            Unavailable, match=rf"port {port} is in use: network\.bulk_port"
        ) as told:
            await listeners_at(("127.0.0.1",), (port,))
        assert "ss -ltnp" in told.value.fix
    finally:
        await taken.aclose()


async def test_chunks_come_over_a_socket_of_their_own() -> None:
    async with two_planes() as (giver, taker):
        giver.serve(Shelf(DATA))
        await fetch_all(giver, taker)
        assert taker.chunks_direct == 3
        assert giver.sockets.door.accepted == 1
        assert await taker.ask(giver.node_id, AskManifest(BLOB)) == Manifest(manifest_of(DATA))
        assert await taker.ask(giver.node_id, AskHave(BLOB)) == Have(b"\x07")


async def test_the_same_chunks_come_over_libp2p_where_no_socket_can_be_had() -> None:
    async with two_planes(NO_SOCKETS, NO_SOCKETS) as (giver, taker):
        giver.serve(Shelf(DATA))
        await fetch_all(giver, taker)
        assert (taker.chunks_direct, taker.chunks_streamed) == (0, 3)


async def test_who_cannot_be_dialled_dials() -> None:
    async with two_planes(NO_SOCKETS) as (giver, taker):  # The giver has no port.
        giver.serve(Shelf(DATA))
        await fetch_all(giver, taker)
        assert taker.chunks_direct == 3
        assert giver.sockets.counts.dialled_back == 1
        assert taker.sockets.door.accepted == 1


async def test_a_socket_serves_both_ways() -> None:
    async with two_planes() as (one, two):
        one.serve(Shelf(DATA))
        two.serve(Shelf(DATA))
        await fetch_all(one, two)
        await fetch_all(two, one)
        assert one.chunks_direct == 3
        assert two.sockets.door.accepted == 0


async def test_a_chunk_that_is_refused_is_no_fault_and_the_next_one_comes() -> None:
    async with two_planes() as (giver, taker):
        giver.serve(Shelf(DATA))
        with pytest.raises(Denial, match="no such chunk"):
            await taker.fetch(giver.node_id, AskChunk(BLOB, 9), Landing(DATA).land(0))
        await fetch_all(giver, taker)


async def test_wrong_bytes_are_told_from_a_bad_seal_and_cost_no_socket() -> None:
    async with two_planes() as (giver, taker):
        giver.serve(Shelf(DATA, spoiled=True))
        for _ in range(2):
            with pytest.raises(PeerFault, match="does not have the digest"):
                await taker.fetch(giver.node_id, AskChunk(BLOB, 0), Landing(DATA).land(0))
        assert giver.sockets.door.accepted == 1


async def test_a_ticket_opens_one_connection_only() -> None:
    async with two_planes() as (giver, taker):
        ticket, keys = await ticket_of(giver, taker.node_id)
        stream, _ = await dial("127.0.0.1", ticket.port, ticket.ticket, keys)
        with pytest.raises(Unavailable, match="not the peer's"):
            await dial("127.0.0.1", ticket.port, ticket.ticket, keys)
        await stream.aclose()


async def test_a_ticket_without_its_secret_opens_nothing() -> None:
    async with two_planes() as (giver, taker):
        ticket, _ = await ticket_of(giver, taker.node_id)
        wrong = Keys(urandom(32), urandom(32))
        with pytest.raises(Unavailable, match="not the peer's"):
            await dial("127.0.0.1", ticket.port, ticket.ticket, wrong)
        assert (giver.sockets.door.accepted, giver.sockets.door.refused) == (0, 1)


async def test_garbage_and_silence_cost_a_few_seconds_and_nobody_elses_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two_planes() as (giver, taker):
        giver.serve(Shelf(DATA))
        port = giver.sockets.port
        with monkeypatch.context() as hasty:
            hasty.setattr(bulkdoor, "HELLO_SECONDS", 0.3)
            streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(20)]
            await streams[0].send_all(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))
            await streams[1].send_all(MAGIC + bytes(16) + bytes(100))
            await until(lambda: giver.sockets.door.refused >= 20 - BULK_PENDING_PER_IP_MAX + 2)
            await until(lambda: giver.sockets.door.refused == 20)  # The silent ones.
        await fetch_all(giver, taker)
        assert taker.chunks_direct == 3
        for stream in streams:
            await stream.aclose()


async def test_a_frame_with_a_bad_seal_ends_the_socket_and_is_reported() -> None:
    async with two_planes() as (giver, taker):
        ticket, keys = await ticket_of(giver, taker.node_id)
        stream, _ = await dial("127.0.0.1", ticket.port, ticket.ticket, keys)
        head = bytes.fromhex("000000040100000001")
        async with stream:
            await stream.send_all(head + bytes(20))
            assert await stream.receive_some(1) == b""
        await until(lambda: not giver.sockets.standing.count())
        assert "sealed" in giver.errors[-1]


async def test_too_many_questions_end_the_socket() -> None:
    async with two_planes() as (giver, taker):
        giver.serve(Shelf(DATA))
        ticket, keys = await ticket_of(giver, taker.node_id)
        stream, (sealer, _) = await dial("127.0.0.1", ticket.port, ticket.ticket, keys)
        question = encode(AskChunk(BLOB, 0))
        async with stream:  # It reads no answer.
            frames = [bytes(sealer.sealed(Kind.QUESTION, n, question)) for n in range(200)]
            with suppress(trio.BrokenResourceError):
                await stream.send_all(b"".join(frames))
            await until(lambda: not giver.sockets.standing.count())
        assert "more questions at once" in giver.errors[-1]


async def test_a_header_that_promises_too_much_ends_the_socket_unread() -> None:
    async with two_planes() as (giver, taker):
        ticket, keys = await ticket_of(giver, taker.node_id)
        stream, _ = await dial("127.0.0.1", ticket.port, ticket.ticket, keys)
        async with stream:
            await stream.send_all(b"\xff\xff\xff\xff" + bytes(HEADER_BYTES - 4))
            assert await stream.receive_some(1) == b""


async def test_a_peer_that_falls_silent_loses_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkwire, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(bulkwire, "WATCH_SECONDS", 0.1)
    async with two_planes() as (giver, taker):
        giver.serve(Shelf(DATA))
        ticket, keys = await ticket_of(giver, taker.node_id)
        stream, _ = await dial("127.0.0.1", ticket.port, ticket.ticket, keys)
        async with stream:
            await stream.send_all(bytes.fromhex("000000400100000001"))  # And no question.
            await until(lambda: not giver.sockets.standing.count())


async def test_an_idle_socket_is_closed_and_the_next_fetch_opens_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulkwire, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(bulkwire, "WATCH_SECONDS", 0.1)
    async with two_planes() as (giver, taker):
        giver.serve(Shelf(DATA))
        await fetch_all(giver, taker)
        await until(
            lambda: not giver.sockets.standing.count() and not taker.sockets.standing.count()
        )
        await fetch_all(giver, taker)
        assert giver.sockets.door.accepted == 2


async def test_a_fetch_that_is_given_up_leaves_the_socket_whole() -> None:
    async with two_planes() as (giver, taker):
        giver.serve(Shelf(DATA))
        await fetch_all(giver, taker)
        for _ in range(5):
            with trio.move_on_after(0.0005):
                await fetch_all(giver, taker)
        await fetch_all(giver, taker)
        assert giver.sockets.door.accepted == 1


async def test_what_goes_out_keeps_to_the_rate() -> None:
    slow = BulkOptions(upload=Rate(burst=CHUNK_BYTES, per_second=4 * CHUNK_BYTES))
    async with two_planes(one=slow) as (giver, taker):
        giver.serve(Shelf(DATA))
        began = trio.current_time()
        await fetch_all(giver, taker)
        assert trio.current_time() - began >= 0.22  # One chunk at once, one and a bit at the rate.


async def test_what_comes_in_keeps_to_the_rate_of_one_peer() -> None:
    slow = BulkOptions(download_each=Rate(burst=CHUNK_BYTES, per_second=4 * CHUNK_BYTES))
    async with two_planes(two=slow) as (giver, taker):
        giver.serve(Shelf(DATA))
        began = trio.current_time()
        await fetch_all(giver, taker)
        assert trio.current_time() - began >= 0.22


async def test_a_chunk_that_comes_twice_ends_the_socket_and_the_first_one_counts() -> None:
    async with two_planes() as (giver, taker):
        ticket, keys = await ticket_of(taker, giver.node_id)
        stream, (sealer, _) = await dial("127.0.0.1", ticket.port, ticket.ticket, keys)
        await until(lambda: bool(taker.sockets.standing.count()))
        landing = Landing(DATA)
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(taker.fetch, giver.node_id, AskChunk(BLOB, 2), landing.land(2))
            await stream.receive_some(1)
            frames = [bytes(sealer.sealed(Kind.CHUNK, 1, b"the end")) for _ in range(2)]
            await stream.send_all(b"".join(frames))
            await until(lambda: not taker.sockets.standing.count())
        assert landing.got == {2: b"the end"}
        assert "was not put" in taker.errors[-1]


async def test_chunks_that_flow_and_small_questions_between_them_are_all_answered() -> None:
    data = urandom(24 * CHUNK_BYTES)
    blob, landing = blob_id(manifest_of(data)), Landing(data)
    async with two_planes() as (giver, taker):
        giver.serve(Shelf(data))
        await taker.fetch(giver.node_id, AskChunk(blob, 0), landing.land(0))

        async def have() -> None:
            assert await taker.ask(giver.node_id, AskHave(blob)) == Have(b"\xff" * 3)

        async with trio.open_nursery() as nursery:
            for index in range(1, 24):
                question = AskChunk(blob, index)
                nursery.start_soon(taker.fetch, giver.node_id, question, landing.land(index))
                nursery.start_soon(have)
        assert b"".join(landing.got[index] for index in range(24)) == data
        assert giver.sockets.door.accepted == 1


async def test_a_socket_too_many_for_the_system_is_closed_and_ends_nothing_else() -> None:
    seals = Sealer(bytes(KEY_BYTES)), Opener(bytes(KEY_BYTES))
    async with two_planes() as (giver, taker):
        mine, theirs = trio.socket.socketpair()
        with theirs, no_more_files():
            await giver.sockets._run(taker.node_id, trio.SocketStream(mine), seals)
        assert mine.fileno() == -1
        assert giver.sockets.standing.count() == {}
        assert "Too many open files" in giver.errors[-1]
