"""The gossip mesh over real libp2p: each announcement once, and peers that do not play fair."""

from contextlib import suppress

import pytest
import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.pubsub.pb.rpc_pb2 import RPC, ControlMessage, Message

from dpin.net.budget import GIVEN_AGAIN_MAX, MEETINGS_PER_PEER_MAX
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.mesh import (
    MESHSUB,
    TOPIC_BYTES_MAX,
    Frames,
    Mesh,
    Speaker,
    content_id,
    framed,
)
from dpin.net.network import Event, Gossip, Misbehaved
from tests.support.hosts import next_of, seed, until
from tests.support.strangers import attacked, opened, still_serves

TOPIC = "news"


def speaker(host: Host) -> Speaker:
    found = host._inside.observer._pubsub
    assert isinstance(found, Speaker)
    return found


def mesh(host: Host) -> Mesh:
    return speaker(host)._mesh


def unsigned(author: IHost, number: int) -> Message:
    return Message(
        from_id=author.get_id().to_bytes(),
        seqno=number.to_bytes(8),
        data=b"%d" % number,
        topicIDs=[TOPIC],
        signature=bytes(64),
    )


def left(host: Host) -> list[Event]:
    """Events that nobody has taken."""
    found: list[Event] = []
    with suppress(trio.WouldBlock):
        while True:
            found.append(host.events.receive_nowait())
    return found


async def say(stream: INetStream, rpc: RPC) -> None:
    await stream.write(framed(rpc.SerializeToString()))


async def test_an_announcement_comes_once_over_several_nodes() -> None:
    async with (
        open_host(HostOptions(seed(1))) as one,
        open_host(HostOptions(seed(2))) as two,
        open_host(HostOptions(seed(3))) as three,
        open_host(HostOptions(seed(4))) as four,
    ):
        hosts = [one, two, three, four]
        for host in hosts:
            await host.subscribe(TOPIC)
        for dialler, at in ((one, two), (two, three), (three, four), (four, one), (one, three)):
            await dialler.dial(at.addresses[0])
        await until(lambda: all(len(mesh(host).mesh[TOPIC]) >= 2 for host in hosts))
        for number in range(4):
            await hosts[number].publish(TOPIC, b"%d" % number)
        for host in hosts:
            heard = [(await next_of(host, Gossip)).payload for _ in range(3)]
            assert len(set(heard)) == 3
        await trio.sleep(0.2)
        assert not [event for host in hosts for event in left(host) if isinstance(event, Gossip)]


async def test_who_brings_unsigned_announcements_is_blamed_and_then_not_heard() -> None:
    async with attacked() as attack:
        victim, stranger = attack
        await victim.subscribe(TOPIC)
        stream = await opened(attack, MESHSUB)

        def dropped() -> tuple[int, int]:
            told = victim.observer.dropped()
            return told["gossip-invalid"], told["gossip-greylisted"]

        await say(stream, RPC(publish=[unsigned(stranger, number) for number in range(12)]))
        assert "did not sign" in (await next_of(victim, Misbehaved)).reason
        await until(lambda: sum(dropped()) == 12)
        invalid, greylisted = dropped()
        assert invalid < 12
        await say(stream, RPC(publish=[unsigned(stranger, 99)]))
        await until(lambda: dropped() == (invalid, greylisted + 1))
        await still_serves(victim)


async def test_an_announcement_is_not_given_for_ever_to_who_asks_again_and_again() -> None:
    async with attacked() as attack:
        victim, stranger = attack
        given: list[Message] = []

        async def listen(stream: INetStream) -> None:
            frames = Frames()
            while data := await stream.read(1 << 16):
                for raw in frames.feed(data):
                    given.extend(RPC.FromString(raw).publish)

        stranger.set_stream_handler(TProtocol(MESHSUB), listen)
        await victim.subscribe(TOPIC)
        await victim.publish(TOPIC, b"x" * 1000)
        message = next(iter(mesh(victim).mcache.msgs.values()))
        stream = await opened(attack, MESHSUB)
        ask = ControlMessage()
        ask.iwant.add(messageIDs=[content_id(message)] * 100)
        await until(lambda: stranger.get_id() in speaker(victim).peer_queues)
        for _ in range(GIVEN_AGAIN_MAX + 3):
            await say(stream, RPC(control=ask))
        await until(lambda: len(given) >= 1)
        await trio.sleep(0.2)
        assert len(given) <= 2 * GIVEN_AGAIN_MAX  # A heartbeat may have come between.


