"""Frames of a bulk socket: what was sealed opens, once and in its place, and nothing else does."""

from os import urandom

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import PeerFault
from dpin.net.bulkframe import HEADER_BYTES, TAG_BYTES, Header, Kind, Opener, Sealer, read_header

KEY = bytes(range(32))


def opened(opener: Opener, frame: bytes) -> bytes:
    header = read_header(frame[:HEADER_BYTES])
    sealed = bytearray(frame[HEADER_BYTES : HEADER_BYTES + header.length + TAG_BYTES])
    if len(sealed) < header.length + TAG_BYTES:
        raise PeerFault("the socket ended early")
    return bytes(opener.open(opener.turn(), header, memoryview(sealed)))


def all_opened(frames: list[bytes]) -> list[bytes]:
    opener = Opener(KEY)
    return [opened(opener, frame) for frame in frames]


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_is_sealed_opens_in_order(bodies: list[bytes]) -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    frames = [bytes(sealer.sealed(Kind.ANSWER, 7, body)) for body in bodies]
    assert [opened(opener, frame) for frame in frames] == bodies


def test_a_frame_is_as_documented() -> None:
    """Checked against the one-call interface of the cipher, which seals nothing in place."""
    frame = bytes(Sealer(KEY).sealed(Kind.QUESTION, 258, b"hello"))
    head = bytes.fromhex("000000050100000102")
    assert frame == head + AESGCM(KEY).encrypt(bytes(12), b"hello", head)


def test_frames_cannot_be_swapped_repeated_or_left_out() -> None:
    sealer = Sealer(KEY)
    first, second = (bytes(sealer.sealed(Kind.ANSWER, n, b"body")) for n in (1, 2))
    for order in ([second], [first, first], [second, first]):
        with pytest.raises(PeerFault):
            all_opened(order)


def test_a_changed_bit_anywhere_is_found() -> None:
    frame = bytes(Sealer(KEY).sealed(Kind.ANSWER, 1, b"body"))
    for at in range(len(frame)):
        changed = bytearray(frame)
        changed[at] ^= 1
        with pytest.raises(PeerFault):
            all_opened([bytes(changed)])


def test_a_chunk_is_sealed_where_it_lies() -> None:
    frame = bytearray(HEADER_BYTES) + b"chunk" + bytes(TAG_BYTES)
    sealed = Sealer(KEY).seal(Header(5, Kind.CHUNK, 3), frame)
    assert sealed.obj is frame
    assert opened(Opener(KEY), bytes(sealed)) == b"chunk"


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_any_header_is_read_or_refused(data: bytes) -> None:
    try:
        header = read_header(data)
    except PeerFault:
        return
    assert header.length <= 1 << 21


def test_another_key_opens_nothing() -> None:
    frame = bytes(Sealer(KEY).sealed(Kind.ANSWER, 1, b"body"))
    with pytest.raises(PeerFault):
        opened(Opener(urandom(32)), frame)
