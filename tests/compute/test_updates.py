"""Updates in every encoding: what they round to, their bytes, and what is refused."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dpin.base.errors import PeerFault
from dpin.compute.blocks import BLOCK, BYTE, NIBBLE, SCALE_MAX, TRIT, quantise
from dpin.compute.halves import halve
from dpin.compute.limits import CHUNK
from dpin.compute.outer import write
from dpin.compute.scales import MAGNITUDE_MAX, UNITS_PER_SCALE_UNIT
from dpin.compute.sparse import sparsify
from dpin.compute.task import FP16, INT4, INT8, SPARSE, TERNARY, EncodingSpec
from dpin.compute.updates import (
    HEADER,
    decode_update,
    encode_update,
    update_bytes,
    written,
)

KEPT = 16
SPECS = {
    FP16: EncodingSpec(FP16),
    INT8: EncodingSpec(INT8),
    INT4: EncodingSpec(INT4),
    TERNARY: EncodingSpec(TERNARY),
    SPARSE: EncodingSpec(SPARSE, KEPT),
}
MOVES = st.lists(st.integers(-(1 << 36), 1 << 36), min_size=1, max_size=2 * BLOCK + 3)
SMALL_MOVES = st.lists(st.integers(-(1 << 12), 1 << 12), min_size=1, max_size=BLOCK)
EVERY = pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))


def float16_at_least(units: int) -> int:
    """The smallest integer from `units` up that has at most 11 significant bits."""
    while units.bit_length() - (units & -units).bit_length() + 1 > 11:
        units += 1
    return units


def spread(count: int, seed: int) -> Tensor:
    """(count,) int64 of all sizes that a movement has."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, generator=generator) * (1 << 22)).to(torch.int64)


