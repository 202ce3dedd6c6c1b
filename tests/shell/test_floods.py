"""Floods of bytes, frames and connections from strangers, and the node that serves on."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from dpin.base.errors import Unavailable
from dpin.base.ids import NodeId
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.net import exchange, guards, inflow
from dpin.net.address import node_of
from dpin.net.budget import PENDING_INBOUND_PER_IP_MAX, Rate
from dpin.net.contained import Contained
from dpin.net.framing import frame
from dpin.net.host import HostOptions, open_host
from dpin.net.network import BLOB, Misbehaved
from tests.support.hosts import PATIENCE_SECONDS, next_of, seed, two_hosts, until
from tests.support.strangers import Attack, attacked, echo, opened, running, still_serves

WINDOW = 255 << 10  # less what it took to agree on the protocol
SLEEP = frame(b"sleep")


class Sleepers:
    """Who never answers where it is asked to sleep, and reads nothing meanwhile."""

    def __init__(self) -> None:
        self.asked = 0

    async def answer(self, _peer: NodeId, question: bytes) -> bytes:
        if question == b"sleep":
            self.asked += 1
            await trio.sleep_forever()
        return question

    async def unread(self, attack: Attack, size: int) -> None:
        """Have this much wait on a stream, unread; the writer ignores its window."""
        before = self.asked
        stream = await opened(attack, BLOB)
        await stream.write(SLEEP)
        await until(lambda: self.asked > before)
        stream.muxed_stream.send_window = 1 << 40
        await stream.write(bytes(size))


async def test_data_beyond_the_window_of_their_stream_end_the_connection() -> None:
    async with attacked() as attack:
        victim, stranger = attack
        sleepers = Sleepers()
        victim.serve(sleepers.answer)
        with Contained():
            await sleepers.unread(attack, 2 * WINDOW)
        assert (await next_of(victim, PeerDown)).peer == node_of(stranger.get_id().to_bytes())
        await still_serves(victim)


async def test_data_within_the_window_of_their_stream_end_nothing() -> None:
    async with attacked() as attack:
        victim, stranger = attack
        sleepers = Sleepers()
        victim.serve(sleepers.answer)
        await sleepers.unread(attack, WINDOW)
        await still_serves(victim)
        assert node_of(stranger.get_id().to_bytes()) in victim.peers()


async def test_unread_data_of_many_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflow, "BUFFERED_BYTES_MAX", 4 * WINDOW)
    async with attacked() as attack:
        victim, _ = attack
        sleepers = Sleepers()
        victim.serve(sleepers.answer)
        with Contained():
            for _ in range(5):
                await sleepers.unread(attack, WINDOW)
        await next_of(victim, PeerDown)
        await still_serves(victim)


async def test_unread_data_of_all_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflow, "BUFFERED_BYTES_FREE", WINDOW // 2)
    monkeypatch.setattr(inflow, "BUFFERED_BYTES_OF_ALL_MAX", 2 * WINDOW)
    async with attacked() as attack, running(guards.secure_host(seed(667), 256)) as other:
        victim, _ = attack
        sleepers = Sleepers()
        victim.serve(sleepers.answer)
        await other.connect(info_from_p2p_addr(Multiaddr(victim.addresses[0])))
        await next_of(victim, PeerUp)
        with Contained():
            for one in (attack, (victim, other)):
                await sleepers.unread(one, WINDOW)
            await sleepers.unread(attack, WINDOW)
        await next_of(victim, PeerDown)
        await still_serves(victim)


async def test_what_a_reset_stream_held_is_forgotten() -> None:
    async with attacked() as attack:
        victim, stranger = attack
        stream = await opened(attack, BLOB)
        await stream.write(frame(bytes(10)) + bytes(1000))
        assert len(await stream.read(14)) == 14
        muxed = stream.muxed_stream
        muxed.conn.stream_buffers[muxed.stream_id].extend(bytes(1000))
        await stream.reset()
        assert muxed.stream_id not in muxed.conn.stream_buffers
        await still_serves(victim)
        assert stranger.get_network().connections


async def test_frames_without_end_are_read_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """P20: by pings, windows or data of one byte, one peer could take the whole loop."""
    monkeypatch.setattr(inflow, "FRAMES", Rate(burst=60, per_second=100))
    async with attacked() as attack:
        victim, stranger = attack
        stream = await opened(attack, BLOB)
        began = trio.current_time()
        question = frame(bytes(156))
        for at in range(len(question)):
            await stream.write(question[at : at + 1])
        with trio.fail_after(60):
            assert await stream.read(4) == question[:4]
        assert trio.current_time() - began >= 0.8
        assert node_of(stranger.get_id().to_bytes()) in victim.peers()
        await still_serves(victim)


async def test_the_second_host_of_a_process_is_read_as_plainly_as_the_first() -> None:
    """A guard put on again for each host would read every frame once more for each of them."""
    for _ in range(3):
        async with two_hosts():
            readers = [connection.secured_conn for connection in inflow.living]
            assert readers
            assert not any(isinstance(reader.secured, inflow.Inflow) for reader in readers)


async def test_silent_connections_from_one_address_leave_room_for_others() -> None:
    async with open_host(HostOptions(seed(1))) as victim:
        victim.serve(echo)
        port = int(Multiaddr(victim.addresses[0]).value_for_protocol("tcp"))
        sockets = [trio.socket.socket() for _ in range(300)]
        try:
            for silent in sockets:
                await silent.bind(("127.0.0.2", 0))
                await silent.connect(("127.0.0.1", port))
            await still_serves(victim)
            closed = 0
            for silent in sockets:
                with trio.move_on_after(0.001), Contained():
                    closed += await silent.recv(1) == b""
            assert closed >= len(sockets) - 2 * PENDING_INBOUND_PER_IP_MAX
        finally:
            for silent in sockets:
                silent.close()


async def test_silent_connections_from_everywhere_leave_room_for_others() -> None:
    """P8: those that say nothing make room, the oldest of the largest group first."""
    async with open_host(HostOptions(seed(1))) as victim:
        victim.serve(echo)
        port = int(Multiaddr(victim.addresses[0]).value_for_protocol("tcp"))
        sockets = [trio.socket.socket() for _ in range(600)]
        try:
            for number, silent in enumerate(sockets):
                await silent.bind((f"127.{1 + number % 200}.0.1", 0))
                await silent.connect(("127.0.0.1", port))
            await still_serves(victim)
        finally:
            for silent in sockets:
                silent.close()


@asynccontextmanager
async def crumbled(port: int) -> AsyncIterator[int]:
    """A proxy to a local port that passes every byte on in a segment of its own."""

    async def pass_on(source: trio.SocketStream, target: trio.SocketStream) -> None:
        with Contained():
            while data := await source.receive_some(1 << 16):
                for byte in data:
                    await target.send_all(bytes((byte,)))
                    await trio.lowlevel.checkpoint()
        with Contained():
            await target.send_eof()

    async def serve(client: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as server:
            server.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, client, server)
                await pass_on(server, client)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_a_connection_whose_every_byte_comes_alone_holds() -> None:
    """P14: a legal frame in more than a hundred segments tore its connection down."""
    async with open_host(HostOptions(seed(1))) as one, open_host(HostOptions(seed(2))) as two:
        at = Multiaddr(one.addresses[0])
        port = int(at.value_for_protocol("tcp"))
        async with crumbled(port) as other:
            address = one.addresses[0].replace(f"/tcp/{port}/", f"/tcp/{other}/")
            assert await two.dial(address) == one.node_id
            await next_of(one, PeerUp)
            assert two.send(one.node_id, bytes(500))
            assert (await next_of(one, Received)).payload == bytes(500)
            assert one.send(two.node_id, bytes(500))
            assert (await next_of(two, Received)).payload == bytes(500)


async def test_an_ipv6_peer_is_known_by_its_address() -> None:
    """P21: libp2p knows no address at the other end of an IPv6 connection."""
    async with (
        open_host(HostOptions(seed(1), ("/ip6/::1/tcp/0",))) as one,
        open_host(HostOptions(seed(2))) as two,
    ):
        await two.dial(one.addresses[0])
        await next_of(one, PeerUp)
        assert one.door.ips[two.node_id] == "::1"


async def test_a_banned_site_is_shown_the_door() -> None:
    async with attacked() as attack:
        victim, _ = attack
        victim.door.refuse(["127.0.0.0/24"])
        await next_of(victim, PeerDown)
        async with open_host(HostOptions(seed(2))) as other:
            with pytest.raises(Exception, match="failed"):
                await other.dial(victim.addresses[0])
        victim.door.refuse([])
        await still_serves(victim)


async def test_questions_that_cost_too_much_time_are_no_longer_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "CPU_MICROS", Rate(burst=20_000, per_second=1))

    async def work(_peer: NodeId, question: bytes) -> bytes:
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass
        return question

    async with (
        open_host(HostOptions(seed(1))) as victim,
        open_host(HostOptions(seed(2))) as asker,
        open_host(HostOptions(seed(3))) as other,
    ):
        victim.serve(work)
        await asker.dial(victim.addresses[0])
        await other.dial(victim.addresses[0])
        assert await asker.request(victim.node_id, b"1", PATIENCE_SECONDS) == b"1"
        with pytest.raises(Unavailable):
            await asker.request(victim.node_id, b"2", PATIENCE_SECONDS)
        assert "time" in (await next_of(victim, Misbehaved)).reason
        assert await other.request(victim.node_id, b"3", PATIENCE_SECONDS) == b"3"


async def test_before_the_handshake_little_goes_back() -> None:
    """No amplification: not even to those who have shown where they are."""
    hello = b"\x13/multistream/1.0.0\n"
    async with open_host(HostOptions(seed(1))) as victim:
        port = int(Multiaddr(victim.addresses[0]).value_for_protocol("tcp"))
        for said in (b"", hello, hello + b"\x07/noise\n", hello + b"\x03ls\n"):
            got = 0
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                if said:
                    await stream.send_all(said)
                with trio.move_on_after(0.4):
                    while data := await stream.receive_some(1 << 16):
                        got += len(data)
            assert got <= 3 * max(len(said), len(hello))
