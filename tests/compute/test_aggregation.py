"""Merging rules against plain Python integers, and against those who lie."""

from hashlib import sha256

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dpin.base.errors import Misuse
from dpin.compute.aggregation.columns import coordinate_median, trimmed_mean
from dpin.compute.aggregation.copies import cosine_ppm
from dpin.compute.aggregation.gram import CHUNK, gram_of, is_narrow
from dpin.compute.aggregation.krum import chosen
from dpin.compute.aggregation.rules import Row, aggregate, liars_of
from dpin.compute.aggregation.screen import Offered, round_mean, screened
from dpin.compute.aggregation.trust import trusted_shares
from dpin.compute.aggregation.weiszfeld import geometric_median
from dpin.compute.limits import MERGE_RULES, check_robust
from dpin.compute.probe import settle
from dpin.compute.robust import clip_factors
from dpin.compute.rules import rule_of
from dpin.compute.safety import RobustSpec
from dpin.compute.updates import Update, written
from tests.support.attacks import ATTACKS, INNER, INT8_SPEC, SEATS, Arena, manifest

MOVE = st.integers(-(1 << 35), 1 << 35)
ROWS = st.integers(1, 7).flatmap(
    lambda count: st.lists(st.lists(MOVE, min_size=5, max_size=5), min_size=count, max_size=count)
)


def tensors(rows: list[list[int]]) -> list[Tensor]:
    return [torch.tensor(row) for row in rows]


def offered(updates: list[Update]) -> list[Offered]:
    return [Offered(f"update {at}", update, 10 + at) for at, update in enumerate(updates)]


def quantise(movement: Tensor) -> Update:
    return written(INT8_SPEC, movement)


def noise(seed: int, count: int = 600, size: int = 1 << 20) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-size, size, (count,), generator=generator)


def test_what_is_a_round_late_weighs_a_step_by_e() -> None:
    kept = [Offered("a", quantise(noise(1)), 10), Offered("b", quantise(noise(2)), 10, age=1)]
    total = 1_000_000 + 367_879
    shares = [(1_000_000 << 16) // total, (367_879 << 16) // total]
    one, two = [part.update.dense() * share for part, share in zip(kept, shares, strict=True)]
    want = (one + two) >> 16
    for rule in ("mean", "krum"):  # of two rows, both are averaged
        assert torch.equal(round_mean(RobustSpec(rule), kept, None, 600), want)
    assert kept[1].weight == 3_678_790


@pytest.mark.parametrize("rule", ["trimmed", "median", "fltrust"])
def test_where_a_rule_knows_no_weights_what_is_late_is_shortened(rule: str) -> None:
    moves = [noise(seed) for seed in range(3)]
    spec, steps = RobustSpec(rule, trusted_steps=1), 10
    kept = [Offered(str(at), quantise(move), steps, at) for at, move in enumerate(moves)]
    dense = [part.update.dense() for part in kept]
    aged = [
        torch.div(row * factor, 1_000_000, rounding_mode="floor")
        for row, factor in zip(dense, factors_of(kept), strict=True)
    ]
    want = aggregate(spec, [Row(row, 21_845) for row in aged], moves[0])
    assert torch.equal(round_mean(spec, kept, moves[0], 600), want)


def factors_of(kept: list[Offered]) -> list[int]:
    factors = clip_factors([part.update for part in kept])
    ages = (1_000_000, 367_879, 135_335)
    return [f * ages[part.age] // 1_000_000 for f, part in zip(factors, kept, strict=True)]


def test_an_age_that_no_ledger_gives_is_refused() -> None:
    with pytest.raises(Misuse, match="3 rounds late"):
        _ = Offered("a", quantise(noise(1)), 10, age=3).weight


@given(ROWS)
def test_inner_products_are_exact(rows: list[list[int]]) -> None:
    want = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    assert gram_of(tensors(rows)) == want


def test_inner_products_are_exact_over_many_chunks_of_the_largest_numbers() -> None:
    row = torch.full((2 * CHUNK + 3,), -(1 << 35) + 1)
    assert gram_of([row]) == [[len(row) * ((1 << 35) - 1) ** 2]]


@given(st.integers(0, 36), ROWS)
def test_inner_products_of_small_numbers_take_one_product(bits: int, rows: list[list[int]]) -> None:
    small = [[number >> bits << 6 for number in row] for row in rows]
    want = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in small] for x in small]
    assert gram_of(tensors(small), 64) == want


def test_one_product_serves_until_a_sum_may_pass_what_float64_holds() -> None:
    most = 1 << 26  # squared, two of them are 2^53
    assert is_narrow(torch.tensor([[most, -most]]), 1)
    assert not is_narrow(torch.tensor([[most, -most - 1]]), 1)
    assert is_narrow(torch.tensor([[-most - 64, most]]), 64)
    assert not is_narrow(torch.tensor([[1 << 31, 0]]), 1 << 10)  # 2^63 with its sign: too large
    assert is_narrow(torch.empty(3, 0, dtype=torch.int64), 1)


