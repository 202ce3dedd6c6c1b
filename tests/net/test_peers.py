"""Who we know is bounded, who proved itself is kept, and no group of addresses fills the table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.units import Instant
from dpin.net.address import peer_text
from dpin.net.bans import Ban, Bans
from dpin.net.memory import ANCHORS_MAX, REMEMBERED_MAX, Memory, Remembered, read, recall, written
from dpin.net.peers import (
    ADDRESS_BYTES_MAX,
    ADDRESSES_PER_PEER_MAX,
    KNOWN_MAX,
    NEAR,
    NEAR_MAX,
    PROVED_PER_GROUP_MAX,
    STRANGERS_PER_GROUP_MAX,
    STRANGERS_PER_IP_MAX,
    Peers,
    Word,
    group_in,
)

NOW = Instant(10**15)


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


def at(number: int, group: int = 0) -> str:
    """An address of its own, in a group of one's choice."""
    return f"/ip4/{11 + group // 256}.{group % 256}.{number // 256 % 256}.{number % 256}/tcp/1"


def groups_of(peers: Peers) -> list[str]:
    return [known.group for n in peers.nodes() if (known := peers.of(n)) is not None]


def test_the_last_good_addresses_of_a_peer_are_kept_the_proven_one_first() -> None:
    peers = Peers()
    for number in range(ADDRESSES_PER_PEER_MAX + 2):
        assert peers.learn(node(1), f"/{number}")
    assert peers.addresses(node(1)) == ("/5", "/4", "/3", "/2")
    peers.proved(node(1), NOW, "/3")
    assert peers.addresses(node(1)) == ("/3", "/5", "/4", "/2")
    assert peers.addresses(node(2)) == ()


def test_an_address_too_long_is_not_learnt() -> None:
    assert not Peers().learn(node(1), "/" * (ADDRESS_BYTES_MAX + 1))


def test_hearsay_pushes_out_hearsay_and_never_a_peer_that_answered() -> None:
    peers = Peers()
    peers.proved(node(0), NOW, at(0))
    for number in range(1, KNOWN_MAX + 10):
        assert peers.learn(node(number), at(1, number))
    assert len(peers.nodes()) == KNOWN_MAX
    assert peers.nodes()[0] == node(0)
    full = Peers()
    for number in range(KNOWN_MAX):
        full.proved(node(number), Instant(NOW + number), at(1, number))
    assert not full.learn(node(KNOWN_MAX), at(2, 7))
    full.proved(node(KNOWN_MAX), NOW, at(2, 7))  # Who answers pushes out the oldest.
    assert full.addresses(node(0)) == ()
    assert full.addresses(node(KNOWN_MAX)) == (at(2, 7),)


def test_a_group_has_few_places_for_strangers_and_churns_only_itself() -> None:
    peers = Peers()
    peers.learn(node(1), at(1, 1))
    for number in range(2, 300):
        peers.learn(node(number), at(number, 2))
    assert groups_of(peers).count("11.2.0.0/16") == STRANGERS_PER_GROUP_MAX
    assert peers.addresses(node(1)) == (at(1, 1),)
    assert peers.addresses(node(299)) == (at(299, 2),)


def test_one_ip_has_few_places_for_strangers() -> None:
    peers = Peers()
    learnt = [peers.learn(node(n), at(1, 1)) for n in range(STRANGERS_PER_IP_MAX + 1)]
    assert learnt == [True] * STRANGERS_PER_IP_MAX + [False]


def test_private_networks_are_one_group_with_more_room() -> None:
    assert {group_in(f"/ip4/10.{n}.0.1/tcp/1") for n in range(3)} == {NEAR}
    peers = Peers()
    for number in range(NEAR_MAX + 5):
        peers.learn(node(number), f"/ip4/10.{number % 256}.0.{number // 256}/tcp/1")
    assert len(peers.nodes()) == NEAR_MAX


def test_a_group_has_few_places_for_those_that_answered() -> None:
    peers = Peers()
    for number in range(PROVED_PER_GROUP_MAX + 5):
        peers.proved(node(number), Instant(NOW + number), at(number, 1))
    assert len(peers.nodes()) == PROVED_PER_GROUP_MAX
    assert peers.addresses(node(0)) == ()