@pytest.mark.parametrize("most", [BYTE, NIBBLE])
@given(MOVES | SMALL_MOVES)
def test_each_value_is_the_movement_over_its_scale_rounded_half_to_even(
    most: int, moves: list[int]
) -> None:
    update = quantise(torch.tensor(moves), most)
    for block, scale in enumerate(update.scales.tolist()):
        part = moves[block * BLOCK : (block + 1) * BLOCK]
        least = -(-max(map(abs, part)) // (most * UNITS_PER_SCALE_UNIT))
        assert scale == min(SCALE_MAX, float16_at_least(least))
        unit = max(1, scale * UNITS_PER_SCALE_UNIT)
        want = [max(-most, min(most, round(Fraction(move, unit)))) for move in part]
        assert update.values[block * BLOCK :][: len(part)].tolist() == want


@given(MOVES | SMALL_MOVES)
def test_a_trit_is_the_nearest_of_three_levels_and_the_level_the_mean_of_what_is_large(
    moves: list[int],
) -> None:
    update = quantise(torch.tensor(moves), TRIT)
    for block, scale in enumerate(update.scales.tolist()):
        part = moves[block * BLOCK : (block + 1) * BLOCK]
        large = [abs(move) for move in part if 4 * BLOCK * abs(move) > 3 * sum(map(abs, part))]
        least = -(-(sum(large) // max(1, len(large))) // UNITS_PER_SCALE_UNIT)
        assert scale == min(MAGNITUDE_MAX, float16_at_least(least))
        unit = max(1, scale * UNITS_PER_SCALE_UNIT)
        want = [max(-1, min(1, round(Fraction(move, unit)))) for move in part]
        assert update.values[block * BLOCK :][: len(part)].tolist() == want


def test_of_normal_numbers_three_levels_lose_what_they_must() -> None:
    """0.1902 of the energy: Max, Quantizing for minimum distortion (1960), table I, N = 3."""
    moves = spread(400 * BLOCK, 3)
    lost = (quantise(moves, TRIT).dense() - moves).double().square().sum()
    assert float(lost / moves.double().square().sum()) == pytest.approx(0.1902, rel=0.01)


@given(MOVES | SMALL_MOVES)
def test_a_half_is_within_its_own_precision_of_the_movement(moves: list[int]) -> None:
    for move, found in zip(moves, halve(torch.tensor(moves)).dense().tolist(), strict=True):
        nearest = max(-MAGNITUDE_MAX * 64, min(MAGNITUDE_MAX * 64, move))
        assert abs(found - nearest) <= 33 + (abs(nearest) >> 11)


@given(MOVES | SMALL_MOVES, st.integers(1, 40))
def test_a_sparse_update_keeps_the_largest_movements_of_each_chunk(
    moves: list[int], kept: int
) -> None:
    update = sparsify(torch.tensor(moves), kept)
    most = max(1, kept * len(moves) // CHUNK)
    order = sorted(range(len(moves)), key=lambda place: (-abs(moves[place]), place))
    assert update.places.tolist() == sorted(order[:most])
    dense = update.dense().tolist()
    assert all(dense[place] * moves[place] >= 0 for place in order)
    assert all(dense[place] == 0 for place in order[most:])


def test_the_two_levels_of_a_chunk_are_the_means_of_its_small_and_its_large_movements() -> None:
    moves = torch.zeros(CHUNK, dtype=torch.int64)
    moves[:4] = torch.tensor([100, -300, 1000, -1400]) * UNITS_PER_SCALE_UNIT
    update = sparsify(moves, 4)
    assert update.levels.tolist() == [[200, 1200]]
    assert (update.dense()[:5] // UNITS_PER_SCALE_UNIT).tolist() == [200, -200, 1200, -1200, 0]


@EVERY
@pytest.mark.parametrize("count", [1, 2, 255, 257, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77])
def test_an_update_is_read_back_as_it_was_written(spec: EncodingSpec, count: int) -> None:
    update = written(spec, spread(count, count))
    data = encode_update(update)
    again = decode_update(data, spec, count)
    assert len(data) == update_bytes(spec, count)
    assert torch.equal(again.dense(), update.dense())
    assert encode_update(again) == data


@EVERY
def test_an_encoding_says_what_it_can_and_no_more(spec: EncodingSpec) -> None:
    moves = spread(2 * CHUNK, 1)
    moves[5], moves[CHUNK + 5] = 1 << 40, -(1 << 40)
    dense = written(spec, moves).dense()
    assert int(dense.abs().max()) < 1 << 35
    assert not bool((dense % UNITS_PER_SCALE_UNIT).any())
    assert bool((dense * moves >= 0).all())


def test_denser_encodings_are_closer_to_the_movement() -> None:
    moves = spread(4 * CHUNK, 2)
    errors = [
        float((written(spec, moves).dense() - moves).double().norm() / moves.double().norm())
        for spec in SPECS.values()
    ]
    assert errors == sorted(errors)
    assert errors[1] < 0.01
    assert errors[2] < 0.13
    assert errors[3] < 0.45


def test_what_does_not_round_comes_back_exactly() -> None:
    moves = torch.tensor([value * UNITS_PER_SCALE_UNIT * 5 for value in range(-127, 128)])
    assert torch.equal(quantise(moves, BYTE).dense(), moves)


PINNED = torch.tensor([127 * 64, -64, 32, 96, 0, -(1 << 20), 1 << 21])


@pytest.mark.parametrize(
    ("name", "number", "body"),
    [
        (FP16, "01", "7f00018000000200000000940018"),
        (INT8, "02", "03010000000000c17f"),
        (INT4, "03", "930c0000d007"),
        (TERNARY, "05", "00160005"),
        (SPARSE, "04", "0018001800060000"),
    ],
)
def test_the_bytes_of_an_update_are_pinned(name: str, number: str, body: str) -> None:
    # Other bytes mean that nodes of two versions cannot train together.
    head = "647075700200" + number + "000700000000000000"
    assert encode_update(written(SPECS[name], PINNED)).hex() == head + body


COUNT = BLOCK + 2
GOOD_MOVES = torch.tensor([1 << 20, -(1 << 20)] + [0] * BLOCK)
GOOD = {name: encode_update(written(spec, GOOD_MOVES)) for name, spec in SPECS.items()}
BODY = HEADER.size


def altered(name: str, at: int, part: bytes) -> bytes:
    return GOOD[name][:at] + part + GOOD[name][at + len(part) :]


@EVERY
def test_an_update_of_another_length_or_header_is_refused(spec: EncodingSpec) -> None:
    good = GOOD[spec.name]
    heads = [(0, b"DPUP"), (4, b"\1"), (6, b"\x09"), (8, b"\1")]
    for data in (b"", good[:-1], good + b"\0", *(altered(spec.name, *head) for head in heads)):
        with pytest.raises(PeerFault):
            decode_update(data, spec, COUNT)
    assert encode_update(decode_update(good, spec, COUNT)) == good


@pytest.mark.parametrize(
    ("name", "at", "part", "reason"),
    [
        (INT8, 0, b"\0\x7c", "not finite"),
        (INT8, 0, b"\1\x7e", "not finite"),  # not a number
        (INT8, 0, b"\1\x34", "negative or over"),  # just above 2^-2
        (INT8, 0, b"\1\x80", "negative or over"),
        (INT8, 2, b"\0\x80", "minus zero"),
        (INT8, 0, b"\0\0", "scale zero"),
        (INT8, 4, b"\x80", "-128"),
        (INT4, 0, b"\1\x7e", "not finite"),
        (INT4, 4, b"\x08", "-8"),
        (INT4, 0, b"\0\0", "scale zero"),
        (TERNARY, 0, b"\1\x7e", "not finite"),
        (TERNARY, 0, b"\0\0", "scale zero"),
        (TERNARY, 4, b"\xf3", "243"),
        (TERNARY, 55, b"\x1b", "value after its last"),
        (FP16, 0, b"\0\x7e", "not finite"),
        (FP16, 0, b"\0\x50", "below 32"),
        (FP16, 4, b"\0\x80", "minus zero"),
        (SPARSE, 0, b"\1\x7e", "not finite"),
        (SPARSE, 0, b"\0\x80", "minus zero"),
        (SPARSE, 0, b"\0\x50", "below 32"),
        (SPARSE, 0, b"\0\x30", "low magnitude"),
        (SPARSE, 4, b"\x04", "code after its last"),
        (SPARSE, 5, b"\xff\x0f", "beyond the model"),
        (SPARSE, 7, b"\x01", "index after its last"),
    ],
)
def test_a_malformed_update_is_refused(name: str, at: int, part: bytes, reason: str) -> None:
    with pytest.raises(PeerFault, match=reason):
        decode_update(altered(name, BODY + at, part), SPECS[name], COUNT)


def test_indices_that_do_not_ascend_are_refused() -> None:
    spec = EncodingSpec(SPARSE, 32)
    data = encode_update(written(spec, spread(CHUNK, 3)))
    indices_at = len(data) - 48
    again = data[:indices_at] + data[indices_at : indices_at + 3] * 2 + data[indices_at + 6 :]
    with pytest.raises(PeerFault, match="do not ascend"):
        decode_update(again, spec, CHUNK)


@EVERY
@given(data=st.binary(max_size=60))
def test_no_bytes_do_more_than_raise_a_peer_fault(spec: EncodingSpec, data: bytes) -> None:
    for count in (1, len(data) + 1, max(1, len(data) - 18)):
        body = update_bytes(spec, count) - HEADER.size
        head = encode_update(written(spec, torch.zeros(count, dtype=torch.int64)))[: HEADER.size]
        for tried in (data, head + data, head + (data * (body // max(1, len(data)) + 1))[:body]):
            try:
                update = decode_update(tried, spec, count)
            except PeerFault:
                continue
            assert encode_update(update) == tried


@EVERY
def test_what_an_update_could_not_say_is_said_in_the_next_ones(spec: EncodingSpec) -> None:
    fed = EncodingSpec(spec.name, spec.kept, 1_000_000)
    moves, said, error = spread(CHUNK, 4), torch.zeros(CHUNK, dtype=torch.int64), None
    for round_ in range(1, 4):
        found = write(fed, moves, error)
        said, error = said + found.update.dense(), found.error
        left = torch.zeros(CHUNK, dtype=torch.int64) if error is None else error
        assert torch.equal(said + left, round_ * moves)


def test_what_is_left_over_decays_once_a_round() -> None:
    fed = EncodingSpec(SPARSE, KEPT, 900_000)
    nothing = torch.zeros(CHUNK, dtype=torch.int64)
    left = torch.full((CHUNK,), 1 << 20)
    once, thrice = write(fed, nothing, left).update, write(fed, nothing, left, 3).update
    assert int(once.dense().max()) == pytest.approx(0.9 * (1 << 20), rel=1e-3)
    assert int(thrice.dense().max()) == pytest.approx(0.9**3 * (1 << 20), rel=1e-3)
    assert write(EncodingSpec(SPARSE, KEPT), spread(CHUNK, 5)).error is None
