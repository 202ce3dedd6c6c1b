"""Lines that people paste."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.errors import Misuse
from dpin.base.ids import Digest, NodeId
from dpin.ledger.genesis import Genesis, chain_id, found
from dpin.ledger.params import DEVELOPMENT
from dpin.node import invite as module
from dpin.node.invite import Card, Invite, read_card, read_invite, write_card, write_invite

ADDRESS = "/ip4/127.0.0.1/tcp/4610/p2p/12D3KooWExample"


def genesis(count: int = 4) -> Genesis:
    members = {NodeId(bytes([index]) * 32): Digest(bytes([99]) * 32) for index in range(count)}
    return found("garden", 1_700_000_000_000, members, DEVELOPMENT)


def packed(data: bytes) -> str:
    return module.INVITE_PREFIX + module._pasted(zlib.compress(data))


@pytest.mark.parametrize("count", [1, 4, 31])
def test_an_invite_says_the_whole_network_and_whom_to_dial(count: int) -> None:
    invite = Invite(genesis(count), (ADDRESS,))
    again = read_invite(f"  {write_invite(invite)}\n")
    assert again == invite
    assert chain_id(again.genesis) == chain_id(invite.genesis)


def test_an_invite_wrapped_by_a_mail_program_is_still_read() -> None:
    text = write_invite(Invite(genesis(), (ADDRESS,)))
    wrapped = "\n".join(text[at : at + 60] for at in range(0, len(text), 60))
    assert read_invite(wrapped).addresses == (ADDRESS,)


@given(st.data())
def test_a_letter_lost_or_changed_is_noticed(data: st.DataObject) -> None:
    text = write_invite(Invite(genesis(), (ADDRESS,)))
    at = data.draw(st.integers(len(module.INVITE_PREFIX), len(text) - 2))
    letter = data.draw(st.sampled_from("abcXYZ019-_"))
    changed = data.draw(st.sampled_from([text[:at], text[:at] + letter + text[at + 1 :]]))
    if changed != text:
        with pytest.raises(Misuse):
            read_invite(changed)


@given(st.text(max_size=80))
def test_nonsense_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(Misuse) as refusal:
        read_invite(text)
    assert "dpin net invite" in refusal.value.fix


def test_an_invite_that_unpacks_without_end_is_refused() -> None:
    with pytest.raises(Misuse, match="too large"):
        read_invite(packed(bytes(module.INVITE_BYTES_MAX + 1)))


def test_an_invite_longer_than_any_is_refused_before_it_is_read() -> None:
    with pytest.raises(Misuse):
        read_invite(module.INVITE_PREFIX + "A" * module.INVITE_CHARS_MAX)


def test_a_genesis_that_nobody_could_have_written_is_refused() -> None:
    four = genesis(4)
    backwards = Genesis(four.name, four.created_ms, four.founders[::-1], four.params)
    with pytest.raises(Misuse, match="net create"):
        read_invite(packed(encode(Invite(backwards, ()))))


def test_addresses_beyond_all_measure_are_refused() -> None:
    with pytest.raises(Misuse, match="addresses"):
        read_invite(write_invite(Invite(genesis(), ("x" * 257,))))
    with pytest.raises(Misuse, match="addresses"):
        read_invite(write_invite(Invite(genesis(), (ADDRESS,) * 17)))


def test_a_card_names_a_validator_and_its_anchor() -> None:
    card = Card(NodeId(b"n" * 32), Digest(b"a" * 32))
    assert write_card(card).startswith("dpinv1:")
    assert read_card(write_card(card)) == card


def test_an_invite_is_not_taken_for_a_card() -> None:
    with pytest.raises(Misuse, match="card"):
        read_card(write_invite(Invite(genesis(), ())))


def test_a_card_with_a_short_key_is_refused() -> None:
    with pytest.raises(Misuse, match="damaged"):
        read_card(write_card(Card(NodeId(b"short"), Digest(b"a" * 32))))
