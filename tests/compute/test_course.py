"""How long units are where their steps go by the learning rate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dpin.base.errors import Misuse
from dpin.base.ids import NO_BLOB, NO_DIGEST, Round
from dpin.base.leaf import window_bounds
from dpin.compute.course import SHORTEST, Course, course_of, fallen_ppm, steps_before, unit_bounds
from dpin.compute.limits import check_train
from dpin.compute.presets import DATA_PARALLEL, QUICK
from dpin.compute.task import COSINE, LINEAR, SCHEDULES, TrainManifest
from tests.support.training import TINY, TINY_INNER


def job(steps: int, windows: int, rounds: int, schedule: str = LINEAR) -> TrainManifest:
    inner = replace(TINY_INNER, steps=steps, warmup_steps=0, steps_by_rate=True, schedule=schedule)
    return TrainManifest(
        model=TINY,
        inner=inner,
        outer=QUICK,
        seats=1,
        rounds=rounds,
        windows=windows,
        shards=(NO_BLOB,),
        holdout=NO_BLOB,
        initial=NO_BLOB,
        state_hash=NO_DIGEST,
        fingerprint=NO_DIGEST,
    )


JOBS = st.integers(4, 16).flatmap(
    lambda windows: st.builds(
        job,
        st.integers(windows, 100_000),
        st.just(windows),
        st.integers(1, 10_000),
        st.sampled_from(SCHEDULES),
    )
)


@given(JOBS)
def test_units_grow_from_a_quarter_at_least_to_the_whole_in_windows_of_it(
    manifest: TrainManifest,
) -> None:
    whole = window_bounds(manifest.inner.steps, manifest.windows)
    rounds = sorted({*range(0, manifest.rounds, 1 + manifest.rounds // 50), manifest.rounds})
    units = [unit_bounds(manifest, Round(number)) for number in rounds]
    lengths = [len(unit) for unit in units]
    assert lengths == sorted(lengths)
    assert all(unit == whole[: len(unit)] for unit in units)
    assert units[0][-1] * SHORTEST >= manifest.inner.steps
    assert units[-1] == whole
    for number, unit in zip(rounds[:-1], units, strict=False):
        steps = [steps_before(manifest, Round(at)) for at in (number, number + 1)]
        assert steps[1] - steps[0] == unit[-1]


def test_a_unit_without_that_has_all_steps_in_every_round() -> None:
    manifest = job(20, 4, 10)
    manifest = replace(manifest, inner=replace(manifest.inner, steps_by_rate=False))
    assert [unit_bounds(manifest, Round(at)) for at in (0, 9)] == [[0, 5, 10, 15, 20]] * 2
    assert steps_before(manifest, Round(7)) == 140
    assert course_of(manifest) == Course(manifest.inner, 200)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rounds_drift_alike_until_the_rate_is_a_quarter(schedule: str) -> None:
    manifest = job(160, 16, 200, schedule)
    course = course_of(manifest)
    drifts = []
    for number in range(200):
        began, steps = steps_before(manifest, Round(number)), unit_bounds(manifest, Round(number))
        rate = course.rate(began) / course.rate(0)
        if rate > 1 / SHORTEST:
            drifts.append(rate * steps[-1])
    assert len(drifts) > 150
    assert 39 <= min(drifts) <= max(drifts) <= 50  # a quarter of the steps, and one window


def test_the_cosine_of_integers_is_that_of_the_mathematicians() -> None:
    for step in range(1_001):
        wanted = 100_000 + 450_000 * (1 + math.cos(math.pi * step / 1_000))
        assert fallen_ppm(COSINE, step, 1_000) == pytest.approx(wanted, abs=2)
    assert fallen_ppm(COSINE, 5_000, 1_000) == 100_000


def test_where_a_round_is_one_step_they_cannot_go_by_the_rate() -> None:
    manifest = replace(job(16, 8, 4), outer=DATA_PARALLEL)
    with pytest.raises(Misuse, match="a round is one step"):
        check_train(manifest)
