"""The fake keeps the promises of the real network, for hundreds of nodes at once."""

from itertools import pairwise

import pytest
import trio

from dpin.base.errors import Unavailable
from dpin.base.ids import NodeId
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.net.fake import FakeHost, open_world
from dpin.net.network import Gossip, Network


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


pytestmark = pytest.mark.usefixtures("autojump_clock")


async def echo(_peer: NodeId, question: bytes) -> bytes:
    return question


async def test_the_fake_is_a_network() -> None:
    kind: type[Network] = FakeHost
    assert kind is FakeHost
    await trio.lowlevel.checkpoint()


async def test_two_nodes_meet_speak_and_part() -> None:
    async with open_world() as world:
        one, two = world.join(node(1)), world.join(node(2))
        assert await one.dial(two.addresses[0]) == node(2)
        await two.dial(one.addresses[0])
        for number in range(50):
            assert one.send(node(2), b"%d" % number)
        assert await two.events.receive() == PeerUp(node(1))
        for number in range(50):
            assert await two.events.receive() == Received(node(1), b"%d" % number)
        one.disconnect(node(2))
        assert await two.events.receive() == PeerDown(node(1))
        assert not one.send(node(2), b"gone")


async def test_questions_are_answered_by_the_living_only() -> None:
    async with open_world() as world:
        one, two = world.join(node(1)), world.join(node(2))
        two.serve(echo)
        with pytest.raises(Unavailable):
            await one.request(node(2), b"?", 1)
        await one.dial(two.addresses[0])
        assert await one.request(node(2), b"?", 1) == b"?"
        assert one.traffic()[node(2)].blob_in == 1
        world.leave(node(2))
        with pytest.raises(Unavailable):
            await one.request(node(2), b"?", 1)
        with pytest.raises(Unavailable):
            await one.dial(two.addresses[0])


async def test_a_cut_line_parts_and_can_be_healed() -> None:
    async with open_world() as world:
        one, two = world.join(node(1)), world.join(node(2))
        await one.dial(two.addresses[0])
        world.cut(node(1), node(2))
        with pytest.raises(Unavailable):
            await one.dial(two.addresses[0])
        world.heal(node(1), node(2))
        await one.dial(two.addresses[0])
        assert one.peers() == [node(2)]


async def test_an_announcement_reaches_hundreds_through_others() -> None:
    async with open_world() as world:
        hosts = [world.join(node(number)) for number in range(200)]
        for host, following in pairwise(hosts):
            await host.dial(following.addresses[0])
            await following.subscribe("news")
        await hosts[0].publish("news", b"hello")
        for host in hosts[1:]:
            while not isinstance(event := await host.events.receive(), Gossip):
                pass
            assert event == Gossip(node(0), "news", b"hello")


async def test_the_end_of_a_node_is_the_end_of_its_events() -> None:
    async with open_world() as world:
        one = world.join(node(1))
        world.leave(node(1))
        with pytest.raises(trio.EndOfChannel):
            await one.events.receive()