def test_who_comes_in_stays_a_stranger_until_a_dial_of_ours_is_answered() -> None:
    peers = Peers()
    peers.learn(node(1), at(1))
    peers.proved(node(1), NOW)
    assert peers.strangers() == [node(1)]
    peers.proved(node(1), NOW, at(1))
    assert peers.strangers() == []


def test_groups_without_a_connection_of_ours_come_first_then_who_answered() -> None:
    peers = Peers(b"salt")
    for number in range(6):
        peers.learn(node(number), at(number, number // 3))
    peers.proved(node(1), NOW, at(1, 0))
    peers.proved(node(4), NOW, at(4, 1))
    order = peers.in_turn([node(0)])
    assert order[0] == node(4)
    assert set(order[:3]) == {node(3), node(4), node(5)}
    assert order[3] == node(1)
    assert Peers(b"salt").in_turn([]) == []


def test_the_lot_differs_from_node_to_node() -> None:
    orders = set()
    for salt in range(20):
        peers = Peers(bytes((salt,)))
        for number in range(6):
            peers.learn(node(number), at(number, 1))
        orders.add(tuple(peers.in_turn([])))
    assert len(orders) > 10


def test_a_record_stands_above_hearsay_and_a_newer_one_above_an_older() -> None:
    key = SigningKey(bytes(32))
    one, two = (f"{at(n)}/p2p/{peer_text(key.node_id)}" for n in (1, 2))
    peers = Peers()
    peers.learn(key.node_id, "/hearsay")
    old, new = Word(key.node_id, (one,), 1, b""), Word(key.node_id, (two,), 2, b"")
    assert peers.take_word(new)
    assert not peers.take_word(old)
    assert not peers.take_word(new)
    assert peers.addresses(key.node_id) == (two,)
    peers.learn(key.node_id, "/hearsay")
    assert peers.addresses(key.node_id) == (two, "/hearsay")


def memory_of(peers: Peers, *anchors: NodeId) -> Memory:
    return read(written(peers, Bans(), anchors))


def test_good_peers_and_anchors_are_remembered_and_recalled() -> None:
    peers = Peers()
    for number in range(REMEMBERED_MAX + 10):
        peers.proved(node(number), Instant(NOW + number), at(number, number))
    peers.learn(node(999), at(9, 999))
    again = Peers()
    memory = memory_of(peers, node(3), node(4))
    assert recall(memory, again, Bans()) == [node(4), node(3)]
    assert set(again.nodes()) == {node(3), node(4), *map(node, range(12, REMEMBERED_MAX + 10))}
    assert again.addresses(node(20)) == (at(20, 20),)
    assert again.strangers() == []


def test_anchors_are_few() -> None:
    peers = Peers()
    for number in range(9):
        peers.proved(node(number), NOW, at(number, number))
    assert sum(peer.anchor for peer in memory_of(peers, *map(node, range(9))).peers) == ANCHORS_MAX


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        encode(Memory(1, (), ())),
        encode(Memory(2, (Remembered(b"short", (), 1, 0, False),), ())),
        encode(Memory(2, (Remembered(bytes(32), (), -1, 0, False),), ())),
        encode(Memory(2, (Remembered(bytes(32), (), 1, 0, True),) * (REMEMBERED_MAX + 1), ())),
        encode(Memory(2, (), (Ban("nobody", 1, 1, "", ""),))),
    ],
)
def test_a_damaged_memory_is_refused_whole(data: bytes) -> None:
    with pytest.raises(PeerFault):
        read(data)


learnings = st.tuples(st.integers(0, 40), st.integers(0, 5), st.booleans())


@given(st.lists(learnings, max_size=60))
def test_no_history_goes_over_a_limit(history: list[tuple[int, int, bool]]) -> None:
    peers = Peers()
    for number, group, proves in history:
        if proves:
            peers.proved(node(number), NOW, at(number, group))
        else:
            peers.learn(node(number), at(number, group))
    assert len(peers.nodes()) <= KNOWN_MAX
    assert sorted(peers.in_turn([])) == sorted(peers.nodes())
    assert all(len(peers.addresses(n)) <= ADDRESSES_PER_PEER_MAX for n in peers.nodes())
