"""Frames survive every way of cutting the stream."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import PeerFault
from dpin.net.framing import FrameDecoder, VarintDecoder, frame, varint_frame, whole

LIMIT = 64
bodies = st.lists(st.binary(max_size=LIMIT), max_size=8)


@given(bodies, st.lists(st.integers(0, 600), max_size=20))
def test_frames_come_out_whole_and_in_order_under_every_split(
    sent: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(map(frame, sent))
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    decoder = FrameDecoder(LIMIT)
    received = [body for start, end in pairwise(places) for body in decoder.feed(stream[start:end])]
    assert received == sent
    assert decoder.pending == 0


@given(bodies.filter(bool), st.data())
def test_frames_of_one_piece_are_taken_together_and_a_part_of_one_is_not(
    sent: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(frame, sent))
    assert whole(stream, len(sent)) == sent
    assert whole(stream, len(sent) - 1) is None
    ends = {len(b"".join(map(frame, sent[:count]))) for count in range(len(sent) + 1)}
    cut = data.draw(st.integers(0, len(stream)).filter(lambda place: place not in ends))
    assert whole(stream[:cut], len(sent)) is None


@given(bodies)
def test_frames_come_out_byte_by_byte(sent: list[bytes]) -> None:
    decoder = FrameDecoder(LIMIT)
    stream = b"".join(map(frame, sent))
    assert [body for byte in stream for body in decoder.feed(bytes([byte]))] == sent


def test_a_frame_above_the_limit_is_a_fault_before_its_body_comes() -> None:
    with pytest.raises(PeerFault, match="65 bytes"):
        list(FrameDecoder(LIMIT).feed((LIMIT + 1).to_bytes(4)))


def test_the_frames_before_a_fault_are_delivered() -> None:
    bodies_of = FrameDecoder(LIMIT).feed(frame(b"good") + b"\xff" * 4)
    assert next(bodies_of) == b"good"
    with pytest.raises(PeerFault):
        next(bodies_of)


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 200))
def test_frames_with_a_varint_come_out_under_every_split(sent: list[bytes], piece: int) -> None:
    stream = b"".join(map(varint_frame, sent))
    decoder = VarintDecoder(300)
    pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
    assert [body for part in pieces for body in decoder.feed(part)] == sent


def test_a_varint_is_written_as_libp2p_writes_it_and_bounded() -> None:
    assert varint_frame(bytes(300))[:2] == bytes.fromhex("ac02")
    assert varint_frame(b"") == b"\0"
    with pytest.raises(PeerFault, match="301 bytes"):
        list(VarintDecoder(300).feed(bytes.fromhex("ad02")))
    with pytest.raises(PeerFault, match="does not end"):
        list(VarintDecoder(300).feed(b"\xff" * 4))
    assert list(VarintDecoder(300).feed(b"\xff" * 3)) == []
