"""The network over real libp2p on loopback: what it promises, and what it survives."""

import threading
from itertools import count

import pytest
import trio

from dpin.base.errors import Misuse, Unavailable
from dpin.base.ids import NodeId
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.net import host as host_module
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.network import ANSWER_BYTES_MAX, GOSSIP_BYTES_MAX, Gossip, Misbehaved
from scripts.soak import Levels
from tests.support.hosts import PATIENCE_SECONDS, next_of, seed, two_hosts, until

TOPIC = "news"


async def test_two_hosts_meet_and_each_says_so_once() -> None:
    async with two_hosts() as (one, two):
        assert one.peers() == [two.node_id]
        assert two.peers() == [one.node_id]
        assert await two.dial(one.addresses[0]) == one.node_id  # Again: nothing happens.
        await trio.sleep(0.1)
        with pytest.raises(trio.WouldBlock):
            one.events.receive_nowait()


async def test_both_may_dial_at_once_and_still_meet_once() -> None:
    async with open_host(HostOptions(seed(1))) as one, open_host(HostOptions(seed(2))) as two:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.dial, two.addresses[0])
            nursery.start_soon(two.dial, one.addresses[0])
        assert await one.events.receive() == PeerUp(two.node_id)
        assert one.send(two.node_id, b"hello")
        assert two.send(one.node_id, b"hello")
        assert await one.events.receive() == Received(two.node_id, b"hello")
        assert await two.events.receive() == PeerUp(one.node_id)
        assert await two.events.receive() == Received(one.node_id, b"hello")


async def test_messages_arrive_in_order_both_ways() -> None:
    async with two_hosts() as (one, two):
        for number in range(200):
            assert one.send(two.node_id, b"%d" % number)
            assert two.send(one.node_id, b"%d" % number)
        for number in range(200):
            assert (await next_of(one, Received)).payload == b"%d" % number
            assert (await next_of(two, Received)).payload == b"%d" % number
        counted = one.traffic()[two.node_id]
        assert counted.control_in == counted.control_out > 200


async def test_a_message_of_the_largest_size_arrives() -> None:
    async with two_hosts() as (one, two):
        large = bytes(1 << 20)
        assert one.send(two.node_id, large)
        assert (await next_of(two, Received)).payload == large


async def test_a_message_to_a_stranger_is_refused() -> None:
    async with open_host(HostOptions(seed(1))) as host:
        assert not host.send(NodeId(bytes(32)), b"anyone?")


async def test_an_announcement_reaches_the_subscriber_with_its_author() -> None:
    async with two_hosts() as (one, two), trio.open_nursery() as nursery:
        await one.subscribe(TOPIC)
        await two.subscribe(TOPIC)
        nursery.start_soon(repeat_announcement, one)
        event = await next_of(two, Gossip)
        nursery.cancel_scope.cancel()
    assert (event.peer, event.topic) == (one.node_id, TOPIC)
    assert [event async for event in one.events if isinstance(event, Gossip)] == []  # Not itself.


async def repeat_announcement(host: Host) -> None:
    """The mesh takes a heartbeat or two to form."""
    for number in count():
        await host.publish(TOPIC, b"%d" % number)


async def test_an_announcement_that_is_too_long_is_misuse() -> None:
    async with open_host(HostOptions(seed(1))) as host:
        with pytest.raises(Misuse, match="at most"):
            await host.publish(TOPIC, bytes(GOSSIP_BYTES_MAX + 1))


async def test_announcements_are_paced() -> None:
    async with open_host(HostOptions(seed(1))) as host:
        began = trio.current_time()
        for number in range(5):
            await host.publish(TOPIC, b"%d" % number)
        assert trio.current_time() - began >= 4 / 10


async def test_announcements_that_would_wait_too_long_are_refused() -> None:
    refused: list[str] = []

    async with open_host(HostOptions(seed(1))) as host, trio.open_nursery() as nursery:

        async def announce(number: int) -> None:
            try:
                await host.publish(TOPIC, b"%d" % number)
            except Unavailable as error:
                refused.append(str(error))

        for number in range(130):  # Twice as many: the first have their turns meanwhile.
            nursery.start_soon(announce, number)
        await until(lambda: bool(refused))
        nursery.cancel_scope.cancel()
    assert len(refused) <= 130 - 64
    assert all("too many announcements" in reason for reason in refused)


