"""Where nodes answer and who has a blob, among nodes of a fake network."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock
from typing_extensions import override

from dpin.base.chance import Chance
from dpin.base.crypto import SigningKey
from dpin.base.ids import BlobId, ChainId, NodeId
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.base.units import MICROS_PER_SECOND, Instant
from dpin.net.address import peer_text
from dpin.net.budget import DIRECTORY_DIALS
from dpin.net.fake import FakeHost, FakeWorld, _Observer, open_world
from dpin.net.kad import kad_protocol
from dpin.net.kadwire import Contact, KadMessage, Kind, Value, read_message, write_message
from dpin.net.lookup import DIALS_MAX
from dpin.net.network import Unreached
from dpin.net.records import (
    address_name,
    blob_key,
    blob_name,
    distance,
    node_key,
    write_addresses,
)
from dpin.node.kadcare import (
    EXPLORE_FIRST_SECONDS,
    EXPLORE_OFTEN_SECONDS,
    PUT_FIRST_SECONDS,
    PUT_PAUSE_SECONDS,
)
from dpin.node.kaddoor import GUESTS_MAX, LOOKUP_SECONDS, REPLICAS, Bearings
from dpin.node.whereabouts import FIRST_SECONDS, SEEK_FAR_SECONDS, SEEK_SECONDS, Whereabouts

CHAIN = ChainId(bytes(32))
BLOB = BlobId(bytes([7]) * 32)
KEYS = [SigningKey(number.to_bytes(32)) for number in range(1, 7)]
STRANGER, ABSENT = SigningKey(bytes([8]) * 32), SigningKey(bytes([9]) * 32)
PROTOCOL = kad_protocol(CHAIN)


def now() -> Instant:
    return Instant(1_700_000_000_000_000 + int(trio.current_time() * MICROS_PER_SECOND) % 10**12)


class Node:
    """One host, its whereabouts, and what it was blamed for."""

    def __init__(
        self, world: FakeWorld, key: SigningKey, nursery: trio.Nursery, *, tells: bool = True
    ) -> None:
        self.host: FakeHost = world.join(key.node_id)
        self.blamed: list[str] = []
        self.reached: list[str] = []  # dialled by lookups
        self.proved: dict[NodeId, str] = {}
        bearings = Bearings(
            host=self.host,
            key=key,
            chain=CHAIN,
            now=now,
            known=lambda node: tuple(world.nodes[node].addresses) if node in world.nodes else (),
            reached=lambda node: self.proved.get(node, ""),
            dial=self._dial,
            reach=self._reach,
            blame=lambda _, reason: self.blamed.append(reason),
        )
        self.whereabouts = Whereabouts(bearings, nursery)
        if tells:
            self.whereabouts.start()
        else:
            self.whereabouts._kad.serve()
        nursery.start_soon(self._listen)

    async def _dial(self, address: str) -> None:
        await self.host.dial(address)

    async def _reach(self, addresses: Sequence[str]) -> bool:
        self.reached.append(addresses[0])
        try:
            node = await self.host.dial(*addresses)
        except Unreached:
            return False
        self.proved[node] = addresses[0]
        return True

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


class Stock:
    """A libp2p node that knows nothing of dpin but Kad-DHT."""

    def __init__(self, world: FakeWorld, key: SigningKey) -> None:
        self.key = key
        self.host = world.join(key.node_id)

    async def say(self, peer: Node, message: KadMessage) -> KadMessage:
        question = write_message(message)
        return read_message(await self.host.request(peer.host.node_id, question, 5, PROTOCOL))

    async def provide(self, peer: Node) -> None:
        said = Contact(self.key.node_id, (self.host.addresses[0],))
        await self.say(peer, KadMessage(Kind.ADD_PROVIDER, blob_name(BLOB), providers=(said,)))

    def answer_with(self, told: bytes) -> None:
        async def handler(_peer: NodeId, _question: bytes) -> bytes:
            await trio.lowlevel.checkpoint()
            return told

        self.host.serve(handler, PROTOCOL)


async def test_a_provider_that_spoke_kad_dht_elsewhere_is_found_and_dialled(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with street() as nodes:
        stock = Stock(nodes[0].host._world, STRANGER)
        await stock.host.dial(nodes[0].host.addresses[0])
        await stock.provide(nodes[0])
        stock.host.disconnect(nodes[0].host.node_id)
        assert await nodes[5].whereabouts.sources(BLOB) == (STRANGER.node_id,)


async def test_a_record_that_only_a_stock_node_has_is_found_there(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with street() as nodes:
        stock = Stock(nodes[0].host._world, STRANGER)
        where = f"/ip4/11.0.0.1/tcp/1/p2p/{peer_text(ABSENT.node_id)}"
        record = write_addresses(ABSENT, CHAIN, (where,), now())
        name = address_name(ABSENT.node_id)
        value = Value(name, record.raw)
        stock.answer_with(write_message(KadMessage(Kind.GET_VALUE, name, value)))
        assert await nodes[5].whereabouts.addresses(ABSENT.node_id) == ()
        await nodes[5].host.dial(stock.host.addresses[0])
        assert await nodes[5].whereabouts.addresses(ABSENT.node_id) == (where,)


async def test_a_stock_node_that_lies_is_blamed_and_not_believed(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with street() as nodes:
        stock = Stock(nodes[0].host._world, STRANGER)
        record = write_addresses(STRANGER, CHAIN, (stock.host.addresses[0],), now())
        name = address_name(ABSENT.node_id)
        value = Value(name, record.raw)
        stock.answer_with(write_message(KadMessage(Kind.GET_VALUE, name, value)))
        await nodes[5].host.dial(stock.host.addresses[0])
        assert await nodes[5].whereabouts.addresses(ABSENT.node_id) == ()
        assert nodes[5].blamed == ["told of another key than was asked for"]
        nodes[5].blamed.clear()


async def test_a_node_that_signed_nothing_is_found_where_others_say(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with street() as nodes:
        stock = Stock(nodes[0].host._world, STRANGER)
        where = f"/ip4/11.0.0.1/tcp/1/p2p/{peer_text(ABSENT.node_id)}"
        named = (Contact(ABSENT.node_id, (where,)),)
        stock.answer_with(write_message(KadMessage(Kind.GET_VALUE, b"x", closer=named)))
        await nodes[5].host.dial(stock.host.addresses[0])
        assert await nodes[5].whereabouts.addresses(ABSENT.node_id) == (where,)


class Afar(_Observer):
    """All peers are seen at a public address."""

    @override
    def seen_at(self, peer: NodeId) -> str:
        del peer
        return "11.0.0.9"


async def test_nobody_far_away_names_private_places(autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with street() as nodes:
        stock = Stock(nodes[0].host._world, STRANGER)
        places = ("127.0.0.1", "10.0.0.1", "11.0.0.1")
        where = [f"/ip4/{ip}/tcp/1/p2p/{peer_text(ABSENT.node_id)}" for ip in places]
        named = (Contact(ABSENT.node_id, tuple(where)),)
        stock.answer_with(write_message(KadMessage(Kind.GET_VALUE, b"x", closer=named)))
        await nodes[5].host.dial(stock.host.addresses[0])
        await trio.sleep(1)
        await nodes[5].whereabouts._kad.providers(BLOB)
        assert nodes[5].reached == where[:1]
        nodes[5].host.observer = Afar(nodes[5].host)
        await nodes[5].whereabouts._kad.providers(BLOB)
        assert nodes[5].reached == [where[0], where[2]]


@asynccontextmanager
async def country(many: int) -> AsyncIterator[list[Node]]:
    """Nodes that are each connected to about eight others, drawn at random."""
    keys = [SigningKey(number.to_bytes(32)) for number in range(1, many + 1)]
    chance = Chance(b"country")
    async with open_world() as world, trio.open_nursery() as nursery:
        nodes = [Node(world, key, nursery, tells=False) for key in keys]
        for node in nodes:
            for other in chance.chosen(nodes, 4):
                if other is not node:
                    await node.host.dial(other.host.addresses[0])
        await trio.sleep(1)
        yield nodes
        nursery.cancel_scope.cancel()


async def test_among_hundreds_of_nodes_a_provider_is_found_far_from_who_asks(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with country(200) as nodes:
        stock = Stock(nodes[0].host._world, STRANGER)
        near = sorted(nodes, key=lambda node: distance(blob_key(BLOB), node.host.node_id))[:5]
        for node in near:
            await stock.host.dial(node.host.addresses[0])
            await stock.provide(node)
            stock.host.disconnect(node.host.node_id)
        holders = {node.host.node_id for node in near}
        askers = [node for node in nodes if not holders & set(node.host.peers())][::40]
        assert len(askers) > 2
        for asker in askers:
            assert await asker.whereabouts.sources(BLOB) == (STRANGER.node_id,)
            assert len(asker.reached) <= DIALS_MAX
        assert any(asker.reached for asker in askers)
        assert not any(node.blamed for node in nodes)


async def test_for_a_missing_peer_others_are_dialled_rarely(autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with country(100) as nodes:
        asker, dialled = nodes[0], list[int]()
        for pause in (0, SEEK_SECONDS, SEEK_FAR_SECONDS):
            await trio.sleep(pause + 1)
            assert await asker.whereabouts.seek(ABSENT.node_id) == ()
            dialled.append(len(asker.reached))
        assert 0 < dialled[0] == dialled[1] < dialled[2]


async def test_connections_that_lookups_opened_do_not_grow_in_number(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with country(150) as nodes:
        asker = nodes[0]
        before = len(asker.host.peers())
        for number in range(8):
            await asker.whereabouts._kad.providers(BlobId(bytes([number]) * 32))
            await trio.sleep(60)
        assert len(asker.reached) > GUESTS_MAX
        assert len(asker.host.peers()) <= before + GUESTS_MAX


async def test_dials_to_those_whom_others_name_have_a_budget(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with country(150) as nodes:
        began = trio.current_time()
        for number in range(8):
            await nodes[0].whereabouts._kad.providers(BlobId(bytes([number]) * 32))
        seconds = trio.current_time() - began
        assert len(nodes[0].reached) <= DIRECTORY_DIALS.burst + seconds * DIRECTORY_DIALS.per_second


async def test_what_a_node_puts_by_kad_dht_is_with_the_nearest_and_found_from_anywhere(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with country(80) as nodes:
        giver = nodes[0]
        giver.whereabouts.care.provide(BLOB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(giver.whereabouts.care.publish)
            await trio.sleep(PUT_FIRST_SECONDS + PUT_PAUSE_SECONDS + LOOKUP_SECONDS)
            nursery.cancel_scope.cancel()
        me = giver.host.node_id
        for key in (node_key(me), blob_key(BLOB)):
            others = [node for node in nodes if node is not giver]
            near = sorted(others, key=lambda node, key=key: distance(key, node.host.node_id))[:5]  # type: ignore[misc]
            kept = [node.whereabouts.directory.shelf.get(key, now()) for node in near]
            assert sum(bool(records) for records in kept) >= REPLICAS - 1
        for asker in nodes[10::30]:
            assert await asker.whereabouts._kad.addresses(me) == (giver.host.addresses[0],)
            assert me in [contact.node for contact in await asker.whereabouts._kad.providers(BLOB)]
        assert not any(node.blamed for node in nodes)


async def test_looking_around_fills_the_table_and_keeps_no_connections(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with country(80) as nodes:
        node = nodes[0]
        before, table = set(node.host.peers()), node.whereabouts.directory.keeper.table
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.whereabouts.care.explore)
            await trio.sleep(EXPLORE_FIRST_SECONDS + 8 * EXPLORE_OFTEN_SECONDS)
            nursery.cancel_scope.cancel()
        await trio.sleep(1)
        assert set(node.host.peers()) == before
        inside = {contact.node for contact in table.nearest(node_key(STRANGER.node_id), 100)}
        assert len(inside - before) > len(before)
        assert inside <= set(node.proved)


async def test_who_is_in_the_table_and_gone_is_dropped_when_it_is_dialled(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with country(60) as nodes:
        node = nodes[0]
        table = node.whereabouts.directory.keeper.table
        await node.whereabouts._kad.explore(table.name_to_ask(Chance(b"")))
        await trio.sleep(60)  # for the budget of dials
        key = node_key(STRANGER.node_id)
        inside = [one for one in table.nearest(key, 60) if one.node not in node.host.peers()]
        assert inside
        for contact in inside[:3]:
            node.host._world.cut(node.host.node_id, contact.node)
        await node.whereabouts._kad.addresses(STRANGER.node_id)
        left = {contact.node for contact in table.nearest(key, 60)}
        assert not left & {contact.node for contact in inside[:3]}
