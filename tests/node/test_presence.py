"""Announcements: whose they are, of which network, and how long they may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId
from dpin.net.envelope import Signed
from dpin.node.presence import (
    ADDRESSES_MAX,
    NAME_CHARS_MAX,
    PRESENCE_BYTES_MAX,
    RATE_MAX,
    Presence,
    announce,
    heard,
    topic_of,
)

KEY = SigningKey(digest("test/key", b"a"))
OTHER_KEY = SigningKey(digest("test/key", b"b"))
CHAIN, OTHER_CHAIN = ChainId(digest("test/net", b"a")), ChainId(digest("test/net", b"b"))
HERE = Presence("anna", "1.0", ("/ip4/127.0.0.1/tcp/4001/p2p/x",), 1)


def test_an_announcement_is_heard_with_its_author() -> None:
    assert heard(CHAIN, announce(KEY, CHAIN, HERE)) == (KEY.node_id, HERE)


def test_an_announcement_of_another_network_is_refused() -> None:
    with pytest.raises(PeerFault):
        heard(OTHER_CHAIN, announce(KEY, CHAIN, HERE))


def test_an_announcement_in_anothers_name_is_refused() -> None:
    signed = decode(Signed, announce(KEY, CHAIN, HERE))
    forged = Signed(OTHER_KEY.node_id, signed.body, signed.signature)
    with pytest.raises(PeerFault):
        heard(CHAIN, encode(forged))


def test_an_announcement_that_was_changed_is_refused() -> None:
    signed = decode(Signed, announce(KEY, CHAIN, HERE))
    body = encode(Presence("eve", "1.0", (), 1))
    with pytest.raises(PeerFault):
        heard(CHAIN, encode(Signed(signed.signer, body, signed.signature)))


@pytest.mark.parametrize(
    "presence",
    [
        Presence("x" * (NAME_CHARS_MAX + 1), "1.0", (), 1),
        Presence("anna", "1.0", ("/a",) * (ADDRESSES_MAX + 1), 1),
        Presence("anna", "x" * PRESENCE_BYTES_MAX, (), 1),
        Presence("anna", "1.0", (), 1, up=-1),
        Presence("anna", "1.0", (), 1, down=RATE_MAX + 1),
    ],
)
def test_an_announcement_that_says_too_much_is_refused(presence: Presence) -> None:
    with pytest.raises(PeerFault):
        heard(CHAIN, announce(KEY, CHAIN, presence))


@given(st.binary(max_size=PRESENCE_BYTES_MAX + 8))
def test_garbage_is_a_fault_of_the_peer_and_nothing_else(data: bytes) -> None:
    with pytest.raises(PeerFault):
        heard(CHAIN, data)


def test_each_network_has_a_topic_of_its_own() -> None:
    assert topic_of(CHAIN) != topic_of(OTHER_CHAIN)
