"""The directory among fake peers: what is kept is found, what is false is not; all is bounded."""

from collections import deque
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId, ChainId, NodeId
from dpin.base.machine import Blame, PeerUp, Received, Send, Tick
from dpin.base.units import Instant, after, seconds
from dpin.net.address import peer_text
from dpin.net.directory import (
    PATIENCE,
    REPLICAS,
    Announce,
    Announced,
    Approach,
    Directory,
    Effect,
    Event,
    Find,
    Found,
    Put,
    Seek,
    Told,
)
from dpin.net.records import (
    LIFE_MILLIS,
    Record,
    blob_key,
    distance,
    node_key,
    read_record,
    write_addresses,
    write_provider,
)
from dpin.net.shelf import PER_KEY_MAX, PER_SIGNER_MAX, Shelf

NOW = Instant(1_700_000_000_000_000)
CHAIN = ChainId(bytes(32))
BLOB = BlobId(bytes([7]) * 32)
KEYS = [SigningKey(number.to_bytes(32)) for number in range(1, 25)]


def address(node: NodeId, port: int = 1) -> str:
    return f"/ip4/11.0.0.1/tcp/{port}/p2p/{peer_text(node)}"


def own(key: SigningKey, now: Instant = NOW, port: int = 1) -> Record:
    return write_addresses(key, CHAIN, (address(key.node_id, port),), now)


def test_what_a_signer_keeps_is_what_others_read() -> None:
    """Whoever signs a record does not check its own signature, so this does."""
    for record in (own(KEYS[0]), write_provider(KEYS[0], CHAIN, BLOB, NOW)):
        assert read_record(CHAIN, record.raw) == record


class Town:
    """Directories and the messages between those that are connected."""

    def __init__(self, edges: Sequence[tuple[int, int]]) -> None:
        self.nodes = {key.node_id: self._directory(key) for key in KEYS}
        self.ended: dict[NodeId, list[Effect]] = {key.node_id: [] for key in KEYS}
        self.under_way: deque[tuple[NodeId, Event]] = deque()
        self.sent = 0
        for one, other in edges:
            self.connect(KEYS[one].node_id, KEYS[other].node_id)

    def _directory(self, key: SigningKey) -> Directory:
        return Directory(key.node_id, CHAIN, lambda node: (address(node),))

    def connect(self, one: NodeId, other: NodeId) -> None:
        self.under_way += [(one, PeerUp(other)), (other, PeerUp(one))]

    def run(self, node: NodeId, event: Event, now: Instant = NOW) -> list[Effect]:
        """One event at a node, and all that follows from it; what ended there."""
        self.under_way.append((node, event))
        while self.under_way:
            at, happening = self.under_way.popleft()
            for effect in self.nodes[at].step(happening, now):
                self._perform(at, effect)
        ended, self.ended[node] = self.ended[node], []
        return ended

    def _perform(self, at: NodeId, effect: Effect) -> None:
        match effect:
            case Send(peer, payload):
                self.sent += 1
                self.under_way.append((peer, Received(at, payload)))
            case Approach(text):
                node = next(node for node in self.nodes if address(node) == text)
                self.connect(at, node)
            case Announced() | Found() | Blame():
                self.ended[at].append(effect)
            case _:
                pass


ALL = [(one, other) for one in range(24) for other in range(one)]
RING = [(number, (number + step) % 24) for number in range(24) for step in (1, 5)]


def found(town: Town, asker: int, of: int) -> tuple[Record, ...]:
    ended = town.run(KEYS[asker].node_id, Find(node_key(KEYS[of].node_id)))
    assert isinstance(ended[-1], Found)
    return ended[-1].records


def test_whatever_is_announced_is_found_by_all_in_one_hop() -> None:
    town = Town(ALL)
    for key in KEYS:
        assert town.run(key.node_id, Announce(own(key))) == [
            Announced(own(key).key, REPLICAS),
        ]
    for asker in range(24):
        for of in range(24):
            assert [record.signer for record in found(town, asker, of)] == [KEYS[of].node_id]


def test_a_record_is_found_beyond_those_whom_one_is_connected_to() -> None:
    town = Town(RING)
    for key in KEYS:
        town.run(key.node_id, Announce(own(key)))
    hits = sum(len(found(town, asker, of)) for asker in range(24) for of in range(24))
    assert hits >= 0.9 * 24 * 24


def test_of_two_records_of_a_node_the_later_one_is_found() -> None:
    town = Town(ALL)
    later = after(NOW, seconds(60))
    town.run(KEYS[0].node_id, Announce(own(KEYS[0])))
    town.run(KEYS[0].node_id, Announce(own(KEYS[0], later, port=2)), later)
    assert found(town, 9, 0)[0].addresses == (address(KEYS[0].node_id, 2),)
    town.run(KEYS[0].node_id, Announce(own(KEYS[0])), later)
    assert found(town, 9, 0)[0].addresses == (address(KEYS[0].node_id, 2),)


