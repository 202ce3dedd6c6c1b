"""Who we know is bounded, who proved itself is kept, who misbehaves stays away for a while."""

import pytest

from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.units import Instant, after
from dpin.net.peers import (
    ADDRESS_BYTES_MAX,
    ADDRESSES_PER_PEER_MAX,
    BAN_LASTS,
    BANS_MAX,
    BLAME_FADES,
    BLAMES_TO_BAN,
    KNOWN_MAX,
    REMEMBERED_MAX,
    Memory,
    Peers,
    Remembered,
)

NOW = Instant(10**15)


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


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
    peers.proved(node(0), NOW, "/good")
    for number in range(1, KNOWN_MAX + 10):
        assert peers.learn(node(number), "/said")
    assert len(peers.nodes()) == KNOWN_MAX
    assert peers.nodes()[0] == node(0)
    full = Peers()
    for number in range(KNOWN_MAX):
        full.proved(node(number), Instant(NOW + number), "/good")
    assert not full.learn(node(KNOWN_MAX), "/said")
    full.proved(node(KNOWN_MAX), NOW, "/here")  # Who answers pushes out the oldest.
    assert full.addresses(node(0)) == ()
    assert full.addresses(node(KNOWN_MAX)) == ("/here",)


def test_blame_adds_up_to_a_ban_that_ends() -> None:
    peers = Peers()
    assert [peers.blame(node(1), NOW) for _ in range(BLAMES_TO_BAN)][-2:] == [False, True]
    assert peers.banned(node(1), NOW)
    assert not peers.banned(node(2), NOW)
    assert not peers.banned(node(1), after(NOW, BAN_LASTS))


def test_old_blame_fades() -> None:
    peers = Peers()
    for number in range(10 * BLAMES_TO_BAN):
        assert not peers.blame(node(1), Instant(NOW + number * BLAME_FADES))


def test_bans_and_blames_are_bounded() -> None:
    peers = Peers()
    for number in range(BANS_MAX + 5):
        peers.ban(node(number), Instant(NOW + number), BAN_LASTS)
        peers.blame(node(number), Instant(NOW + number))
    assert not peers.banned(node(0), Instant(NOW + BANS_MAX))
    assert peers.banned(node(BANS_MAX + 4), Instant(NOW + BANS_MAX + 4))


def test_the_last_good_peers_are_remembered_and_recalled() -> None:
    peers = Peers()
    for number in range(REMEMBERED_MAX + 10):
        peers.proved(node(number), Instant(NOW + number), f"/{number}")
    peers.learn(node(999), "/never seen")
    again = Peers()
    again.recall(peers.remembered())
    assert again.nodes() == [node(n) for n in range(REMEMBERED_MAX + 9, 9, -1)]
    assert again.addresses(node(20)) == ("/20",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        encode(Memory(2, ())),
        encode(Memory(1, (Remembered(b"short", (), 1),))),
        encode(Memory(1, (Remembered(bytes(32), (), -1),))),
        encode(Memory(1, (Remembered(bytes(32), (), 1),) * (REMEMBERED_MAX + 1))),
    ],
)
def test_a_damaged_memory_is_refused_whole(data: bytes) -> None:
    peers = Peers()
    with pytest.raises(PeerFault):
        peers.recall(data)
    assert peers.nodes() == []
