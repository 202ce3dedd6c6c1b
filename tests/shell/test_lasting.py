"""The network ends inside of a running node: it comes back in place, and nothing else is lost."""

from itertools import count
from pathlib import Path

import pytest
import trio

from dpin.base.crypto import SigningKey
from dpin.base.errors import Unavailable
from dpin.base.ids import NodeId
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.lasting import LastingHost, open_lasting
from dpin.net.network import Event, Gossip
from dpin.node.control import TransferRequest
from tests.support.hosts import PATIENCE_SECONDS, next_of, seed, until
from tests.support.running import held_back, kill, lasting, occupied, running_node

TOPIC = "news"


async def heard(network: LastingHost, kind: type[Event]) -> Event:
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            event = await network.events.receive()
            if isinstance(event, kind):
                return event


async def test_a_host_that_dies_is_opened_again_at_the_same_address() -> None:
    reasons: list[str] = []
    async with (
        open_lasting(HostOptions(seed(1)), reasons.append) as one,
        open_host(HostOptions(seed(2))) as two,
    ):
        where = one.addresses
        await one.dial(two.addresses[0])
        assert await heard(one, PeerUp) == PeerUp(two.node_id)
        kill(one)
        assert await heard(one, PeerDown) == PeerDown(two.node_id)
        await next_of(two, PeerDown)
        await until(lambda: one.restarts == 1)
        assert (one.addresses, one.is_open, one.peers()) == (where, True, [])
        await two.dial(where[0])
        assert await heard(one, PeerUp) == PeerUp(two.node_id)
        assert one.send(two.node_id, b"still here")
        assert (await next_of(two, Received)).payload == b"still here"
    assert reasons == ["ArithmeticError: a task inside of libp2p failed"]


async def test_topics_handler_and_counters_outlive_the_host() -> None:
    async def answer(_peer: NodeId, question: bytes) -> bytes:
        return question[::-1]

    async with open_lasting(HostOptions(seed(1))) as one, open_host(HostOptions(seed(2))) as two:
        one.serve(answer)
        await one.subscribe(TOPIC)
        await two.subscribe(TOPIC)
        await two.dial(one.addresses[0])
        await heard(one, PeerUp)
        assert await two.request(one.node_id, b"abc", PATIENCE_SECONDS) == b"cba"
        counted = one.traffic()[two.node_id].blob_in
        kill(one)
        await heard(one, PeerDown)
        await until(lambda: one.restarts == 1)
        await next_of(two, PeerDown)
        await two.dial(one.addresses[0])
        assert await two.request(one.node_id, b"abc", PATIENCE_SECONDS) == b"cba"
        assert one.traffic()[two.node_id].blob_in == 2 * counted
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_announce_for_ever, two)
                event = await heard(one, Gossip)
                nursery.cancel_scope.cancel()
        assert isinstance(event, Gossip)
        assert (event.peer, event.topic, event.payload[:3]) == (two.node_id, TOPIC, b"new")


async def _announce_for_ever(host: Host) -> None:
    """The mesh takes its time: as presence does, say it again, and never the same."""
    for times in count():
        await host.publish(TOPIC, b"new %d" % times)
        await trio.sleep(0.3)


async def test_while_the_network_is_not_open_everything_says_so_and_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_lasting(HostOptions(seed(1))) as one:
        held_back(monkeypatch)
        kill(one)
        await one.host.stopping.wait()
        assert not one.is_open
        assert (one.peers(), one.send(NodeId(seed(2)), b"lost")) == ([], False)
        await one.publish(TOPIC, b"lost")
        one.disconnect(NodeId(seed(2)))
        with pytest.raises(Unavailable, match="opened again"):
            await one.dial(one.addresses[0])
        with pytest.raises(Unavailable):
            await one.request(NodeId(seed(2)), b"?", 5)


async def test_a_taken_port_is_tried_again_until_it_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_lasting(HostOptions(seed(1))) as one:
        port = int(one.addresses[0].split("/")[4])
        fixed = HostOptions(seed(1), listen=(f"/ip4/127.0.0.1/tcp/{port}",))
        one.options = fixed
        gate = held_back(monkeypatch)
        kill(one)
        async with occupied(port):
            gate.set()
            await until(lambda: f"port {port} is in use" in one.problem)
        await until(lambda: one.restarts == 1)
        assert one.addresses[0].split("/")[4] == str(port)


async def test_a_running_node_outlives_its_host_with_its_ledger(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        host = lasting(node)
        to = SigningKey(b"\xab" * 32).node_id.hex()
        first = await node.transfer(TransferRequest(to=to, amount="1"))
        kill(host)
        await until(lambda: host.restarts == 1)
        second = await node.transfer(TransferRequest(to=to, amount="2"))
        assert second.height > first.height
        assert node.account(to).free == 3_000_000
        assert node.node().addresses == host.addresses
