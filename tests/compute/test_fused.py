"""The fused loops find what torch finds, to the bit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.units import MILLION
from dpin.compute import fused, outer
from dpin.compute.aggregation import screen
from dpin.compute.aggregation.gram import gram_of
from dpin.compute.blocks import BYTE, NIBBLE, TRIT, _strays, empty_blocks, quantise, scale_max
from dpin.compute.outer import _fed, mean_movement, movement, write, write_trained
from dpin.compute.robust import clip_factors
from dpin.compute.safety import RobustSpec
from dpin.compute.scales import UNITS_PER_SCALE_UNIT
from dpin.compute.sparse import sparsify
from dpin.compute.state import initial_state, scaled_ppm
from dpin.compute.task import INT4, INT8, SPARSE, TERNARY, EncodingSpec
from dpin.compute.tensors import as_float
from dpin.compute.updates import encode_update
from tests.support.training import TINY

MOVES = st.lists(st.integers(-(1 << 41), 1 << 41), min_size=1, max_size=600)


@pytest.mark.parametrize("most", [BYTE, NIBBLE, TRIT])
@given(MOVES | st.lists(st.integers(-40_000, 40_000), min_size=1, max_size=300))
def test_a_movement_is_quantised_as_by_torch(most: int, moves: list[int]) -> None:
    assert fused.available()
    want = quantise(torch.tensor(moves), most)
    made = empty_blocks(len(moves), most)
    fused.quantise(torch.tensor(moves), most, scale_max(most), (made.scales, made.values))
    assert torch.equal(made.scales, want.scales)
    assert torch.equal(made.values, want.values)


@given(MOVES, st.integers(0, 1 << 16), st.integers(0, 1_000_000))
def test_blocks_are_added_as_by_torch(moves: list[int], weight: int, ppm: int) -> None:
    update = quantise(torch.tensor(moves), BYTE)
    total = torch.arange(len(moves))
    want = total + scaled_ppm(update.dense(), ppm) * weight
    fused.add(update.scales, update.values, (ppm, weight), total)
    assert torch.equal(total, want)


@pytest.mark.parametrize("most", [BYTE, NIBBLE, TRIT])
@given(moves=MOVES, group=st.integers(1, 3))
def test_squares_of_blocks_are_those_of_their_numbers(
    most: int, moves: list[int], group: int
) -> None:
    update = quantise(torch.tensor(moves), most)
    want = sum((number // UNITS_PER_SCALE_UNIT) ** 2 for number in update.dense().tolist())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "GROUP", group)
        assert fused.squares(update.scales, update.values) == want


@given(MOVES, st.integers(1, 7))
def test_every_so_manieth_number_of_blocks_is_found_without_the_others(
    moves: list[int], stride: int
) -> None:
    update = quantise(torch.tensor(moves), BYTE)
    assert torch.equal(update.sampled(stride), update.dense()[::stride])


@given(st.lists(st.integers(-3, 3) | st.integers(-(1 << 41), 1 << 41), min_size=8, max_size=64))
def test_the_largest_are_those_that_torch_finds(moves: list[int]) -> None:
    chunks = torch.tensor(moves[: len(moves) // 8 * 8]).view(-1, 8)
    order = torch.arange(7, -1, -1)
    want = (chunks.abs() * 8 + order).topk(3, dim=1).indices.sort(dim=1).values
    assert torch.equal(fused.largest(chunks, 3), want)


@given(MOVES, st.integers(0, 1_000_000), st.integers(1, 3))
def test_an_error_is_fed_back_as_by_torch(moves: list[int], ppm: int, age: int) -> None:
    movement, most = torch.tensor(moves), 1 << 40
    error = movement.flip(0).clamp(-most, most)
    left = error
    for _ in range(age):
        left = scaled_ppm(left, ppm)
    want = (movement + left).clamp(-most, most)
    assert torch.equal(fused.fed(movement, error, ppm, age, most), want)


@pytest.mark.parametrize("name", [INT8, SPARSE])
def test_an_update_and_what_it_leaves_over_are_the_same_with_and_without_them(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    generator = torch.Generator().manual_seed(2)
    moved, error = ((torch.randn(9_000, generator=generator) * (1 << 22)).long() for _ in range(2))
    spec = EncodingSpec(name, 16 if name == SPARSE else 0, 900_000)
    kept, found = moved.clone(), []
    for long in (1, 1 << 30):
        monkeypatch.setattr(fused, "LONG", long)
        made = write(spec, moved, error, 2)
        assert made.error is not None
        assert torch.equal(moved, kept)
        assert torch.equal(made.update.dense() + made.error, _fed(moved, error, 900_000, 2))
        found.append((encode_update(made.update), made.error))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_copies_are_looked_for_in_the_same_places_of_a_sparse_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved = (torch.randn(9_000, generator=torch.Generator().manual_seed(3)) * (1 << 22)).long()
    update = sparsify(moved, 64)
    for sampled in (4_000, 1_000, 9_000):
        monkeypatch.setattr(screen, "SAMPLED", sampled)
        stride = -(-9_000 // sampled)
        assert torch.equal(screen._sample(update), update.dense()[::stride])


def test_a_long_round_has_the_same_mean_with_and_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(1)
    moves = [(torch.randn(5_000, generator=generator) * (1 << 22 + at)).long() for at in range(3)]
    found = []
    for long in (1, 1 << 30):
        monkeypatch.setattr(fused, "LONG", long)
        updates = [quantise(part, BYTE) for part in moves]
        assert min(clip_factors(updates)) < MILLION
        found.append((clip_factors(updates), mean_movement(updates, [1, 2, 3], 5_000)))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("most", [BYTE, NIBBLE, TRIT])
@given(moves=MOVES, stride=st.integers(1, 7), group=st.integers(1, 3))
def test_products_of_blocks_are_those_of_their_numbers(
    most: int, moves: list[int], stride: int, group: int
) -> None:
    one, other = (quantise(torch.tensor(part), most) for part in (moves, moves[::-1]))
    numbers = [
        (update.dense() // UNITS_PER_SCALE_UNIT).tolist()[::stride] for update in (one, other)
    ]
    want = sum(a * b for a, b in zip(*numbers, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "GROUP", group)
        held = (one.scales, one.values), (other.scales, other.values)
        assert fused.product(*held, stride) == want


@pytest.mark.parametrize("sampled", [9_000, 4_000, 700])
@pytest.mark.parametrize("most", [BYTE, TRIT])
def test_what_is_compared_by_two_is_what_matrices_find(
    monkeypatch: pytest.MonkeyPatch, most: int, sampled: int
) -> None:
    generator = torch.Generator().manual_seed(4)
    moves = [(torch.randn(9_000, generator=generator) * (1 << 30)).long() for _ in range(3)]
    updates = [quantise(part, most) for part in (*moves, -moves[0])]
    monkeypatch.setattr(screen, "SAMPLED", sampled)
    assert screen._products(updates) == gram_of([screen._sample(update) for update in updates])


def test_copies_are_found_with_and_without_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(5)
    first, other = ((torch.randn(3_000, generator=generator) * (1 << 22)).long() for _ in range(2))
    blurred = first + first // 100
    thin = torch.where(torch.arange(3_000) % 10 == 0, other, 0)  # The same places, other values.
    offered = [
        screen.Offered(str(at), quantise(part, BYTE), 1)
        for at, part in enumerate([first, other, blurred, thin, thin * 2 + (thin != 0)])
    ]
    found = []
    for long in (1, 1 << 30):
        monkeypatch.setattr(fused, "LONG", long)
        found.append(screen.screened(offered))
    assert found[0].refused == found[1].refused
    assert [part.name for part in found[0].kept] == ["0", "1", "3"]


@pytest.mark.parametrize("most", [BYTE, NIBBLE, TRIT])
@given(st.data())
def test_what_no_writer_makes_is_found_with_and_without_the_loops(
    most: int, data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.integers(-most - 1, most), min_size=1, max_size=600))
    scales = data.draw(
        st.lists(
            st.integers(0, 1), min_size=-(-len(values) // 256), max_size=-(-len(values) // 256)
        )
    )
    held = torch.tensor(scales), torch.tensor(values, dtype=torch.int8)
    assert fused.strays(*held, most) == _strays(*held, most)


@pytest.mark.parametrize("part", [256, 1024, 1 << 16])
def test_a_mean_is_the_same_in_parts_of_any_size(
    monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    generator = torch.Generator().manual_seed(6)
    moves = [(torch.randn(2_500, generator=generator) * (1 << 24 + at)).long() for at in range(3)]
    updates = [quantise(one, BYTE) for one in moves]
    want = mean_movement(updates, [3, 2, 1], 2_500)
    monkeypatch.setattr(fused, "LONG", 1)
    monkeypatch.setattr(outer, "PART", part)
    assert torch.equal(mean_movement(updates, [3, 2, 1], 2_500), want)
    assert not mean_movement([], [], 2_500).any()


@pytest.mark.parametrize("name", [INT8, INT4, TERNARY])
@pytest.mark.parametrize("feedback_ppm", [0, 900_000])
def test_a_unit_is_written_in_parts_as_in_one(
    monkeypatch: pytest.MonkeyPatch, name: str, feedback_ppm: int
) -> None:
    spec, generator = EncodingSpec(name, 0, feedback_ppm), torch.Generator().manual_seed(7)
    base = initial_state(TINY, b"seed")
    count = len(base.parameters)
    trained = as_float(base.parameters) + torch.randn(count, generator=generator) / 1_000
    trained[5], trained[700] = 3e38, -1e6  # Far beyond what a state or an update can say.
    error = (torch.randn(count, generator=generator) * (1 << 20)).long() if feedback_ppm else None
    want = write(spec, movement(trained, base), error, 2)
    monkeypatch.setattr(fused, "LONG", 1)
    for part in (256, 1024):
        monkeypatch.setattr(outer, "PART", part)
        made = write_trained(spec, trained, base, error, 2)
        assert encode_update(made.update) == encode_update(want.update)
        if want.error is None or made.error is None:
            assert made.error is want.error is None
            assert not feedback_ppm
        else:
            assert torch.equal(made.error, want.error)


@pytest.mark.parametrize("long", [1, 1 << 30])
@pytest.mark.parametrize("most", [BYTE, None])
def test_a_mean_is_made_in_memory_whatever_that_holds(
    monkeypatch: pytest.MonkeyPatch, long: int, most: int | None
) -> None:
    moved = torch.arange(-700, 700) << 20
    update = sparsify(moved, 64) if most is None else quantise(moved, most)
    monkeypatch.setattr(fused, "LONG", long)
    offered, room = screen.Offered("a", update, 1), torch.full((1_400,), -7)
    for kept in ([offered], []):
        want = screen.round_mean(RobustSpec(), kept, None, 1_400)
        assert screen.round_mean(RobustSpec(), kept, None, 1_400, room) is room
        assert torch.equal(room, want)
