"""What a stranger tries on libp2p, and the node that stays alive and serves."""

import struct

import libp2p.io.msgio
import libp2p.network.swarm
import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IncompleteReadError
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.pb.rpc_pb2 import RPC, Message
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.tcp.tcp import TCP
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr

from dpin.base.machine import Received
from dpin.net import guards, links, muxing, switchboard
from dpin.net.address import node_of
from dpin.net.budget import (
    ANSWERS_PER_PEER_MAX,
    COMPLAINTS,
    PENDING_INBOUND_PER_IP_MAX,
    STREAMS_PER_PEER_MAX,
    Rate,
)
from dpin.net.contained import Contained
from dpin.net.framing import frame
from dpin.net.host import HostOptions, open_host
from dpin.net.mesh import MESHSUB, content_id
from dpin.net.network import BLOB, CONTROL_BYTES_MAX, Misbehaved
from dpin.net.switchboard import CONTROL
from tests.support.hosts import next_of, seed, until
from tests.support.strangers import Attack, attacked, echo, opened, running, still_serves

TOPIC = "news"


async def test_six_bytes_of_garbage_on_a_gossip_stream_end_that_stream_only() -> None:
    async with attacked() as attack:
        victim, stranger = attack
        stream = await opened(attack, MESHSUB)
        await stream.write(b"\x05" + b"\xff" * 5)
        blamed = await next_of(victim, Misbehaved)
        assert blamed.peer == node_of(stranger.get_id().to_bytes())
        await still_serves(victim)


async def test_an_announcement_whose_key_cannot_be_parsed_ends_nothing() -> None:
    async with attacked() as attack:
        victim, _ = attack
        await victim.subscribe(TOPIC)
        message = Message(
            from_id=b"\x12\x20" + bytes(32),
            seqno=bytes(8),
            data=b"x",
            topicIDs=[TOPIC],
            signature=bytes(64),
            key=b"\xff" * 9,
        )
        stream = await opened(attack, MESHSUB)
        rpc = RPC(publish=[message])
        await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
        assert "did not sign" in (await next_of(victim, Misbehaved)).reason
        await still_serves(victim)


async def test_a_frame_above_the_limit_is_blamed_before_it_is_read() -> None:
    async with attacked() as attack:
        victim, _ = attack
        stream = await opened(attack, CONTROL)
        await stream.write((CONTROL_BYTES_MAX + 1).to_bytes(4))
        assert "at most" in (await next_of(victim, Misbehaved)).reason
        await still_serves(victim)


async def test_a_question_above_the_limit_is_blamed_before_it_is_read() -> None:
    async with attacked() as attack:
        victim, _ = attack
        stream = await opened(attack, BLOB)
        await stream.write(b"\x7f\xff\xff\xff")
        assert "at most" in (await next_of(victim, Misbehaved)).reason
        await still_serves(victim)


async def test_messages_over_the_budget_are_dropped_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = Rate(burst=1_024, per_second=1)  # Fewer than the busiest machine takes.
    monkeypatch.setattr(links, "INBOUND_MESSAGES", messages)
    async with attacked() as attack:
        victim, _ = attack
        stream = await opened(attack, CONTROL)
        flood = frame(b"x") * (messages.burst * 2)
        received = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, flood)
            with trio.fail_after(60):
                while not isinstance(event := await victim.events.receive(), Misbehaved):
                    received += isinstance(event, Received)
        assert "messages" in event.reason
        assert messages.burst <= received < messages.burst * 2


async def test_a_flood_of_faults_fills_no_queue() -> None:
    async with attacked() as attack:
        victim, _ = attack
        for _ in range(COMPLAINTS.burst * 2):
            await (await opened(attack, CONTROL)).write(b"\xff" * 4)
        reported = 0
        with trio.move_on_after(1):
            while reported < 10 * COMPLAINTS.burst:
                await next_of(victim, Misbehaved)
                reported += 1
        assert reported <= COMPLAINTS.burst + 10 * COMPLAINTS.per_second
        await still_serves(victim)