@given(ROWS)
def test_trimmed_mean_and_median_are_what_plain_integers_give(rows: list[list[int]]) -> None:
    cut = (len(rows) - 1) // 2
    columns = [sorted(column) for column in zip(*rows, strict=True)]
    for drop, found in (
        (0, trimmed_mean(tensors(rows), 0)),
        (cut, coordinate_median(tensors(rows))),
    ):
        kept = [column[drop : len(rows) - drop] for column in columns]
        assert found.tolist() == [sum(column) // len(column) for column in kept]


@settings(max_examples=40)
@given(ROWS, st.sampled_from(MERGE_RULES), st.randoms(use_true_random=False))
def test_no_rule_looks_at_the_order_of_updates(
    rows: list[list[int]], rule: str, dice: object
) -> None:
    parts = [Row(row, 1000 + 7 * at) for at, row in enumerate(tensors(rows))]
    shuffled = list(parts)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    spec, trusted = RobustSpec(rule, trusted_steps=1), torch.tensor([5, -4, 3, 2, 1])
    assert aggregate(spec, parts, trusted).tolist() == aggregate(spec, shuffled, trusted).tolist()


@settings(max_examples=40)
@given(ROWS, st.sampled_from(MERGE_RULES))
def test_no_rule_leaves_the_range_of_the_rows_by_more_than_a_unit(
    rows: list[list[int]], rule: str
) -> None:
    parts = [Row(row, (1 << 16) // len(rows)) for row in tensors(rows)]
    found = aggregate(RobustSpec(rule, trusted_steps=1), parts, torch.tensor([1, 1, 1, 1, 1]))
    most = max(abs(value) for row in rows for value in row)
    assert all(abs(value) <= most + 1 for value in found.tolist())


def test_krum_leaves_out_those_who_stand_apart() -> None:
    crowd = [noise(seed) // 8 + 1_000_000 for seed in range(5)]
    kept = chosen(gram_of([*crowd, -crowd[0], noise(9) * 4]), 2)
    assert len(kept) == 3
    assert not {5, 6} & set(kept)


def test_the_geometric_median_goes_where_the_exact_one_is() -> None:
    # On a line the geometric median of an odd number of points is the middle one.
    points = [torch.tensor([value]) for value in (0, 1_000, 2_000, 3_000, 1_000_000)]
    shares = geometric_median(gram_of(points), [1] * 5)
    middle = sum(share * int(row[0]) for share, row in zip(shares, points, strict=True)) >> 16
    assert abs(middle - 2_000) < 3_000
    assert shares[4] < 60


def test_trust_goes_to_those_who_go_the_requesters_way() -> None:
    own = noise(1)
    gram = gram_of([own * 3, -own, own + noise(2) // 4, torch.zeros_like(own), own])
    shares = trusted_shares(gram)
    assert shares[1] == shares[3] == 0
    assert abs(shares[0] * 3 - shares[2]) < shares[2] // 10  # its length is cut to the requester's
    assert trusted_shares(gram_of([-own, own])) == [0]


def test_a_copy_counts_for_nothing_and_the_earlier_commit_stands() -> None:
    first, other = quantise(noise(1)), quantise(noise(2))
    blurred = quantise(noise(1) + noise(3) // 50)
    left = screened(offered([first, other, blurred]))
    assert [part.name for part in left.kept] == ["update 0", "update 1"]
    assert left.refused == ("update 2: a copy of update 0, which was committed earlier",)


def test_a_sparse_copy_is_found_by_its_places_though_its_values_differ() -> None:
    mask = noise(5) % 16 == 0
    sparse, elsewhere = noise(1) * mask, noise(4) * (noise(6) % 16 == 0)
    changed = sparse + sparse * (noise(7) % 3 == 0)
    names = [
        part.name
        for part in screened(offered([quantise(one) for one in (sparse, elsewhere, changed)])).kept
    ]
    assert names == ["update 0", "update 1"]
    assert cosine_ppm(gram_of([sparse, elsewhere]), 0, 1) < 200_000


@pytest.mark.parametrize(("shared", "refused"), [(3, 0), (5, 1)])
def test_two_sparse_updates_that_share_two_fifths_of_their_places_are_one(
    shared: int, refused: int
) -> None:
    # Ten large numbers each; what they do not share is small, so their directions are alike.
    one, other = torch.zeros(600, dtype=torch.int64), torch.zeros(600, dtype=torch.int64)
    one[:shared] = other[:shared] = 1 << 20
    one[20 : 30 - shared] = other[40 : 50 - shared] = 1 << 17
    assert 600_000 < cosine_ppm(gram_of([one, other]), 0, 1) < 999_000
    left = screened(offered([quantise(one), quantise(other)]))
    assert len(left.refused) == refused


def test_who_is_like_a_copy_but_not_like_what_was_copied_is_no_copy() -> None:
    first, drift = noise(1, 6_000), noise(2, 6_000) // 30
    rows = [quantise(first + drift * step) for step in range(3)]
    left = screened(offered(rows))
    assert [part.name for part in left.kept] == ["update 0", "update 2"]


def test_of_two_that_stand_equally_near_krum_takes_one_whoever_came_first() -> None:
    near, nearer, far = noise(1), noise(1) + 64, noise(2)
    for rows in ([near, nearer, far], [nearer, near, far], [far, nearer, near]):
        found = aggregate(RobustSpec("krum"), [Row(row, 1 << 14) for row in rows], None)
        assert torch.equal(found, min(near, nearer, key=content_of))


def content_of(row: Tensor) -> bytes:
    return sha256(row.numpy().tobytes()).digest()


def test_krum_averages_those_it_has_chosen_by_their_work_and_nobody_else() -> None:
    crowd = [noise(seed) // 8 + 1_000_000 for seed in range(5)]
    rows = sorted([*crowd, -crowd[0], noise(9) * 4], key=content_of)
    weights = [(1 << 16) * (at + 1) // 28 for at in range(7)]
    kept = chosen(gram_of(rows), 2)
    total = sum(weights[at] for at in kept)
    want = sum(rows[at] * ((weights[at] << 16) // total) for at in kept) >> 16
    parts = [Row(row, weight) for row, weight in zip(rows, weights, strict=True)]
    found = aggregate(RobustSpec("krum", liars=2), parts, None)
    assert torch.equal(found, torch.as_tensor(want))


def test_a_trimmed_mean_leaves_out_as_many_as_may_lie_on_either_side() -> None:
    rows = [noise(seed) for seed in range(8)]
    parts = [Row(row, 1 << 13) for row in rows]
    assert torch.equal(aggregate(RobustSpec("trimmed"), parts, None), trimmed_mean(rows, 2))
    found = aggregate(RobustSpec("trimmed", liars=3), parts, None)
    assert torch.equal(found, trimmed_mean(rows, 3))


def test_a_short_update_is_never_stretched_to_the_trusted_one() -> None:
    own = noise(1)
    assert trusted_shares(gram_of([own // 1_000, own])) == [1 << 16]


def test_a_giant_is_refused_and_a_large_one_clipped() -> None:
    crowd = [quantise(noise(seed)) for seed in range(3)]
    left = screened(offered([*crowd, quantise(noise(8) * 90), quantise(noise(9) * 1000)]))
    assert [part.name for part in left.kept] == [f"update {at}" for at in range(4)]
    assert "giant" in left.refused[0]


def test_updates_of_nothing_are_no_copies_of_each_other() -> None:
    still = quantise(torch.zeros(600, dtype=torch.int64))
    assert len(screened(offered([still, still, still])).kept) == 3


@pytest.mark.parametrize(("count", "liars"), [(1, 0), (2, 0), (3, 1), (4, 1), (8, 2), (20, 5)])
def test_one_update_in_four_is_reckoned_a_lie(count: int, liars: int) -> None:
    assert liars_of(RobustSpec("krum"), count) == liars
    assert liars_of(RobustSpec("krum", liars=100), count) == (count - 1) // 2


@pytest.mark.parametrize(
    "spec",
    [RobustSpec("mode"), RobustSpec(liars=-1), RobustSpec("fltrust")],
)
def test_a_rule_that_cannot_be_is_refused(spec: RobustSpec) -> None:
    with pytest.raises(Misuse):
        check_robust(spec)
    with pytest.raises(Misuse):
        aggregate(RobustSpec("fltrust", trusted_steps=1), [Row(noise(1), 1)] * 3, None)


def final_loss(rule: str, attack: str, liars: int = SEATS // 4) -> float:
    steps = INNER.steps if rule == "fltrust" else 0
    arena = Arena(manifest(robust=RobustSpec(rule, trusted_steps=steps)))
    for _ in range(arena.job.rounds):
        updates = arena.updates(liars, ATTACKS.get(attack))
        parts = [Offered(str(at), update, INNER.steps) for at, update in enumerate(updates)]
        trusted = arena.trusted() if rule == "fltrust" else None
        count = len(arena.state.parameters)
        mean = round_mean(arena.job.robust, screened(parts).kept, trusted, count)
        arena.state = rule_of(arena.job).next(arena.state, mean)
    return arena.loss()


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle()


@pytest.fixture(scope="module")
def honest_loss() -> float:
    """What four honest seats reach by the plain mean."""
    return final_loss("mean", "none")


@pytest.mark.parametrize(
    ("attack", "rule"),
    [("sign flip", "median"), ("alie", "krum"), ("copies", "trimmed"), ("garbage", "fltrust")],
)
def test_one_attacker_in_four_costs_less_than_two_percent(
    attack: str, rule: str, honest_loss: float
) -> None:
    # The whole table, and what the plain mean loses, is in benchmarks/robust.py.
    assert final_loss(rule, attack) <= 1.02 * honest_loss


def test_the_plain_mean_shows_that_the_attack_is_one(honest_loss: float) -> None:
    assert final_loss("mean", "sign flip") > 1.02 * honest_loss
