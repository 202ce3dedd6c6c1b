"""A ticket opens one socket, soon, for the peer it was given to."""

from hashlib import sha256
from hmac import digest

import pytest

from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.units import Instant, after
from dpin.net.tickets import LIFE, TICKETS_MAX, TICKETS_PER_PEER_MAX, Keys, Tickets, keys_of

ALICE, BOB = NodeId(b"a" * 32), NodeId(b"b" * 32)
KEYS = Keys(b"1" * 32, b"2" * 32)
NOW = Instant(1_000_000)


def test_a_ticket_is_of_use_once() -> None:
    tickets = Tickets()
    assert tickets.give(b"t" * 16, ALICE, KEYS, NOW)
    given = tickets.take(b"t" * 16, NOW)
    assert given is not None
    assert (given.peer, given.keys) == (ALICE, KEYS)
    assert tickets.take(b"t" * 16, NOW) is None


def test_a_ticket_expires() -> None:
    tickets = Tickets()
    assert tickets.give(b"t" * 16, ALICE, KEYS, NOW)
    assert tickets.take(b"t" * 16, after(NOW, LIFE)) is None
    assert tickets.out(after(NOW, LIFE)) == 0


def test_a_peer_and_all_peers_have_so_many_and_no_more() -> None:
    tickets = Tickets()
    own = [tickets.give(bytes([n]) * 16, ALICE, KEYS, NOW) for n in range(6)]
    assert own == [True] * TICKETS_PER_PEER_MAX + [False] * 2
    for number in range(TICKETS_MAX):
        tickets.give(b"%016d" % number, NodeId(number.to_bytes(32)), KEYS, NOW)
    assert tickets.out(NOW) == TICKETS_MAX
    assert not tickets.give(b"x" * 16, BOB, KEYS, NOW)
    assert tickets.give(b"x" * 16, BOB, KEYS, after(NOW, LIFE))


def test_every_share_and_both_names_make_the_keys() -> None:
    ticket, secret, salt = b"t" * 16, b"s" * 32, b"n" * 32
    keys = keys_of(ticket, secret, salt, ALICE, BOB)
    assert keys.of_dialler != keys.of_listener
    others = [
        keys_of(b"T" * 16, secret, salt, ALICE, BOB),
        keys_of(ticket, b"S" * 32, salt, ALICE, BOB),
        keys_of(ticket, secret, b"N" * 32, ALICE, BOB),
        keys_of(ticket, secret, salt, BOB, ALICE),
    ]
    assert len({keys, *others}) == 5
    with pytest.raises(PeerFault):
        keys_of(ticket, b"", salt, ALICE, BOB)


def test_the_keys_are_those_of_hkdf() -> None:
    """By hand (RFC 5869): extract, then two blocks of expand."""
    ticket, secret, salt = b"t" * 16, b"s" * 32, b"n" * 32
    info = b"dpin/bulk/v1" + ticket + ALICE + BOB
    extracted = digest(salt, secret, sha256)
    first = digest(extracted, info + b"\x01", sha256)
    second = digest(extracted, first + info + b"\x02", sha256)
    assert keys_of(ticket, secret, salt, ALICE, BOB) == Keys(first, second)