async def test_streams_over_the_budget_are_reset_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Rate(burst=32, per_second=1)  # Fewer than the busiest machine takes.
    monkeypatch.setattr(switchboard, "INBOUND_STREAMS", streams)
    async with attacked() as attack:
        victim, _ = attack
        heard: list[str] = []

        async def listen() -> None:
            heard.append((await next_of(victim, Misbehaved)).reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            while not heard:
                with Contained():  # The stranger's own side may break of what it did: then again.
                    await flood(attack, 4 * streams.burst)
                await trio.sleep(0.5)
        assert "streams" in heard[0]
        await still_serves(victim)


async def flood(attack: Attack, count: int) -> None:
    """Open so many streams without a word on them, and without the stranger's knowing of it."""
    victim, stranger = attack
    await stranger.connect(info_from_p2p_addr(Multiaddr(victim.addresses[0])))
    muxed = next(iter(stranger.get_network().connections.values()))[0].muxed_conn
    numbers = range(10_001, 10_001 + 2 * count, 2)
    opening = (struct.pack("!BBHII", 0, 1, 1, number, 0) for number in numbers)
    await muxed.secured_conn.write(b"".join(opening))


async def test_questions_over_the_budget_at_once_are_reported() -> None:
    async with attacked() as attack:
        victim, _ = attack
        with Contained():
            for _ in range(ANSWERS_PER_PEER_MAX + 1):
                await opened(attack, BLOB)  # Nothing is asked: each waits for its question.
        assert "at once" in (await next_of(victim, Misbehaved)).reason
        await still_serves(victim)


async def test_open_streams_of_one_peer_are_limited() -> None:
    async with attacked() as attack:
        victim, stranger = attack
        for _ in range(STREAMS_PER_PEER_MAX * 2):
            with Contained():
                await opened(attack, MESHSUB)
        connection = next(iter(stranger.get_network().connections.values()))[0]
        await until(lambda: len(connection.muxed_conn.streams) <= STREAMS_PER_PEER_MAX + 16)
        await still_serves(victim)


async def test_a_host_that_offers_plaintext_only_is_refused() -> None:
    key = create_new_key_pair(seed(666))
    plain = new_host(
        key_pair=key,
        sec_opt={TProtocol(PLAINTEXT_PROTOCOL_ID): InsecureTransport(key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
        transports=[TCP()],
    )
    guards.lift_resource_manager(plain)
    async with open_host(HostOptions(seed(1))) as victim, running(plain) as stranger:
        with pytest.raises(Exception, match="unable to connect"):
            await stranger.connect(info_from_p2p_addr(Multiaddr(victim.addresses[0])))
        assert victim.peers() == []


async def test_after_300_inbound_connections_the_next_one_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guards, "UPGRADE_SECONDS", 60.0)  # None of so many may be slow.
    async with (
        open_host(HostOptions(seed(1))) as victim,
        running(guards.secure_host(seed(666), 256)) as stranger,
    ):
        victim.serve(echo)
        info = info_from_p2p_addr(Multiaddr(victim.addresses[0]))
        upgrader = stranger.get_network().upgrader
        doorstep = victim._inside.porter._doorstep
        for _ in range(300):  # There are 256 slots.
            # A slow node that is still busy with many of one address rightly takes no more of it.
            await until(lambda: doorstep.waiting < PENDING_INBOUND_PER_IP_MAX)
            raw = await TCP().dial(info.addrs[0])
            secured = await upgrader.upgrade_security(raw, True, info.peer_id)
            await upgrader.upgrade_connection(secured, info.peer_id)
            await raw.close()
        await still_serves(victim)


class OneByteAtATime:
    async def read(self, _length: int) -> bytes:
        return b"x"


class Ended:
    async def read(self, _length: int) -> bytes:
        return b""


async def test_a_frame_in_many_pieces_is_read_to_its_end() -> None:
    guards.apply_once()
    assert await libp2p.io.msgio.read_exactly(OneByteAtATime(), 500) == b"x" * 500
    with pytest.raises(IncompleteReadError):
        await libp2p.io.msgio.read_exactly(Ended(), 500)


async def test_upstream_still_gives_up_after_a_hundred_pieces() -> None:
    """When this fails, `muxing.patient_reads` may go."""
    with pytest.raises(IncompleteReadError):
        await muxing.UPSTREAM_READ(OneByteAtATime(), 500)


async def test_a_reader_wakes_when_its_own_side_resets_the_stream() -> None:
    async with attacked() as attack:
        stream = await opened(attack, MESHSUB)
        ended = trio.Event()

        async def read() -> None:
            with Contained():
                await stream.read(1)
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(0.05)
            await stream.reset()
            with trio.fail_after(30):
                await ended.wait()


async def test_small_reads_send_no_frames() -> None:
    async with attacked() as attack:
        stream = await opened(attack, BLOB)
        await stream.write(frame(bytes(1000)))
        connection = stream.muxed_conn
        frames: list[bytes] = []
        plain = connection._write_frame

        async def write_frame(data: bytes) -> None:
            if int.from_bytes(data[4:8]) == stream.muxed_stream.stream_id:
                frames.append(data)
            await plain(data)

        connection._write_frame = write_frame
        for _ in range(1004):
            assert len(await stream.read(1)) == 1
        assert frames == []  # Those of other streams may fall in between.


async def test_libp2p_dials_nobody_of_its_own_accord() -> None:
    async with (
        open_host(HostOptions(seed(1))) as heard_of,
        running(guards.secure_host(seed(666), 256)) as host,
    ):
        info = info_from_p2p_addr(Multiaddr(heard_of.addresses[0]))
        host.get_peerstore().add_addrs(info.peer_id, info.addrs, 600)
        await host.get_network().auto_connector.maybe_connect()
        await trio.sleep(0.5)
        assert heard_of.peers() == []


async def test_a_dial_that_succeeds_does_not_wait_for_one_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P5: upstream waits that long after every success; here it would be for ever."""
    monkeypatch.setattr(libp2p.network.swarm, "_HAPPY_EYEBALLS_DELAY", 3_600)
    async with open_host(HostOptions(seed(1))) as one, open_host(HostOptions(seed(2))) as two:
        with trio.fail_after(60):
            assert await two.dial(one.addresses[0]) == one.node_id


async def test_a_node_full_of_weights_still_takes_connections() -> None:
    """P15: upstream counts the memory of the process and of the machine before it accepts."""
    shipped = new_host(key_pair=create_new_key_pair(seed(1)))
    assert shipped.get_network()._resource_manager is not None
    guards.lift_resource_manager(shipped)
    assert shipped.get_network()._resource_manager is None
    assert guards.secure_host(seed(2), 8).get_network()._resource_manager is None


def test_a_message_is_known_by_its_content_whatever_its_number() -> None:
    """G4: numbers begin again after a restart; contents do not."""

    def said(author: bytes, number: bytes, data: bytes) -> bytes:
        return content_id(Message(from_id=author, seqno=number, data=data, topicIDs=["topic"]))

    assert said(b"ann", b"1", b"hello") == said(b"ann", b"2", b"hello")
    others = {
        said(b"bob", b"1", b"hello"),
        said(b"ann", b"1", b"bye"),
        said(b"an", b"1", b"nhello"),
    }
    assert len(others | {said(b"ann", b"1", b"hello")}) == 4
