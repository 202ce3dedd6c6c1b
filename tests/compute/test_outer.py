"""The global state and its outer step, against plain Python integers and fractions."""

from math import isqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dpin.base.errors import Misuse
from dpin.base.ids import Round
from dpin.base.units import MILLION
from dpin.compute.blocks import BYTE, quantise
from dpin.compute.outer import mean_movement, merge, movement, weights_of
from dpin.compute.presets import DEMO_MODEL, DENSE, QUICK, SHORT, STANDARD, outer_preset
from dpin.compute.robust import clip_factors, clipped, norm
from dpin.compute.rules import Descent
from dpin.compute.state import GlobalState, initial_state, state_hash
from dpin.compute.task import SPARSE, EncodingSpec, ModelSpec, OuterSpec
from dpin.compute.tensors import ONE, UNITS_MAX, as_float, as_units
from dpin.compute.updates import Update, written
from dpin.compute.weights import parameter_count
from tests.support.training import TINY

SMALLEST = ModelSpec(1, 1, 1, 1)
COUNT = parameter_count(SMALLEST)
VECTOR = st.lists(st.integers(-(1 << 35), 1 << 35), min_size=COUNT, max_size=COUNT)


def small_vectors(seed: int) -> Tensor:
    """(COUNT,) int64 that differ from seed to seed."""
    return torch.tensor(
        [(seed * 7919 + index * 104729) % 2_000_003 - 10**6 for index in range(COUNT)]
    )


UPDATES = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 1 << 20)), min_size=1, max_size=6
).map(lambda parts: [(quantise(small_vectors(seed) << 8, BYTE), steps) for seed, steps in parts])


