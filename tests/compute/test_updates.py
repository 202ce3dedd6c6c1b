"""Updates: what they round to, their bytes, and what is refused."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import PeerFault
from dpin.compute.updates import (
    BLOCK,
    HEADER,
    SCALE_MAX,
    UNITS_PER_SCALE_UNIT,
    decode_update,
    encode_update,
    quantise,
    update_bytes,
)

MOVES = st.lists(st.integers(-(1 << 36), 1 << 36), min_size=1, max_size=2 * BLOCK + 3)
SMALL_MOVES = st.lists(st.integers(-(1 << 12), 1 << 12), min_size=1, max_size=BLOCK)


def float16_at_least(units: int) -> int:
    """The smallest integer from `units` up that has at most 11 significant bits."""
    while units.bit_length() - (units & -units).bit_length() + 1 > 11:
        units += 1
    return units


def half_even(value: Fraction) -> int:
    return round(value)


@given(MOVES | SMALL_MOVES)
def test_each_value_is_the_movement_over_its_scale_rounded_half_to_even(moves: list[int]) -> None:
    update = quantise(torch.tensor(moves))
    for block, scale in enumerate(update.scales.tolist()):
        part = moves[block * BLOCK : (block + 1) * BLOCK]
        least = -(-max(map(abs, part)) // (127 * UNITS_PER_SCALE_UNIT))
        assert scale == min(SCALE_MAX, float16_at_least(least))
        unit = max(1, scale * UNITS_PER_SCALE_UNIT)
        want = [max(-127, min(127, half_even(Fraction(move, unit)))) for move in part]
        assert update.values[block * BLOCK :][: len(part)].tolist() == want


@given(MOVES)
def test_an_update_is_read_back_as_it_was_written(moves: list[int]) -> None:
    update = quantise(torch.tensor(moves))
    data = encode_update(update)
    again = decode_update(data, len(moves))
    assert len(data) == update_bytes(len(moves))
    assert torch.equal(again.scales, update.scales)
    assert torch.equal(again.values, update.values)
    assert encode_update(again) == data


def test_what_does_not_round_comes_back_exactly() -> None:
    moves = torch.tensor([value * UNITS_PER_SCALE_UNIT * 5 for value in range(-127, 128)])
    assert torch.equal(quantise(moves).dense(), moves)


def test_a_movement_beyond_the_range_saturates() -> None:
    update = quantise(torch.tensor([1 << 40, -(1 << 40), 0]))
    assert update.scales.tolist() == [SCALE_MAX]
    assert update.values.tolist() == [127, -127, 0]


def test_the_bytes_of_an_update_are_pinned() -> None:
    data = encode_update(quantise(torch.tensor([127 * 64, -64, 32, 96, 0])))
    assert data.hex() == "64707570010000010500000000000000" + "0100" + "7fff000200"


GOOD = encode_update(quantise(torch.tensor([1 << 20, -(1 << 20)] + [0] * BLOCK)))
SCALES_AT = HEADER.size
VALUES_AT = SCALES_AT + 4
COUNT = BLOCK + 2


def altered(at: int, part: bytes) -> bytes:
    return GOOD[:at] + part + GOOD[at + len(part) :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\0",
        altered(0, b"DPUP"),
        altered(4, b"\2"),
        altered(6, b"\0\2"),
        altered(8, b"\1"),
        altered(SCALES_AT, b"\0\x7c"),  # infinite
        altered(SCALES_AT, b"\1\x7e"),  # not a number
        altered(SCALES_AT, b"\1\x34"),  # just above 2^-2
        altered(SCALES_AT, b"\1\x80"),  # negative
        altered(SCALES_AT + 2, b"\0\x80"),  # minus zero
        altered(SCALES_AT, b"\0\0"),  # a zero scale that moves something
        altered(VALUES_AT, b"\x80"),  # -128
    ],
)
def test_a_malformed_update_is_refused(data: bytes) -> None:
    assert len(decode_update(GOOD, COUNT).values) == COUNT
    with pytest.raises(PeerFault):
        decode_update(data, COUNT)


@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_raise_a_peer_fault(data: bytes) -> None:
    for count in (1, len(data), max(0, len(data) - 18)):
        try:
            update = decode_update(data, count)
        except PeerFault:
            continue
        assert encode_update(update) == data
