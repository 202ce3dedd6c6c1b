"""Kad-DHT on real streams: what a hostile libp2p node sends costs it its stream, nobody else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from libp2p.abc import INetStream
from libp2p.host.exceptions import StreamFailure

from dpin.base.crypto import SigningKey
from dpin.base.ids import BlobId, ChainId, NodeId
from dpin.base.units import Instant
from dpin.net.budget import ANSWERS_PER_PEER_MAX
from dpin.net.contained import Contained
from dpin.net.framing import VarintDecoder, varint_frame
from dpin.net.host import HostOptions, open_host
from dpin.net.kad import ask_providers, kad_protocol
from dpin.net.kadwire import ANSWER_BYTES_MAX, QUESTION_BYTES_MAX, Kind, read_message
from dpin.net.keeper import Keeper
from dpin.net.network import Misbehaved
from dpin.node.kaddoor import Bearings, KadDoor
from tests.support.hosts import next_of, seed
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


@asynccontextmanager
async def besieged() -> AsyncIterator[Siege]:
    blamed: list[str] = []

    async def dial(_address: str) -> None:
        raise AssertionError("nobody is dialled")

    def blame(_peer: NodeId, reason: str) -> None:
        blamed.append(reason)

    async with attacked(PROTOCOL) as attack:
        key = SigningKey(seed(1))
        bearings = Bearings(
            host=attack[0],
            key=key,
            chain=CHAIN,
            now=lambda: NOW,
            known=lambda _: (),
            dial=dial,
            blame=blame,
        )
        KadDoor(bearings, Keeper(key.node_id, CHAIN, lambda _: ())).serve()
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