async def test_a_question_gets_the_answer_of_the_handler() -> None:
    async with two_hosts() as (one, two):

        async def answer(peer: NodeId, question: bytes) -> bytes:
            assert peer == two.node_id
            return question * ((1 << 20) // len(question))

        one.serve(answer)
        assert await two.request(one.node_id, b"abcd", PATIENCE_SECONDS) == b"abcd" * (1 << 18)
        counted = two.traffic()[one.node_id]
        assert (counted.blob_out, counted.blob_in) == (4, 1 << 20)


async def test_many_questions_at_once_are_all_answered() -> None:
    async with two_hosts() as (one, two):
        answers: list[bytes] = []

        async def answer(_peer: NodeId, question: bytes) -> bytes:
            await trio.sleep(0.01)
            return question

        async def ask(number: int) -> None:
            answers.append(await two.request(one.node_id, b"%d" % number, PATIENCE_SECONDS))

        one.serve(answer)
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(ask, number)
        assert sorted(answers) == sorted(b"%d" % number for number in range(60))


async def test_a_handler_that_raises_costs_its_question_and_nothing_else() -> None:
    async with two_hosts() as (one, two):

        async def fail(_peer: NodeId, question: bytes) -> bytes:
            if question == b"raise":
                raise RuntimeError("a bug of ours")
            return question

        one.serve(fail)
        with pytest.raises(Unavailable):
            await two.request(one.node_id, b"raise", PATIENCE_SECONDS)
        assert await two.request(one.node_id, b"fine", PATIENCE_SECONDS) == b"fine"
        assert list(one.errors) == ["RuntimeError: a bug of ours"]


async def test_a_question_that_nobody_answers_ends_in_time_and_breaks_nothing() -> None:
    async with two_hosts() as (one, two):

        async def sleep(_peer: NodeId, question: bytes) -> bytes:
            if question == b"sleep":
                await trio.sleep(3600)
            return question

        one.serve(sleep)
        with pytest.raises(Unavailable, match="in time"):
            await two.request(one.node_id, b"sleep", 0.2)
        assert await two.request(one.node_id, b"fine", PATIENCE_SECONDS) == b"fine"


async def test_a_question_to_nobody_is_unavailable() -> None:
    async with open_host(HostOptions(seed(1))) as host:
        with pytest.raises(Unavailable, match="not connected"):
            await host.request(NodeId(bytes(32)), b"anyone?", 5)


async def test_an_answer_above_the_limit_never_leaves() -> None:
    async with two_hosts() as (one, two):

        async def answer(_peer: NodeId, _question: bytes) -> bytes:
            return bytes(ANSWER_BYTES_MAX + 1)

        one.serve(answer)
        with pytest.raises(Unavailable):
            await two.request(one.node_id, b"?", PATIENCE_SECONDS)
        assert one.peers() == [two.node_id]


async def test_a_peer_that_goes_away_is_announced_and_may_come_back() -> None:
    async with open_host(HostOptions(seed(1))) as one:
        for _ in range(3):
            async with open_host(HostOptions(seed(2))) as two:
                await two.dial(one.addresses[0])
                assert await next_of(one, PeerUp) == PeerUp(two.node_id)
                assert two.send(one.node_id, b"here I am")
                assert (await next_of(one, Received)).payload == b"here I am"
            assert await next_of(one, PeerDown) == PeerDown(two.node_id)
            assert one.peers() == []


async def test_a_dropped_peer_may_be_dialled_again() -> None:
    async with two_hosts() as (one, two):
        one.disconnect(two.node_id)
        assert await next_of(one, PeerDown) == PeerDown(two.node_id)
        assert await next_of(two, PeerDown) == PeerDown(one.node_id)
        assert not one.send(two.node_id, b"gone")
        await one.dial(two.addresses[0])
        await next_of(two, PeerUp)
        assert one.send(two.node_id, b"back")
        assert (await next_of(two, Received)).payload == b"back"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/ip4/127.0.0.1/tcp/1", "not the address"),
        ("nonsense", "not the address"),
        ("/ip4/127.0.0.1/udp/1/quic-v1/p2p/PEER", "not the address"),
        ("/ip4/127.0.0.1/tcp/1/p2p/PEER", "nobody listens there"),
    ],
)
async def test_a_failed_dial_says_why(address: str, reason: str) -> None:
    async with open_host(HostOptions(seed(2))) as other:
        peer = other.addresses[0].rpartition("/")[2]
    async with open_host(HostOptions(seed(1))) as host:
        for _ in range(2):  # P10: the second time is not refused for having failed before.
            with pytest.raises(Unavailable, match=reason):
                await host.dial(address.replace("PEER", peer))
        with pytest.raises(Unavailable, match="of this node"):
            await host.dial(host.addresses[0])


