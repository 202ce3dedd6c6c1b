"""Relays over real sockets: a node that nobody can dial is dialled all the same."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, StopMessage
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID as HOP
from libp2p.relay.circuit_v2.protocol import STOP_PROTOCOL_ID as STOP
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from multiaddr import Multiaddr

from dpin.base.errors import Unavailable
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.net import relay as relaying
from dpin.net.address import peer_text, relay_in
from dpin.net.contained import Contained
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.network import Readdressed
from dpin.net.punch import OBSERVERS_MAX, Observed
from dpin.net.reach import Plan, Way
from tests.support.hosts import next_of, seed, until

EVERYWHERE = ("/ip4/0.0.0.0/tcp/0",)
STAYS = Plan(punch=False)  # so that a relayed connection stays one


@asynccontextmanager
async def three(plan: Plan) -> AsyncIterator[tuple[Host, Host, Host]]:
    """A relay; a host that has a reservation there; and one that knows neither."""
    async with (
        open_host(HostOptions(seed(1), EVERYWHERE, routes=plan)) as relay,
        open_host(HostOptions(seed(2), EVERYWHERE, routes=plan)) as hidden,
        open_host(HostOptions(seed(3), EVERYWHERE, routes=plan)) as other,
    ):
        if not relay.addresses or "/127." in relay.addresses[0]:
            pytest.skip("this machine has no address but loopback")
        relay.routes.prove(True)
        other.routes.prove(True)
        hidden.routes.prove(False)
        await hidden.dial(relay.addresses[0])
        await next_of(hidden, Readdressed)
        yield relay, hidden, other


def relayed(host: Host) -> str:
    return next(address for address in host.addresses if relay_in(address))


async def test_a_node_that_nobody_can_dial_is_dialled_through_a_relay() -> None:
    async with three(STAYS) as (relay, hidden, other):
        assert relay.routes.reach().reservations_given == 1
        assert await other.dial(relayed(hidden)) == hidden.node_id
        assert other.routes.way(hidden.node_id) is Way.RELAYED
        assert other.routes.way(relay.node_id) is Way.DIRECT
        while await next_of(hidden, PeerUp) != PeerUp(other.node_id):
            pass
        assert hidden.routes.way(other.node_id) is Way.RELAYED
        assert other.send(hidden.node_id, b"by way of another")
        assert (await next_of(hidden, Received)).payload == b"by way of another"
        assert relay.routes.reach().circuits_carried == 1
        other.disconnect(hidden.node_id)
        assert await next_of(hidden, PeerDown) == PeerDown(other.node_id)
        await until(lambda: relay.routes.reach().circuits_carried == 0)


async def test_a_relayed_connection_becomes_direct_where_that_is_possible() -> None:
    async with three(Plan()) as (_, hidden, other):
        await other.dial(relayed(hidden))
        await until(lambda: other.routes.way(hidden.node_id) is Way.DIRECT)
        assert other.send(hidden.node_id, b"and on")
        assert (await next_of(hidden, Received)).payload == b"and on"


async def test_two_circuits_of_one_peer_end_each_for_itself() -> None:
    async with (
        three(STAYS) as (relay, hidden, other),
        open_host(HostOptions(seed(4), EVERYWHERE, routes=STAYS)) as second,
    ):
        second.routes.prove(False)
        await second.dial(relay.addresses[0])
        await next_of(second, Readdressed)
        await other.dial(relayed(hidden))
        await other.dial(relayed(second))
        other.disconnect(second.node_id)
        await until(lambda: second.routes.way(other.node_id) is None)
        assert other.send(hidden.node_id, b"still here")
        assert (await next_of(hidden, Received)).payload == b"still here"


async def test_a_relay_takes_nobody_anywhere_without_a_reservation() -> None:
    async with three(STAYS) as (relay, hidden, other):
        stranger = f"{relayed(hidden).rpartition('/')[0]}/{peer_text(other.node_id)}"
        await other.dial(relay.addresses[0])
        with pytest.raises(Unavailable):
            await hidden.dial(stranger)
        assert relay.routes.reach().circuits_carried == 0


async def test_a_node_that_turns_out_to_be_reachable_gives_up_its_relay() -> None:
    async with three(STAYS) as (relay, hidden, _):
        hidden.routes.prove(True)
        assert not any(map(relay_in, (await next_of(hidden, Readdressed)).addresses))
        hidden.routes.prove(False)
        assert any(map(relay_in, (await next_of(hidden, Readdressed)).addresses))
        relay.disconnect(hidden.node_id)
        assert not any(map(relay_in, (await next_of(hidden, Readdressed)).addresses))


async def test_a_reservation_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "RESERVATION_SECONDS", 6)  # Half of it is left for delays.
    monkeypatch.setattr(relaying, "LOOK_SECONDS", 0.2)
    async with three(STAYS) as (_, hidden, other):
        await trio.sleep(6.5)
        await other.dial(relayed(hidden))


async def test_a_peer_cannot_reserve_in_the_name_of_another() -> None:
    async with three(STAYS) as (relay, hidden, other):
        await other.dial(relay.addresses[0])
        libp2p = other.routes._libp2p
        stream = await libp2p.new_stream(relaying.peer_of(relay.node_id), [HOP])
        asked = HopMessage(type=HopMessage.RESERVE)
        asked.peer.id = relaying.peer_of(hidden.node_id).to_bytes()
        await write_delimited_msg(stream, asked)
        await read_delimited_msg(stream, HopMessage)
        held = relay.routes._relays._circuits.resource_manager._reservations
        assert relaying.peer_of(other.node_id) in held


async def test_a_relay_that_was_not_asked_hands_on_nothing() -> None:
    async with three(STAYS) as (_, hidden, other):
        await other.dial(hidden.addresses[0])
        libp2p = other.routes._libp2p
        message = StopMessage(type=StopMessage.CONNECT)
        message.peer.id = bytes(38)
        answers: list[StopMessage] = []
        with Contained():
            stream = await libp2p.new_stream(relaying.peer_of(hidden.node_id), [STOP])
            await write_delimited_msg(stream, message)
            answers.append(await read_delimited_msg(stream, StopMessage))
        assert not answers
        assert hidden.routes.way(other.node_id) is Way.DIRECT


def test_what_peers_say_of_our_address_is_told_to_nobody_but_who_punches() -> None:
    observed = Observed()
    for number in range(2 * OBSERVERS_MAX):
        observed.record_observation(Dialled(), Multiaddr(f"/ip4/11.0.0.{number % 3}/tcp/1"), [])
    assert observed.addrs() == []
    assert sorted(observed.hosts()) == ["11.0.0.0", "11.0.0.1", "11.0.0.2"]


class Dialled:
    """A connection, as far as observations go."""

    direction = "outbound"
