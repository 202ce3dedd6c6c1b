"""Which blocks are valid, and that nothing but header, committee and body decides it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.base.merkle import EMPTY_ROOT
from dpin.ledger.blocks import (
    Header,
    Reference,
    Rules,
    check_block,
    payload_root,
    read_block,
    sign_block,
)
from dpin.ledger.checkpoint import CheckpointSignature, CommitteeRecord, Member
from dpin.ledger.committee import committee_of, first_committee
from dpin.ledger.genesis import chain_id
from tests.support.cluster import key, network
from tests.support.forge import genesis_blocks

GENESIS, KEYS = network(4)
CHAIN = chain_id(GENESIS)
RULES = Rules(CHAIN, first_committee(GENESIS, CHAIN), GENESIS.params.consensus)
ROUND_0 = [block.reference for block in genesis_blocks(GENESIS, CHAIN)]
BODY = (b"one", b"two", b"three")


def signed(sequence: int) -> CheckpointSignature:
    """A signature whose form is right."""
    return CheckpointSignature(sequence, NO_DIGEST, bytes(64))


def header(**changes: object) -> Header:
    """A valid header of author 1 in round 30, changed."""
    links = tuple(Reference(Round(29), author, NO_DIGEST) for author in (1, 0, 2, 3))
    made = Header(
        version=1,
        epoch=0,
        round=Round(30),
        author=1,
        timestamp_ms=5,
        ancestors=links,
        payload_root=payload_root(BODY),
        payload_bytes=11,
        transactions=3,
        own_gap=0,
        reveal=NO_DIGEST,
        checkpoint_signatures=(),
        evidence=(),
    )
    return msgspec.structs.replace(made, **changes)


def link(round_: int, author: int) -> Reference:
    return Reference(Round(round_), author, NO_DIGEST)


def check(made: Header, body: tuple[bytes, ...] = BODY, key: SigningKey = KEYS[1]) -> None:
    """As it comes from the network."""
    check_block(read_block(encode(sign_block(key, CHAIN, made, body).block)), RULES)


@pytest.mark.parametrize(
    "made",
    [
        header(),
        header(timestamp_ms=0),
        header(timestamp_ms=2**62),  # H9: no clock is compared
        header(ancestors=(link(10, 1), link(29, 0), link(29, 2), link(29, 3))),
        header(ancestors=(link(29, 1), link(29, 0), link(10, 2), link(29, 3))),
        header(ancestors=(link(29, 0), link(29, 2), link(29, 3)), own_gap=1),
        header(ancestors=(link(29, 1), link(29, 0), link(29, 3))),
    ],
)
def test_a_valid_block_is_taken(made: Header) -> None:
    check(made)


def test_a_first_block_links_to_the_genesis_blocks() -> None:
    own, *rest = ROUND_0[1], ROUND_0[0], ROUND_0[2], ROUND_0[3]
    check(header(round=Round(1), ancestors=(own, *rest)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "version"),
        ({"epoch": 1}, "epoch"),
        ({"author": 4}, "committee"),
        ({"author": -1}, "committee"),
        ({"round": Round(0)}, "out of range"),
        ({"timestamp_ms": -1}, "out of range"),
        ({"checkpoint_signatures": (CheckpointSignature(1, NO_DIGEST, b""),)}, "malformed checkp"),
        ({"checkpoint_signatures": (signed(0),)}, "malformed checkpoint"),
        ({"checkpoint_signatures": (signed(2), signed(1))}, "out of order"),
        ({"checkpoint_signatures": (signed(1), signed(1))}, "out of order"),
        ({"checkpoint_signatures": tuple(map(signed, range(1, 6)))}, "too many checkpoint"),
        ({"evidence": (b"",)}, "as a transaction"),
        ({"payload_root": Digest(b"short")}, "32 bytes"),
        ({"reveal": Digest(b"")}, "32 bytes"),
        ({"payload_bytes": 512 * 1024 + 1}, "too many bytes"),
        ({"transactions": 2_001}, "too many transactions"),
        ({"own_gap": 2}, "ancestors"),
        ({"ancestors": ()}, "ancestors"),
        ({"ancestors": tuple(link(29, author) for author in (1, 0, 0, 2, 3))}, "ancestors"),
        ({"ancestors": tuple(link(29, author) for author in (0, 1, 2, 3))}, "own|previous"),
        ({"own_gap": 1}, "two ancestors"),
        ({"ancestors": (link(29, 1), link(29, 1), link(29, 2), link(29, 3))}, "two ancestors"),
        ({"ancestors": (link(29, 1), link(29, 0), link(28, 0), link(29, 3))}, "two ancestors"),
        ({"ancestors": (link(29, 1), link(29, 3), link(29, 2))}, "out of order"),
        ({"ancestors": (link(9, 1), link(29, 0), link(29, 2), link(29, 3))}, "too old"),
        ({"ancestors": (link(29, 1), link(30, 0), link(29, 2), link(29, 3))}, "too new"),
        ({"ancestors": (link(29, 1), link(29, 0), link(28, 2))}, "quorum"),
        ({"ancestors": (link(29, 1), link(29, 0), link(29, 4))}, "malformed ancestor"),
        ({"payload_bytes": 12}, "body"),
        ({"transactions": 2}, "body"),
        ({"payload_root": EMPTY_ROOT}, "root"),
    ],
)
def test_a_wrong_header_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(PeerFault, match=reason):
        check(header(**changes))


def test_a_header_carries_a_few_checkpoint_signatures_that_nobody_need_be_able_to_check() -> None:
    check(header(checkpoint_signatures=tuple(map(signed, range(7, 11)))))


def test_an_epoch_has_its_own_first_round_and_its_own_signers() -> None:
    """What is valid in an epoch that begins at round 29 with a new key for author 1."""
    new = key(77)
    members = tuple(
        Member(one.node_id, new.node_id if at == 1 else one.node_id, 1, NO_DIGEST, Round(29))
        for at, one in enumerate(KEYS)
    )
    record = CommitteeRecord(1, NO_DIGEST, Round(29), members)
    rules = Rules(CHAIN, committee_of(record), GENESIS.params.consensus)
    first = header(epoch=1)
    check_block(sign_block(new, CHAIN, first, BODY), rules)
    for wrong, signer, reason in (
        (first, KEYS[1], "did not sign"),
        (header(epoch=0), new, "another version or epoch"),
        (header(epoch=1, round=Round(29)), new, "out of range"),
        (header(epoch=1, ancestors=tuple(link(28, a) for a in (1, 0, 2, 3))), new, "too old"),
    ):
        with pytest.raises(PeerFault, match=reason):
            check_block(sign_block(signer, CHAIN, wrong, BODY), rules)


def test_another_key_cannot_speak_for_an_author() -> None:
    with pytest.raises(PeerFault, match="did not sign"):
        check(header(), key=KEYS[2])


def test_another_body_of_the_same_size_is_refused() -> None:
    with pytest.raises(PeerFault, match="root"):
        check(header(), (b"one", b"two", b"tree "))


def test_a_transaction_that_is_too_large_spoils_its_block() -> None:
    body = (bytes(4_097),)
    made = header(payload_root=payload_root(body), payload_bytes=4_097, transactions=1)
    with pytest.raises(PeerFault, match="too large"):
        check(made, body)


def test_genesis_blocks_differ_between_chains() -> None:
    other, _ = network(5)
    mine = {block.digest for block in genesis_blocks(GENESIS, CHAIN)}
    theirs = {block.digest for block in genesis_blocks(other, chain_id(other))}
    assert len(mine) == 4
    assert not mine & theirs


@given(st.binary(max_size=300))
def test_random_bytes_are_no_block_and_do_no_harm(data: bytes) -> None:
    with pytest.raises(PeerFault):
        read_block(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_never_passes(place: int, change: int) -> None:
    good = encode(sign_block(KEYS[1], CHAIN, header(), BODY).block)
    place %= len(good)
    bad = good[:place] + bytes([good[place] ^ change]) + good[place + 1 :]
    with pytest.raises(PeerFault):
        check_block(read_block(bad), RULES)
