"""Where nodes answer and who has a blob, among nodes of a fake network."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from dpin.base.crypto import SigningKey
from dpin.base.ids import BlobId, ChainId, NodeId
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.base.units import MICROS_PER_SECOND, Instant
from dpin.net.fake import FakeHost, FakeWorld, open_world
from dpin.node.kaddoor import Bearings
from dpin.node.whereabouts import FIRST_SECONDS, Whereabouts

CHAIN = ChainId(bytes(32))
BLOB = BlobId(bytes([7]) * 32)
KEYS = [SigningKey(number.to_bytes(32)) for number in range(1, 7)]


def now() -> Instant:
    return Instant(1_700_000_000_000_000 + int(trio.current_time() * MICROS_PER_SECOND) % 10**12)


class Node:
    """One host, its whereabouts, and what it was blamed for."""

    def __init__(self, world: FakeWorld, key: SigningKey, nursery: trio.Nursery) -> None:
        self.host: FakeHost = world.join(key.node_id)
        self.blamed: list[str] = []
        bearings = Bearings(
            host=self.host,
            key=key,
            chain=CHAIN,
            now=now,
            known=lambda _: (),
            dial=self._dial,
            blame=lambda _, reason: self.blamed.append(reason),
        )
        self.whereabouts = Whereabouts(bearings, nursery)
        self.whereabouts.start()
        nursery.start_soon(self._listen)

    async def _dial(self, address: str) -> None:
        await self.host.dial(address)

    async def _listen(self) -> None:
        while True:
            event = await self.host.events.receive()
            if isinstance(event, PeerUp | PeerDown | Received):
                self.whereabouts.takes(event)


@asynccontextmanager
async def street() -> AsyncIterator[list[Node]]:
    """Six nodes; all know the first two."""
    async with open_world() as world, trio.open_nursery() as nursery:
        nodes = [Node(world, key, nursery) for key in KEYS]
        for node in nodes[1:]:
            await node.host.dial(nodes[0].host.addresses[0])
        for node in nodes[2:]:
            await node.host.dial(nodes[1].host.addresses[0])
        await trio.sleep(3 * FIRST_SECONDS)
        yield nodes
        assert not any(node.blamed for node in nodes)
        nursery.cancel_scope.cancel()


async def test_where_a_node_answers_is_found_by_those_who_never_met_it(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with street() as nodes:
        assert await nodes[5].whereabouts.addresses(KEYS[2].node_id) == (
            nodes[2].host.addresses[0],
        )
        assert await nodes[5].whereabouts.addresses(NodeId(bytes(32))) == ()


async def test_a_node_that_moved_is_found_where_it_is_now(autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with street() as nodes:
        moved = nodes[2].host.addresses[0].replace("/tcp/1/", "/tcp/2/")
        nodes[2].host.addresses[:] = [moved]
        nodes[2].whereabouts.moved()
        await trio.sleep(2 * FIRST_SECONDS)
        assert await nodes[5].whereabouts.seek(KEYS[2].node_id) == (moved,)
        assert await nodes[5].whereabouts.seek(KEYS[2].node_id) == ()  # Asked just now.


async def test_who_has_a_blob_is_found_and_dialled(autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with street() as nodes:
        nodes[2].whereabouts.provide(BLOB)
        nodes[3].whereabouts.provide(BLOB)
        await trio.sleep(1)
        assert set(await nodes[5].whereabouts.sources(BLOB)) == {
            KEYS[2].node_id,
            KEYS[3].node_id,
        }
        assert KEYS[2].node_id in nodes[5].host.peers()