def test_the_providers_of_a_blob_are_found_together() -> None:
    town = Town(ALL)
    for key in KEYS[:4]:
        town.run(key.node_id, Announce(write_provider(key, CHAIN, BLOB, NOW)))
    ended = town.run(KEYS[9].node_id, Find(blob_key(BLOB)))
    assert isinstance(ended[-1], Found)
    assert {record.signer for record in ended[-1].records} == {k.node_id for k in KEYS[:4]}


def test_a_question_ends_where_nobody_answers() -> None:
    lonely = Directory(KEYS[0].node_id, CHAIN, lambda _: ())
    key = node_key(KEYS[1].node_id)
    assert Found(key, ()) in lonely.step(Find(key), NOW)
    lonely.step(PeerUp(KEYS[2].node_id), NOW)
    assert not any(isinstance(effect, Found) for effect in lonely.step(Find(key), NOW))
    assert lonely.step(Tick(), after(NOW, PATIENCE)) == [Found(key, ())]


def test_who_never_answers_is_not_waited_for_again_until_it_speaks() -> None:
    stock = KEYS[2].node_id
    node = Directory(KEYS[0].node_id, CHAIN, lambda _: ())
    key = node_key(KEYS[1].node_id)
    node.step(PeerUp(stock), NOW)
    node.step(Find(key), NOW)
    late = after(NOW, PATIENCE)
    assert node.step(Tick(), late) == [Found(key, ())]
    assert Found(key, ()) in node.step(Find(key), late)
    node.step(Received(stock, encode(Seek(1, key))), late)
    assert Found(key, ()) not in node.step(Find(key), late)
    node.step(Tick(), after(late, PATIENCE))
    assert Found(key, ()) not in node.step(Find(key), late)


def test_what_nobody_asked_for_is_not_taken() -> None:
    node = Directory(KEYS[0].node_id, CHAIN, lambda _: ())
    told = encode(Told(0, (own(KEYS[1]).raw,), ()))
    assert node.step(Received(KEYS[2].node_id, told), NOW) == []


def test_a_peer_that_hands_on_what_its_signer_did_not_say_is_blamed() -> None:
    node = Directory(KEYS[0].node_id, CHAIN, lambda _: ())
    raw = own(KEYS[1]).raw
    forged = encode(Put(0, (raw[:-1] + bytes([raw[-1] ^ 1]),)))
    effects = node.step(Received(KEYS[2].node_id, forged), NOW)
    assert [type(effect) for effect in effects] == [Blame]


@given(st.binary(max_size=200))
def test_no_bytes_raise_or_are_kept(payload: bytes) -> None:
    node = Directory(KEYS[0].node_id, CHAIN, lambda _: ())
    node.step(Received(KEYS[2].node_id, payload), NOW)
    assert len(node.shelf) == 0


def test_records_of_anothers_addresses_or_of_another_network_are_refused() -> None:
    with pytest.raises(PeerFault, match="not its signer's"):
        write_addresses(KEYS[0], CHAIN, (address(KEYS[1].node_id),), NOW)
    with pytest.raises(PeerFault, match="not the signer's"):
        read_record(ChainId(bytes([1]) * 32), own(KEYS[0]).raw)


def test_a_record_from_the_future_is_not_kept_and_nobody_is_blamed_for_a_clock() -> None:
    node = Directory(KEYS[0].node_id, CHAIN, lambda _: ())
    ahead = own(KEYS[2], after(NOW, seconds(86_400)))
    effects = node.step(Received(KEYS[2].node_id, encode(Put(1, (ahead.raw,)))), NOW)
    assert [type(effect) for effect in effects] == [Send]
    assert len(node.shelf) == 0


def test_a_record_that_has_expired_is_neither_kept_nor_found() -> None:
    shelf = Shelf(KEYS[0].node_id)
    record = own(KEYS[1])
    assert shelf.put(record, NOW)
    late = after(NOW, seconds(LIFE_MILLIS // 1000))
    assert shelf.get(record.key, late) == []
    assert not shelf.put(record, late)
    assert len(shelf) == 0


def test_one_signer_and_one_key_fill_little() -> None:
    shelf = Shelf(KEYS[0].node_id)
    for number in range(PER_SIGNER_MAX + 10):
        blob = BlobId(number.to_bytes(32))
        shelf.put(write_provider(KEYS[1], CHAIN, blob, NOW), NOW)
    assert len(shelf) == PER_SIGNER_MAX
    for number in range(PER_KEY_MAX + 4):
        key = SigningKey((100 + number).to_bytes(32))
        later = after(NOW, seconds(number))
        assert shelf.put(write_provider(key, CHAIN, BLOB, later), later)
    assert len(shelf.get(blob_key(BLOB), NOW)) == PER_KEY_MAX


def test_a_full_shelf_keeps_what_is_nearest() -> None:
    me = KEYS[0].node_id
    shelf = Shelf(me, records_max=8)
    records = [own(SigningKey((200 + number).to_bytes(32))) for number in range(40)]
    for record in records:
        shelf.put(record, NOW)
    nearest = sorted(records, key=lambda record: distance(record.key, me))[:8]
    assert all(shelf.get(record.key, NOW) for record in nearest)
    assert len(shelf) == 8
