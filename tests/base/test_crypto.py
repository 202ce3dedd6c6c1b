"""Hashes and signatures: the published vectors, and the cases on which libraries differ."""

import json
from hashlib import sha256, sha512
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_ed25519_base_noclamp, crypto_sign

from dpin.base import crypto
from dpin.base.crypto import (
    EDGE_CASES,
    SigningKey,
    blake3_digest,
    check_edge_cases,
    digest,
    verify,
    verify_bytes,
)
from dpin.base.ids import ChainId, Digest, NodeId

RFC8032: Final = json.loads(
    (Path(__file__).parents[1] / "vectors" / "ed25519" / "rfc8032.json").read_text()
)
CHAIN: Final = ChainId(b"c" * 32)
WHAT: Final = Digest(b"w" * 32)
KEY: Final = SigningKey(bytes(32))

P: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493  # L of RFC 8032
D: Final = -121665 * pow(121666, -1, P) % P


def square_root(value: int) -> int | None:
    """A root modulo P, by RFC 8032 section 5.1.3; None where there is none."""
    root = pow(value, (P + 3) // 8, P)
    for candidate in (root, root * pow(2, (P - 1) // 4, P) % P):
        if candidate * candidate % P == value % P:
            return candidate
    return None


def small_order_encodings() -> list[bytes]:
    """Every string of 32 bytes that reads as a point whose order divides 8.

    The identity has y = 1, the point of order 2 y = -1, those of order 4 y = 0. A point of order 8
    doubles to one of order 4: the doubled y is zero where x² = -y², which on the curve means
    D·y⁴ + 2·y² - 1 = 0. Each y below 19 has a second form y + P, and each a sign bit.
    """
    heights = [0, 1, P - 1, P, P + 1]
    root = square_root(1 + D)
    assert root is not None
    for part in (root, -root):
        height = square_root((part - 1) * pow(D, -1, P))
        if height is not None:
            heights += [height, P - height]
    return [(y | sign << 255).to_bytes(32, "little") for y in heights for sign in (0, 1)]


def challenge(commitment: bytes, signer: bytes, message: bytes) -> int:
    return int.from_bytes(sha512(commitment + signer + message).digest(), "little") % ORDER


@pytest.mark.parametrize("case", RFC8032, ids=lambda case: str(case["name"]))
def test_the_vectors_of_rfc_8032_hold(case: dict[str, str]) -> None:
    seed, public, message, signature = (
        bytes.fromhex(case[name]) for name in ("seed", "public_key", "message", "signature")
    )
    key = SigningKey(seed)
    assert key.node_id == public
    assert crypto_sign(message, key._secret)[:64] == signature
    assert verify_bytes(public, message, signature)
    assert not verify_bytes(public, message + b"\0", signature)


def test_libsodium_judges_every_edge_case_as_the_network_does() -> None:
    check_edge_cases()
    assert [case.why for case in EDGE_CASES if case.accepted] == [
        "mixed A and R, valid without the cofactor"
    ]


def test_a_libsodium_that_judges_otherwise_stops_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    lenient = [case._replace(accepted=not case.accepted) for case in EDGE_CASES]
    for case in lenient:
        monkeypatch.setattr(crypto, "EDGE_CASES", (case,))
        with pytest.raises(AssertionError, match="install the locked version"):
            check_edge_cases()


def test_there_are_fourteen_ways_to_write_a_point_of_small_order() -> None:
    assert len(set(small_order_encodings())) == 14


@pytest.mark.parametrize("signer", small_order_encodings(), ids=bytes.hex)
def test_a_signer_of_small_order_is_refused_though_the_equation_holds(signer: bytes) -> None:
    scalar = (5).to_bytes(32, "little")
    commitment = crypto_scalarmult_ed25519_base_noclamp(scalar)
    # Eight times any such signer is the identity, so S·B = R + h·A holds where 8 divides h.
    message = next(
        text
        for text in (number.to_bytes(4) for number in count())
        if challenge(commitment, signer, text) % 8 == 0
    )
    assert not verify_bytes(signer, message, commitment + scalar)


@pytest.mark.parametrize("commitment", small_order_encodings(), ids=bytes.hex)
def test_a_commitment_of_small_order_is_refused(commitment: bytes) -> None:
    secret = 12345
    signer = crypto_scalarmult_ed25519_base_noclamp(secret.to_bytes(32, "little"))
    # S = h·a: the equation holds where R is the identity, and always with the cofactor.
    scalar = challenge(commitment, signer, b"message") * secret % ORDER
    assert not verify_bytes(signer, b"message", commitment + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("height", [P + extra for extra in range(19)], ids=str)
def test_a_signer_that_is_not_written_in_its_shortest_form_is_refused(height: int) -> None:
    signature = KEY.sign("dpin/tx/v1", CHAIN, WHAT)
    assert not verify_bytes(height.to_bytes(32, "little"), b"", signature)


def test_what_was_signed_is_verified() -> None:
    assert verify(KEY.node_id, "dpin/tx/v1", CHAIN, WHAT, KEY.sign("dpin/tx/v1", CHAIN, WHAT))


def test_a_signature_holds_for_nothing_but_what_was_signed() -> None:
    signature = KEY.sign("dpin/tx/v1", CHAIN, WHAT)
    other = SigningKey(b"\1" * 32).node_id
    assert not verify(other, "dpin/tx/v1", CHAIN, WHAT, signature)
    assert not verify(KEY.node_id, "dpin/block/v1", CHAIN, WHAT, signature)
    assert not verify(KEY.node_id, "dpin/tx/v1", ChainId(b"d" * 32), WHAT, signature)
    assert not verify(KEY.node_id, "dpin/tx/v1", CHAIN, Digest(b"x" * 32), signature)


@given(st.integers(0, 511))
def test_a_signature_with_one_bit_turned_is_refused(bit: int) -> None:
    turned = bytearray(KEY.sign("dpin/tx/v1", CHAIN, WHAT))
    turned[bit // 8] ^= 1 << bit % 8
    assert not verify(KEY.node_id, "dpin/tx/v1", CHAIN, WHAT, bytes(turned))


@given(st.binary(max_size=70), st.binary(max_size=40), st.binary(max_size=40))
def test_no_signature_a_peer_can_send_does_more_than_fail(
    signature: bytes, signer: bytes, what: bytes
) -> None:
    assert not verify(NodeId(signer), "dpin/tx/v1", CHAIN, Digest(what), signature)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_or_signer_of_another_length_is_refused(length: int) -> None:
    assert not verify(KEY.node_id, "dpin/tx/v1", CHAIN, WHAT, bytes(length))
    signature = KEY.sign("dpin/tx/v1", CHAIN, WHAT)
    assert not verify(NodeId(bytes(length)), "dpin/tx/v1", CHAIN, WHAT, signature)


def test_a_statement_without_a_whole_chain_and_digest_is_never_signed() -> None:
    with pytest.raises(AssertionError):
        KEY.sign("dpin/tx/v1", ChainId(b"c" * 31), Digest(b"w" * 33))
    signature = KEY.sign("dpin/tx/v1", CHAIN, WHAT)
    shifted = (ChainId(CHAIN + WHAT[:1]), Digest(WHAT[1:]))
    assert not verify(KEY.node_id, "dpin/tx/v1", *shifted, signature)


def test_a_digest_says_what_it_is_for() -> None:
    assert digest("dpin/tx/v1", b"x") == sha256(b"dpin/tx/v1\0x").digest()
    assert digest("dpin/tx/v1", b"x") != digest("dpin/block/v1", b"x")


def test_bulk_data_is_named_by_blake3() -> None:
    # The empty input of the published BLAKE3 vectors.
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert blake3_digest(b"").hex() == empty
    assert blake3_digest(memoryview(b"x")) == blake3_digest(b"x")


def test_a_signature_is_remembered_with_all_it_was_checked_by_and_junk_is_not() -> None:
    good = KEY.sign("test", CHAIN, WHAT)
    crypto._verified.cache_clear()
    for signature in (good, good, good[:-1], good * 1_000, b""):
        assert verify(KEY.node_id, "test", CHAIN, WHAT, signature) == (signature == good)
    assert crypto._verified.cache_info().currsize == 1
    assert crypto._verified.cache_info().hits == 1
    others = [
        (SigningKey(bytes(31) + b"x").node_id, "test", CHAIN, WHAT),
        (KEY.node_id, "tes", CHAIN, WHAT),
        (KEY.node_id, "test", ChainId(b"d" * 32), WHAT),
        (KEY.node_id, "test", CHAIN, Digest(b"v" * 32)),
    ]
    assert not any(verify(*other, good) for other in others)
    assert crypto._verified.cache_info().hits == 1
