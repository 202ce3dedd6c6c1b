"""Sealed contents: their readers open them whole and in order, and nobody else does."""

from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NodeId
from dpin.base.sealed import (
    HEAD_START_BYTES,
    MAGIC,
    PIECE_BYTES,
    RANDOM_BYTES,
    READERS_MAX,
    Seal,
    Unseal,
    head_length,
    marked,
)

ADA, BEN, EVE = (bytes([n]) * 32 for n in (1, 2, 3))  # seeds
RANDOM = bytes(range(RANDOM_BYTES))
PIECES = [b"a" * PIECE_BYTES, b"b" * PIECE_BYTES, b"the end"]


def ids(*seeds: bytes) -> list[NodeId]:
    return [SigningKey(seed).node_id for seed in seeds]


def sealed(pieces: Sequence[bytes], readers: Sequence[NodeId]) -> tuple[bytes, list[bytes]]:
    seal = Seal(readers, RANDOM)
    return seal.head, [seal.piece(data, last=last) for data, last in marked(pieces)]


def opened(seed: bytes, head: bytes, pieces: Sequence[bytes]) -> list[bytes]:
    unseal = Unseal(seed, head)
    return [unseal.piece(data, last=last) for data, last in marked(pieces)]


@pytest.mark.parametrize("pieces", [PIECES, PIECES[:1], [b""], [PIECES[0], b""]])
def test_each_reader_opens_what_was_sealed(pieces: list[bytes]) -> None:
    head, body = sealed(pieces, ids(ADA, BEN))
    assert opened(ADA, head, body) == opened(BEN, head, body) == pieces
    assert head_length(head[:HEAD_START_BYTES]) == len(head)


def test_nobody_else_opens_it() -> None:
    head, _ = sealed(PIECES, ids(ADA))
    with pytest.raises(Misuse, match="sealed for others"):
        Unseal(EVE, head)


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "swapped": lambda body: [body[1], body[0], body[2]],
    "repeated": lambda body: [body[0], body[0], *body[1:]],
    "cut at a piece": lambda body: body[:2],
    "cut inside a piece": lambda body: [*body[:2], body[2][:-1]],
    "one left out": lambda body: [body[0], body[2]],
    "one added": lambda body: [*body, body[2]],
    "empty": lambda _: [],
}


@pytest.mark.parametrize("change", CHANGES)
def test_pieces_cannot_be_put_together_anew(change: str) -> None:
    head, body = sealed(PIECES, ids(ADA))
    with pytest.raises(PeerFault):
        opened(ADA, head, CHANGES[change](body))


def test_pieces_hold_for_the_readers_they_were_sealed_for() -> None:
    """The same key and pieces, another list of readers: nothing opens."""
    head, _ = sealed(PIECES, ids(ADA))
    _, body = sealed(PIECES, ids(ADA, BEN))
    with pytest.raises(PeerFault):
        opened(ADA, head, body)


@settings(max_examples=60)
@given(st.data())
def test_a_changed_bit_anywhere_is_found(data: st.DataObject) -> None:
    head, body = sealed([b"a few bytes"], ids(ADA))
    whole = bytearray(head + body[0])
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises((PeerFault, Misuse)):
        opened(ADA, bytes(whole[: len(head)]), [bytes(whole[len(head) :])])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_head_or_a_fault(data: bytes) -> None:
    for head in (data, MAGIC + data):
        with pytest.raises((PeerFault, Misuse)):
            Unseal(ADA, head)


def test_readers_are_real_and_not_too_many() -> None:
    with pytest.raises(Misuse):
        Seal([], RANDOM)
    with pytest.raises(Misuse, match="not a node's id"):
        Seal([NodeId(b"\x01" + bytes(31))], RANDOM)
    dice = Random(1)  # noqa: S311  A test's dice.
    many = ids(*[dice.randbytes(32) for _ in range(READERS_MAX + 1)])
    Seal(many[1:], RANDOM)
    with pytest.raises(Misuse):
        Seal(many, RANDOM)


def test_the_cipher_is_that_of_the_draft() -> None:
    """draft-irtf-cfrg-xchacha-03, A.3.1."""
    sealed_text = crypto_aead_xchacha20poly1305_ietf_encrypt(
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it.",
        bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
        bytes(range(0x40, 0x58)),
        bytes(range(0x80, 0xA0)),
    )
    assert sealed_text == bytes.fromhex(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f"
        "4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f"
        "76b2383565d3fff921f9664c97637da9768812f615c68b13b52e"
        "c0875924c1c7987947deafd8780acf49"
    )