async def test_what_is_said_of_unknown_topics_leaves_nothing_behind() -> None:
    async with attacked() as attack:
        victim, _ = attack
        await victim.subscribe(TOPIC)
        stream = await opened(attack, MESHSUB)
        said = ControlMessage()
        for number in range(500):
            said.prune.add(topicID=f"topic {number}", backoff=1 << 40)
            said.graft.add(topicID=f"topic {number}")
            said.ihave.add(topicID=f"topic {number}", messageIDs=[bytes(32)])
        said.prune.add(topicID=TOPIC, backoff=60)
        await say(stream, RPC(control=said))
        await until(lambda: TOPIC in mesh(victim).back_off)
        assert list(mesh(victim).back_off) == [TOPIC]
        assert all(set(topics) <= {TOPIC} for topics in mesh(victim).ihave_message_limits.values())
        await still_serves(victim)


async def test_names_of_topics_that_a_peer_subscribes_to_take_little_room() -> None:
    async with attacked() as attack:
        victim, stranger = attack
        await victim.subscribe(TOPIC)
        stream = await opened(attack, MESHSUB)
        for number in range(8):
            long = f"{number} " + "x" * TOPIC_BYTES_MAX * 100
            await say(stream, RPC(subscriptions=[RPC.SubOpts(subscribe=True, topicid=long)]))
        short = [RPC.SubOpts(subscribe=True, topicid=f"topic {one}") for one in range(500)]
        await say(stream, RPC(subscriptions=[*short[:1], *short]))
        known = speaker(victim).peer_topics
        await until(lambda: "topic 0" in known)
        await still_serves(victim)
        theirs = [topic for topic, peers in known.items() if stranger.get_id() in peers]
        assert 1 < len(theirs) <= 100
        assert max(map(len, theirs)) <= TOPIC_BYTES_MAX


async def test_a_peer_below_zero_leaves_the_mesh_and_its_turn_comes_again() -> None:
    async with open_host(HostOptions(seed(1))) as one, open_host(HostOptions(seed(2))) as two:
        for host in (one, two):
            await host.subscribe(TOPIC)
        await two.dial(one.addresses[0])
        other = speaker(two).my_id
        await until(lambda: other in mesh(one).mesh[TOPIC])
        for _ in range(3):
            mesh(one).scores.faulted(other, TOPIC)
        await until(lambda: other not in mesh(one).mesh[TOPIC])
        assert other in mesh(one).back_off[TOPIC]
        await until(lambda: speaker(one).my_id not in mesh(two).mesh[TOPIC])


async def test_a_peer_that_comes_again_and_again_is_met_by_a_few_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_host(HostOptions(seed(1))) as host, trio.open_nursery() as nursery:
        pubsub, peer, tried = speaker(host), speaker(host).my_id, list[ID]()

        async def fail(who: ID) -> None:
            tried.append(who)
            raise SwarmException("its connections end before a stream stands")

        monkeypatch.setattr(pubsub, "_handle_new_peer", fail)
        monkeypatch.setattr(pubsub, "_peer_is_connected", lambda _: True)
        for _ in range(5 * MEETINGS_PER_PEER_MAX):
            nursery.start_soon(pubsub._handle_new_peer_with_retry, peer)
        await until(lambda: len(tried) > MEETINGS_PER_PEER_MAX)
        assert len(nursery.child_tasks) == MEETINGS_PER_PEER_MAX
        nursery.cancel_scope.cancel()
    assert not pubsub._meetings
