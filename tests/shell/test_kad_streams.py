"""Kad-DHT on real streams: what a hostile libp2p node sends costs it its stream, nobody else."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import trio
from libp2p.abc import INetStream
from libp2p.host.exceptions import StreamFailure

from dpin.base.crypto import SigningKey
from dpin.base.ids import BlobId, ChainId, NodeId
from dpin.base.units import Instant
from dpin.net.address import PEER_ID_PREFIX
from dpin.net.budget import ANSWERS_PER_PEER_MAX
from dpin.net.contained import Contained
from dpin.net.framing import VarintDecoder, varint_frame
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.kad import FRAMING, ask_providers, kad_protocol
from dpin.net.kadwire import (
    ANSWER_BYTES_MAX,
    QUESTION_BYTES_MAX,
    Contact,
    KadMessage,
    Kind,
    read_message,
    write_message,
)
from dpin.net.keeper import Keeper
from dpin.net.network import Misbehaved, Unreached
from dpin.net.records import blob_key, heard_provider, place
from dpin.net.tally import Tally
from dpin.node.kadcare import KadCare
from dpin.node.kaddoor import Bearings, KadDoor
from dpin.node.reaching import Reaching
from tests.support.hosts import next_of, seed, until
from tests.support.strangers import Attack, attacked, opened, still_serves

CHAIN = ChainId(bytes(range(32)))
PROTOCOL = kad_protocol(CHAIN)
BLOB = BlobId(bytes([7]) * 32)
NOW = Instant(1_700_000_000_000_000)


@dataclass
class Siege:
    """A node that answers Kad-DHT, a bare libp2p host, and what the node blamed it for."""

    attack: Attack
    blamed: list[str]


def bearings_of(host: Host, key: SigningKey, blame: Callable[[NodeId, str], None]) -> Bearings:
    async def reach(addresses: Sequence[str]) -> bool:
        with suppress(Unreached):
            await host.dial(*addresses)
            return True
        return False

    async def dial(_address: str) -> None:
        raise AssertionError("nobody is dialled like that")

    return Bearings(
        host=host,
        key=key,
        chain=CHAIN,
        now=lambda: NOW,
        known=lambda _: (),
        reached=lambda _: "",
        dial=dial,
        reach=reach,
        blame=blame,
    )


@asynccontextmanager
async def besieged() -> AsyncIterator[Siege]:
    blamed: list[str] = []

    def blame(_peer: NodeId, reason: str) -> None:
        blamed.append(reason)

    async with attacked(PROTOCOL) as attack:
        bearings = bearings_of(attack[0], SigningKey(seed(1)), blame)
        KadDoor(bearings, Keeper(bearings.key.node_id, CHAIN, lambda _: ())).serve()
        yield Siege(attack, blamed)


async def read_all(stream: INetStream) -> list[bytes]:
    """Every answer until the stream ends, one way or the other."""
    decoder = VarintDecoder(ANSWER_BYTES_MAX)
    found: list[bytes] = []
    with Contained():
        while data := await stream.read(1 << 16):
            found += decoder.feed(data)
    return found


async def test_one_question_is_answered_on_a_stream_and_then_it_ends() -> None:
    async with besieged() as siege:
        stream = await opened(siege.attack, PROTOCOL)
        await stream.write(2 * varint_frame(ask_providers(BLOB)))
        [told] = await read_all(stream)
        assert read_message(told).kind == Kind.GET_PROVIDERS
        assert siege.blamed == []


async def test_what_is_no_question_is_blamed_and_ends_its_stream() -> None:
    async with besieged() as siege:
        stream = await opened(siege.attack, PROTOCOL)
        await stream.write(varint_frame(b"\xff" * 9))
        assert await read_all(stream) == []
        assert siege.blamed == ["sent what is no message of Kad-DHT"]
        await still_serves(siege.attack[0])


async def test_a_question_that_is_too_long_is_reported_before_it_comes() -> None:
    async with besieged() as siege:
        stream = await opened(siege.attack, PROTOCOL)
        await stream.write(varint_frame(bytes(QUESTION_BYTES_MAX + 1))[:4])
        reason = (await next_of(siege.attack[0], Misbehaved)).reason
        assert f"at most {QUESTION_BYTES_MAX}" in reason
        await still_serves(siege.attack[0])


async def test_silent_streams_of_one_peer_keep_no_other_out() -> None:
    async with besieged() as siege:
        victim = siege.attack[0]
        for _ in range(ANSWERS_PER_PEER_MAX):
            await opened(siege.attack, PROTOCOL)
        with Contained():  # It may be reset before the protocol is agreed on.
            await opened(siege.attack, PROTOCOL)
        assert "at once" in (await next_of(victim, Misbehaved)).reason
        async with open_host(HostOptions(seed(2), kad=PROTOCOL)) as other:
            await other.dial(victim.addresses[0])
            told = await other.request(victim.node_id, ask_providers(BLOB), 10, PROTOCOL)
        assert read_message(told).providers == ()


async def test_the_kad_dht_of_another_network_is_not_spoken() -> None:
    async with besieged() as siege:
        with pytest.raises(StreamFailure):
            await opened(siege.attack, kad_protocol(ChainId(bytes(32))))


async def test_a_lookup_goes_on_to_those_whom_it_is_told_of() -> None:
    """Five hosts in a row: each knows the next one only, and the last one knows of a provider."""
    keys = [SigningKey(seed(number)) for number in range(1, 6)]
    blamed: list[str] = []
    async with AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(open_host(HostOptions(seed(number), kad=PROTOCOL)))
            for number in range(1, 6)
        ]
        where = {host.node_id: tuple(host.addresses) for host in hosts}
        keepers = [Keeper(host.node_id, CHAIN, lambda node: where[node]) for host in hosts]
        doors = []
        for key, host, keeper in zip(keys, hosts, keepers, strict=True):
            bearings = bearings_of(host, key, lambda _, reason: blamed.append(reason))
            doors.append(KadDoor(bearings, keeper))
            doors[-1].serve()
        for keeper, after_it in pairwise(keepers):
            keeper.places[after_it.me] = place(after_it.me)
        keepers[-1].shelf.put(heard_provider(keys[1].node_id, BLOB, (), NOW), NOW)
        await hosts[0].dial(hosts[1].addresses[0])
        [found] = await doors[0].providers(BLOB)
    assert found == Contact(keys[1].node_id, where[keys[1].node_id])
    assert blamed == []


async def test_who_was_reached_once_is_asked_again_without_anybody_between() -> None:
    """Three hosts in a row; the one in the middle goes, the last one is found by the table."""
    keys = [SigningKey(seed(number)) for number in range(1, 4)]
    async with AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(open_host(HostOptions(seed(number), kad=PROTOCOL)))
            for number in range(1, 4)
        ]
        where = {host.node_id: tuple(host.addresses) for host in hosts}
        keepers = [Keeper(host.node_id, CHAIN, lambda node: where[node]) for host in hosts]
        tally = Tally()
        doors = []
        for key, host, keeper in zip(keys, hosts, keepers, strict=True):
            reaching = Reaching(host, tally, lambda: NOW, lambda _: None)
            bearings = replace(
                bearings_of(host, key, lambda *_: None),
                reach=reaching.reach,
                reached=reaching.reached,
            )
            doors.append(KadDoor(bearings, keeper))
            doors[-1].serve()
        first, middle, last = hosts
        for keeper, after_it in pairwise(keepers):
            keeper.places[after_it.me] = place(after_it.me)
        await first.dial(middle.addresses[0])
        await doors[0].explore(PEER_ID_PREFIX + last.node_id)
        assert keepers[0].table.nearest(blob_key(BLOB), 9) == [
            Contact(last.node_id, tuple(last.addresses))
        ]
        await until(lambda: last.node_id not in first.peers())
        keepers[-1].shelf.put(heard_provider(keys[1].node_id, BLOB, (), NOW), NOW)
        first.disconnect(middle.node_id)
        await until(lambda: not first.peers())
        keepers[0].parted(middle.node_id)
        [found] = await doors[0].providers(BLOB)
    assert found.node == keys[1].node_id


async def test_nonsense_in_answer_to_what_is_put_is_blamed_and_ends_nothing() -> None:
    blamed: list[str] = []

    async def loud(_peer: NodeId, question: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        if read_message(question).kind == Kind.FIND_NODE:
            return write_message(KadMessage(Kind.FIND_NODE))
        return bytes(ANSWER_BYTES_MAX + 1)

    async with (
        open_host(HostOptions(seed(1), kad=PROTOCOL)) as host,
        open_host(HostOptions(seed(2), kad=PROTOCOL)) as liar,
    ):
        lax = replace(FRAMING, answer_bytes_max=2 * ANSWER_BYTES_MAX)
        liar._inside.exchanges[PROTOCOL]._framing = lax
        liar.serve(loud, PROTOCOL)
        await host.dial(liar.addresses[0])
        key = SigningKey(seed(1))
        bearings = bearings_of(host, key, lambda _, reason: blamed.append(reason))
        keeper = Keeper(key.node_id, CHAIN, lambda _: ())
        keeper.places[liar.node_id] = place(liar.node_id)
        assert await KadCare(bearings, KadDoor(bearings, keeper), keeper).put_addresses() == 0
        [reason] = blamed
        assert f"at most {ANSWER_BYTES_MAX}" in reason
