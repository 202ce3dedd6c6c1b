"""Outer rules: the momentum's ramp, merges in any order, and data-parallel steps bit for bit."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from dpin.base.errors import Misuse
from dpin.compute import rules
from dpin.compute.course import Course
from dpin.compute.limits import check_encoding, check_outer
from dpin.compute.outer import mean_movement, merge
from dpin.compute.presets import DATA_PARALLEL, FEDAVGM, QUICK, SPARSELOCO, sparse_preset
from dpin.compute.rules import DataParallel, Descent, OuterRule
from dpin.compute.state import GlobalState, initial_state, scaled_ppm, state_hash
from dpin.compute.task import FP16, INT4, INT8, SPARSE, TERNARY, EncodingSpec, OuterSpec
from dpin.compute.tensors import UNITS_MAX
from dpin.compute.updates import decode_update, encode_update, written
from dpin.compute.weights import parameter_count
from tests.support.training import TINY, TINY_INNER

COUNT = parameter_count(TINY)
SPECS = (
    EncodingSpec(FP16),
    EncodingSpec(INT8),
    EncodingSpec(INT4),
    EncodingSpec(TERNARY),
    EncodingSpec(SPARSE, 64),
)
RULES: dict[str, OuterRule] = {
    "fedavgm": Descent(FEDAVGM),
    "sparseloco": Descent(SPARSELOCO),
    "data-parallel": DataParallel(Course(TINY_INNER, 8)),
}

PINNED = {
    ("fedavgm", "fp16"): "be5069dd480967ff",
    ("fedavgm", "int8"): "76f317fc01004d4f",
    ("fedavgm", "int4"): "7911e773276aa2d6",
    ("fedavgm", "ternary"): "981f07b072ab1e34",
    ("fedavgm", "sparse"): "d0b4f8143b902319",
    ("sparseloco", "fp16"): "40f12656119fbc84",
    ("sparseloco", "int8"): "311985a70e647471",
    ("sparseloco", "int4"): "cb2aa6f749bc06b5",
    ("sparseloco", "ternary"): "b691867ba81e4982",
    ("sparseloco", "sparse"): "35e751b35bce5d75",
    ("data-parallel", "fp16"): "127a4319b734e216",
    ("data-parallel", "int8"): "1ada2e56cfb6ce0a",
    ("data-parallel", "int4"): "a98658757316687f",
    ("data-parallel", "ternary"): "777298b2ed417379",
    ("data-parallel", "sparse"): "7169d5bbbc93fccd",
}


def moved(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Whole numbers: floats of the same generator differ from processor to processor.
    return torch.randint(-(1 << 21), 1 << 21, (COUNT,), generator=generator)


def merged(rule: OuterRule, spec: EncodingSpec, order: tuple[int, ...]) -> GlobalState:
    state = initial_state(TINY, b"seed")
    for round_ in range(2):
        files = {seat: encode_update(written(spec, moved(seat + 10 * round_))) for seat in order}
        updates = [decode_update(files[seat], spec, COUNT) for seat in order]
        state = merge(state, rule, updates, [1 + seat for seat in order])
    return state


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_any_order_of_updates_gives_the_same_state_hash(
    rule: OuterRule, spec: EncodingSpec
) -> None:
    assert len({state_hash(merged(rule, spec, order)) for order in permutations(range(3))}) == 1


def test_state_hashes_of_merges_are_pinned() -> None:
    found = {
        (name, spec.name): state_hash(merged(rule, spec, (0, 1, 2))).hex()[:16]
        for name, rule in RULES.items()
        for spec in SPECS
    }
    assert found == PINNED  # Other values: nodes of two versions cannot train together.


@pytest.mark.parametrize("outer", [QUICK, FEDAVGM, SPARSELOCO, OuterSpec(300_000, 0, False, 0)])
def test_steps_in_parts_end_in_the_same_state(
    monkeypatch: pytest.MonkeyPatch, outer: OuterSpec
) -> None:
    found = []
    for at_once in (1 << 18, 100):
        monkeypatch.setattr(rules, "AT_ONCE", at_once)
        state = initial_state(TINY, b"seed")
        for seed in range(3):
            state = Descent(outer).next(state, moved(seed))
        found.append(state_hash(state))
    assert found[0] == found[1]


def test_a_step_without_momentum_needs_no_memory_of_its_own() -> None:
    mean, state = moved(1), initial_state(TINY, b"seed")
    want = (state.parameters + scaled_ppm(mean, 300_000)).clamp(-UNITS_MAX, UNITS_MAX)
    after = Descent(OuterSpec(300_000, 0, False, 0)).next(state, mean)
    assert after.parameters is mean
    assert torch.equal(mean, want)
    assert state_hash(state) == state_hash(initial_state(TINY, b"seed"))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_merge_in_parts_of_the_model_is_the_merge_of_the_whole(spec: EncodingSpec) -> None:
    updates = [written(spec, moved(seat)) for seat in range(2)]
    whole = mean_movement(updates, [1, 2], COUNT)
    summed = sum(
        (update.dense() * weight for update, weight in zip(updates, (21845, 43690), strict=True)),
        torch.zeros(COUNT, dtype=torch.int64),
    )
    assert torch.equal(whole, summed >> 16)
    cut = COUNT // 3
    assert torch.equal(whole[:cut], summed[:cut] >> 16)


def test_momentum_rises_over_its_warm_up_rounds() -> None:
    ramp = Descent(OuterSpec(700_000, 900_000, nesterov=True, ramp_rounds=3))
    found = [ramp.momentum_ppm(round_) for round_ in range(5)]
    assert found == [300_000, 600_000, 900_000, 900_000, 900_000]
    assert Descent(FEDAVGM).momentum_ppm(0) == 600_000


def test_data_parallel_steps_are_those_of_adamw() -> None:
    rule = DataParallel(Course(TINY_INNER, 8))
    state = initial_state(TINY, b"seed")
    weights = (state.parameters.double() / (1 << 30)).requires_grad_()
    gradients = [-(moved(seed).double() / (1 << 30)) / 16 for seed in range(3)]
    adam = torch.optim.AdamW([weights], lr=1.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    for gradient in gradients:
        adam.param_groups[0]["lr"] = rule.course.rate(state.round)
        decay = adam.param_groups[0]["lr"] * TINY_INNER.weight_decay_ppm / 1e6
        with torch.no_grad():
            gains = (weights - 1).abs() < 0.02  # Norms start at one and are not decayed.
            weights.mul_(torch.where(gains, 1.0, 1 - decay))
        weights.grad = gradient
        adam.step()
        state = rule.next(state, (gradient * -16 * (1 << 30)).round().to(torch.int64))
    assert (state.parameters.double() / (1 << 30) - weights).abs().max() < 1e-6


@pytest.mark.parametrize(
    "encoding",
    [
        EncodingSpec("int3"),
        EncodingSpec(INT8, 5),
        EncodingSpec(SPARSE, 0),
        EncodingSpec(SPARSE, 1025),
        EncodingSpec(INT4, 0, 1_000_001),
        EncodingSpec(TERNARY, 5),
    ],
)
def test_an_encoding_that_cannot_be_is_refused(encoding: EncodingSpec) -> None:
    with pytest.raises(Misuse):
        check_encoding(encoding)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(Misuse):
        check_outer(OuterSpec(1, 0, nesterov=False, rule="adam"))
    check_outer(DATA_PARALLEL)


def test_the_larger_the_model_the_smaller_the_share_that_is_sent() -> None:
    kept = [sparse_preset(size).kept for size in (10**6, 5 * 10**7, 10**9)]
    assert kept == [256, 128, 64]
    assert QUICK == SPARSELOCO