def naive_merge(state: GlobalState, outer: OuterSpec, parts: list[tuple[Update, int]]) -> list[int]:
    """The same in Python integers, element after element."""
    total = sum(steps for _, steps in parts)
    moves = [update.dense().tolist() for update, _ in parts]  # units of 2^-30; norms: 2^-24
    norms = [isqrt(sum(value * value for value in move) >> 12) for move in moves]
    held, momenta = state.parameters.tolist(), [0] * COUNT
    if state.momentum is not None:
        momenta = state.momentum.tolist()
    median = sorted(norms)[(len(norms) - 1) // 2]
    merged = []
    for index in range(COUNT):
        summed = 0
        for (_, steps), move, size in zip(parts, moves, norms, strict=True):
            value = move[index]
            if len(parts) >= 3 and size > median:
                value = value * (median * 10**6 // size) // 10**6
            summed += value * (steps * 2**16 // total)
        mean = summed >> 16
        momentum = mean + momenta[index] * outer.momentum_ppm // 10**6
        step = mean + momentum * outer.momentum_ppm // 10**6 if outer.nesterov else momentum
        merged.append(held[index] + step * outer.learning_rate_ppm // 10**6)
    return merged


@settings(max_examples=25)
@given(UPDATES, st.sampled_from([QUICK, SHORT, OuterSpec(700_000, 900_000, nesterov=False)]))
def test_a_merge_is_what_plain_integers_give(
    parts: list[tuple[Update, int]], outer: OuterSpec
) -> None:
    state = initial_state(SMALLEST, b"seed")
    for _ in range(2):
        want = naive_merge(state, outer, parts)
        state = merge(
            state, Descent(outer), [update for update, _ in parts], [steps for _, steps in parts]
        )
        assert state.parameters.tolist() == want
    assert state.round == 2


@settings(max_examples=25)
@given(UPDATES, st.randoms(use_true_random=False))
def test_the_order_of_updates_does_not_matter(
    parts: list[tuple[Update, int]], dice: object
) -> None:
    state = initial_state(SMALLEST, b"seed")
    shuffled = list(parts)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    hashes = {
        state_hash(
            merge(
                state,
                Descent(SHORT),
                [update for update, _ in order],
                [steps for _, steps in order],
            )
        )
        for order in (parts, parts[::-1], shuffled)
    }
    assert len(hashes) == 1


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=1024))
def test_weights_never_add_up_to_more_than_one(steps: list[int]) -> None:
    weights = weights_of(steps)
    assert (1 << 16) - len(steps) <= sum(weights) <= 1 << 16


@pytest.mark.parametrize("steps", [[0], [1, -1], [1] * 1025])
def test_contributions_out_of_range_are_refused(steps: list[int]) -> None:
    with pytest.raises(Misuse):
        weights_of(steps)


@settings(max_examples=25)
@given(VECTOR)
def test_a_norm_is_exact(moves: list[int]) -> None:
    update = quantise(torch.tensor(moves), BYTE)
    assert norm(update) == isqrt(sum(value * value for value in update.dense().tolist()) >> 12)


def test_an_update_that_is_far_too_large_counts_as_much_as_the_median() -> None:
    honest = [quantise(small_vectors(seed), BYTE) for seed in range(2)]
    huge = quantise(small_vectors(9) * 1000, BYTE)
    factors = clip_factors([*honest, huge])
    assert max(factors) == 10**6
    assert factors[2] < 1_100
    median = sorted(norm(update) for update in (*honest, huge))[1]
    assert abs(norm(huge) * factors[2] // 10**6 - median) <= median // 500


def test_with_two_updates_nothing_is_clipped() -> None:
    assert (
        clip_factors([quantise(small_vectors(0), BYTE), quantise(small_vectors(1) * 1000, BYTE)])
        == [10**6] * 2
    )


def test_a_round_without_contributions_keeps_the_parameters() -> None:
    state = initial_state(SMALLEST, b"seed")
    merged = merge(state, Descent(QUICK), [], [])
    assert torch.equal(merged.parameters, state.parameters)
    assert merged.round == 1


def test_parameters_saturate_at_their_range() -> None:
    state = GlobalState(SMALLEST, Round(0), torch.full((COUNT,), UNITS_MAX))
    largest = quantise(torch.full((COUNT,), 1 << 36), BYTE)
    assert merge(state, Descent(QUICK), [largest], [1]).parameters.max() == UNITS_MAX


@pytest.mark.parametrize(
    ("rate", "momentum"), [(0, 0), (2_000_001, 0), (1_000_000, -1), (1_000_000, 950_001)]
)
def test_an_outer_step_that_could_leave_the_integers_is_refused(rate: int, momentum: int) -> None:
    outer = OuterSpec(rate, momentum, nesterov=True)
    with pytest.raises(Misuse):
        Descent(outer)


def test_the_largest_momentum_stays_inside_the_integers() -> None:
    state = initial_state(SMALLEST, b"seed")
    outer = OuterSpec(2_000_000, 950_000, nesterov=True)
    largest = quantise(torch.full((COUNT,), 1 << 36), BYTE)
    for _ in range(200):
        state = merge(state, Descent(outer), [largest], [1])
    assert state.momentum is not None
    assert 0 < int(state.momentum.min()) <= int(state.momentum.max()) < UNITS_MAX
    assert state.parameters.min() == UNITS_MAX


@settings(max_examples=25)
@given(VECTOR)
def test_units_and_floats_round_half_to_even_once(units: list[int]) -> None:
    for value, single in zip(units, as_float(torch.tensor(units)).tolist(), strict=True):
        assert single == torch.tensor(value / ONE, dtype=torch.float64).float().item()
        assert int(as_units(torch.tensor([single]))[0]) == round(single * ONE)


def test_an_update_leads_from_the_base_to_the_trained_parameters() -> None:
    state = initial_state(TINY, b"seed")
    trained = as_float(state.parameters) + 0.01
    merged = merge(state, Descent(QUICK), [written(DENSE, movement(trained, state))], [5])
    assert (as_float(merged.parameters) - trained).abs().max() < 1e-4


def test_a_state_hash_depends_on_all_of_the_state() -> None:
    state = initial_state(TINY, b"seed")
    other = state.parameters.clone()
    other[-1] += 1
    momentum = torch.zeros_like(other)
    hashes = {
        state_hash(GlobalState(TINY, Round(0), *vectors))
        for vectors in ((state.parameters,), (other,), (state.parameters, momentum))
    }
    assert len(hashes) == 3


def test_initial_weights_and_state_hashes_are_pinned() -> None:
    # Other values mean that nodes of two versions cannot train together.
    tiny = state_hash(initial_state(TINY, b"seed")).hex()
    demo = state_hash(initial_state(DEMO_MODEL, b"demo")).hex()
    assert tiny == "debed8b562415e137575e0a2a56347dc16d6a843d71ef92100f58a44ea05b918"
    assert demo == "9578a3e8b5b01bb613c7027d0055e7c51d87e26a06a14d211ca4d1d2608b46ea"


def test_initial_weights_have_the_deviation_they_should() -> None:
    weights = as_float(initial_state(DEMO_MODEL, b"demo").parameters)
    assert 0.015 < float(weights[weights != 1].std()) < 0.021
    assert abs(float(weights[weights != 1].mean())) < 1e-3


def test_long_jobs_get_momentum() -> None:
    assert outer_preset(29) == QUICK
    assert outer_preset(30) == SHORT
    assert outer_preset(100) == STANDARD


def test_a_sparse_update_is_merged_by_what_it_says_as_if_all_else_were_written_too() -> None:
    generator = torch.Generator().manual_seed(3)
    drawn = [
        torch.randint(-(1 << 20), 1 << 20, (10_000,), generator=generator) * (at + 1)
        for at in range(4)
    ]
    updates = [written(EncodingSpec(SPARSE, 64), one) for one in drawn]
    factors = clip_factors(updates)
    assert any(factor < MILLION for factor in factors)
    assert [norm(one) for one in updates] == [
        isqrt(sum(int(n) ** 2 for n in (one.dense() // 64).tolist())) for one in updates
    ]
    weights = weights_of([1, 2, 3, 4])
    total = sum(
        clipped(one, factor) * weight
        for one, factor, weight in zip(updates, factors, weights, strict=True)
    )
    assert isinstance(total, torch.Tensor)
    assert torch.equal(mean_movement(updates, [1, 2, 3, 4], 10_000), total >> 16)
