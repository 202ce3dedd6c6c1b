"""Every message says which network it is for, and every relayed one whose word it is."""

import msgpack  # type: ignore[import-untyped]  # The package carries no types.
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import MESSAGE_BYTES_MAX, encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import ChainId
from dpin.net.envelope import (
    Envelope,
    Service,
    Signed,
    open_envelope,
    open_signed,
    seal,
    wrap,
)
from dpin.net.network import CONTROL_BYTES_MAX

HERE, THERE = ChainId(b"here" * 8), ChainId(b"fork" * 8)
KEY = SigningKey(bytes(32))
TAG = "dpin/test/v1"


@given(st.binary(max_size=300), st.sampled_from(Service))
def test_a_message_is_read_as_it_was_wrapped(body: bytes, service: Service) -> None:
    envelope = open_envelope(HERE, wrap(HERE, service, body))
    assert (envelope.service, envelope.body) == (service, body)


def test_the_wire_format_is_an_array_of_version_chain_service_body() -> None:
    assert msgpack.unpackb(wrap(HERE, Service.MARKET, b"x")) == [1, b"herehere", 2, b"x"]


def test_the_largest_message_fits_a_frame() -> None:
    data = wrap(HERE, Service.LEDGER, bytes(MESSAGE_BYTES_MAX))
    assert len(data) <= CONTROL_BYTES_MAX
    assert len(open_envelope(HERE, data).body) == MESSAGE_BYTES_MAX
    with pytest.raises(Misuse):
        wrap(HERE, Service.LEDGER, bytes(MESSAGE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (wrap(THERE, Service.LEDGER, b""), "another network"),
        (encode(Envelope(2, HERE[:8], Service.LEDGER, b"")), "version"),
        (encode([1, HERE[:8], 9, b""]), "Invalid enum"),
        (encode([1, HERE[:8], 1]), "Expected"),
        (encode([1, HERE[:8], 1, bytes(MESSAGE_BYTES_MAX + 1)]), "bytes"),
        (bytes(CONTROL_BYTES_MAX + 1), "at most"),
        (b"", "not a"),
    ],
)
def test_what_is_not_for_this_node_is_a_peers_fault(data: bytes, reason: str) -> None:
    with pytest.raises(PeerFault, match=reason):
        open_envelope(HERE, data)


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_but_a_fault(data: bytes) -> None:
    for read in (lambda: open_envelope(HERE, data), lambda: open_signed(HERE, TAG, data)):
        with pytest.raises(PeerFault):
            read()


def test_a_statement_is_opened_with_its_signer() -> None:
    signed = open_signed(HERE, TAG, seal(KEY, HERE, TAG, b"word"))
    assert (signed.signer, signed.body) == (KEY.node_id, b"word")


GOOD = open_signed(HERE, TAG, seal(KEY, HERE, TAG, b"word"))


@pytest.mark.parametrize(
    "data",
    [
        seal(KEY, THERE, TAG, b"word"),
        seal(KEY, HERE, "dpin/other/v1", b"word"),
        encode(Signed(GOOD.signer, b"lie", GOOD.signature)),
        encode(Signed(SigningKey(b"x" * 32).node_id, GOOD.body, GOOD.signature)),
        encode(Signed(GOOD.signer, GOOD.body, bytes(64))),
        encode(Signed(GOOD.signer, GOOD.body, b"")),
        encode(Signed(b"", GOOD.body, GOOD.signature)),
    ],
)
def test_a_statement_of_another_network_kind_signer_or_text_is_a_fault(data: bytes) -> None:
    with pytest.raises(PeerFault, match="sign"):
        open_signed(HERE, TAG, data)