async def test_another_node_at_the_address_is_told_apart() -> None:
    async with two_hosts() as (one, two), open_host(HostOptions(seed(3))) as three:
        there, _, _ = one.addresses[0].rpartition("/")
        wrong = f"{there}/{two.addresses[0].rpartition('/')[2]}"
        with pytest.raises(Unavailable, match="another node"):
            await three.dial(wrong)


async def test_a_port_in_use_is_said_at_once() -> None:
    async with open_host(HostOptions(seed(1))) as host:
        taken = host.addresses[0].partition("/p2p")[0]
        with pytest.raises(Unavailable, match="in use"):
            async with open_host(HostOptions(seed(2), (taken,))):
                pass


async def test_a_closed_host_frees_its_port() -> None:
    async with open_host(HostOptions(seed(1))) as host:
        taken = host.addresses[0].partition("/p2p")[0]
    async with open_host(HostOptions(seed(1), (taken,))) as again:
        assert again.addresses == host.addresses


async def test_a_host_that_has_no_time_to_close_in_order_leaves_no_listener_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on an overloaded machine: three tasks and a descriptor stayed, and the port was taken."""
    monkeypatch.setattr(host_module, "CLOSE_SECONDS", 0.0)
    before = Levels()
    async with open_host(HostOptions(seed(1))) as host, open_host(HostOptions(seed(2))) as other:
        await other.dial(host.addresses[0])
        taken = host.addresses[0].partition("/p2p")[0]
    await until(lambda: Levels().tasks == before.tasks)
    await until(lambda: Levels().descriptors == before.descriptors)
    async with open_host(HostOptions(seed(1), (taken,))) as again:
        assert again.addresses == host.addresses


async def test_a_closed_host_leaves_no_thread_behind() -> None:
    """P22: upstream leaves one for each Pubsub."""
    before = {thread.name for thread in threading.enumerate()}
    for _ in range(3):
        async with open_host(HostOptions(seed(1))):
            pass
    await until(
        lambda: (
            not any(
                "_background_cleanup" in thread.name and thread.name not in before
                for thread in threading.enumerate()
            )
        )
    )


async def test_an_address_that_the_machine_lacks_is_said_at_once() -> None:
    with pytest.raises(Unavailable, match="cannot listen"):
        async with open_host(HostOptions(seed(1), ("/ip4/192.0.2.1/tcp/0",))):
            pass


async def test_the_end_of_a_host_is_the_end_of_its_events() -> None:
    async with open_host(HostOptions(seed(1))) as host:
        pass
    with pytest.raises(trio.EndOfChannel):
        await host.events.receive()
    with pytest.raises(Unavailable):
        await host.request(NodeId(bytes(32)), b"", 1)


async def test_a_node_that_takes_no_events_loses_messages_but_not_its_memory_or_its_peer() -> None:
    async with two_hosts() as (one, two):
        with trio.move_on_after(PATIENCE_SECONDS):
            while not one.dropped() or not two.dropped():
                one.send(two.node_id, bytes(60_000))
                await trio.sleep(0.001)
        assert one.dropped() > 0
        assert two.dropped() > 0
        await until(lambda: one.send(two.node_id, b"the last"))
        while (await next_of(two, Received)).payload != b"the last":
            pass


async def test_nobody_is_blamed_for_an_honest_life() -> None:
    async with two_hosts() as (one, two):
        await one.subscribe(TOPIC)
        one.send(two.node_id, b"hello")
        two.disconnect(one.node_id)
        await next_of(one, PeerDown)
        for host in (one, two):
            with trio.move_on_after(0.2) as waiting:
                await next_of(host, Misbehaved)
            assert waiting.cancelled_caught
            assert list(host.errors) == []
