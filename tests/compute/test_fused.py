"""The fused loops find what torch finds, to the bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpin.compute import fused
from dpin.compute.blocks import SCALE_MAX, VALUE_MAX, quantise
from dpin.compute.outer import mean_movement

MOVES = st.lists(st.integers(-(1 << 41), 1 << 41), min_size=1, max_size=600)


@pytest.mark.parametrize("bits", [8, 4])
@settings(deadline=None)
@given(MOVES | st.lists(st.integers(-40_000, 40_000), min_size=1, max_size=300))
def test_a_movement_is_quantised_as_by_torch(bits: int, moves: list[int]) -> None:
    assert fused.available()
    want = quantise(torch.tensor(moves), bits)
    scales, values = fused.quantised(torch.tensor(moves), VALUE_MAX[bits], SCALE_MAX)
    assert torch.equal(scales, want.scales)
    assert torch.equal(values, want.values)


@settings(deadline=None)
@given(MOVES, st.integers(0, 1 << 16))
def test_blocks_are_added_as_by_torch(moves: list[int], weight: int) -> None:
    update = quantise(torch.tensor(moves), 8)
    total = torch.arange(len(moves))
    want = total + update.dense() * weight
    fused.add(update.scales, update.values, weight, total)
    assert torch.equal(total, want)


def test_a_long_round_has_the_same_mean_with_and_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(1)
    moves = [(torch.randn(5_000, generator=generator) * (1 << 22)).long() for _ in range(2)]
    found = []
    for long in (1, 1 << 30):
        monkeypatch.setattr(fused, "LONG", long)
        found.append(mean_movement([quantise(part, 8) for part in moves], [1, 2], 5_000))
    assert torch.equal(*found)
