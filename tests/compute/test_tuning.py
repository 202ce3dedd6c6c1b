"""The choice of steps and encoding: as often as the links allow, and no oftener."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dpin.compute.task import INT8, SPARSE
from dpin.compute.tuning import (
    CANDIDATES,
    SHARE_PPM_MAX,
    STEPS_MAX,
    STEPS_MIN,
    Choice,
    Measured,
    choose,
    update_size,
)
from dpin.compute.updates import update_bytes

MBIT = 125_000
SMALL = 500_000
GPT2 = 124_000_000

MEASURED = st.builds(
    Measured,
    parameters=st.integers(1_000, 10**9),
    seats=st.integers(1, 20),
    step_us=st.integers(100, 10**7),
    up=st.integers(10_000, 10**10),
    down=st.integers(10_000, 10**10),
    dense_us=st.integers(0, 10**7),
    sparse_us=st.integers(0, 10**7),
)


@given(MEASURED)
def test_communication_takes_a_twentieth_at_most_or_nothing_better_was_to_be_had(
    measured: Measured,
) -> None:
    choice = choose(measured)
    assert STEPS_MIN <= choice.steps <= STEPS_MAX
    if choice.idle_ppm > SHARE_PPM_MAX:
        assert choice.steps == STEPS_MAX
        assert "more than the 5 %" in choice.explained(measured)


@given(MEASURED, st.integers(2, 100))
def test_a_faster_link_never_means_rarer_merges(measured: Measured, factor: int) -> None:
    faster = Measured(
        measured.parameters,
        measured.seats,
        measured.step_us,
        measured.up * factor,
        measured.down * factor,
        measured.dense_us,
        measured.sparse_us,
    )
    assert choose(faster).steps <= choose(measured).steps


@given(st.integers(1, 1_000_000), st.sampled_from(CANDIDATES))
def test_the_size_reckoned_with_is_that_of_the_update(parameters: int, encoding: object) -> None:
    assert encoding in CANDIDATES
    for spec in CANDIDATES:
        real = update_bytes(spec, parameters)
        assert abs(update_size(parameters, spec) - real) <= 16 + 14 * spec.kept // 8


def chosen(parameters: int, step_us: int, mbit: int) -> Choice:
    return choose(Measured(parameters, 4, step_us, mbit * MBIT, mbit * MBIT))


def test_a_local_network_merges_often_and_says_much() -> None:
    choice = chosen(SMALL, 50_000, 1_000)
    assert (choice.steps, choice.encoding.name) == (STEPS_MIN, INT8)


def test_a_slow_link_gets_sparse_updates_and_a_slower_one_rarer_merges() -> None:
    home, village = chosen(GPT2, 300_000, 100), chosen(GPT2, 300_000, 2)
    assert (home.encoding.name, village.encoding.name) == (SPARSE, SPARSE)
    assert home.steps < village.steps
    assert home.share_ppm <= SHARE_PPM_MAX


def test_the_choice_is_explained_with_its_figures() -> None:
    measured = Measured(GPT2, 4, 300_000, 100 * MBIT, 100 * MBIT)
    text = choose(measured).explained(measured)
    for word in ("steps", "sparse", "1.5625 %", "300.0 ms", "12,500,000 bytes/s", "% of a round"):
        assert word in text


def test_merges_that_take_long_are_made_seldom_and_the_choice_says_so() -> None:
    quick = Measured(GPT2, 4, 500_000, 100 * MBIT, 100 * MBIT)
    slow = replace(quick, dense_us=8_000_000, sparse_us=6_000_000)
    assert choose(slow).steps > 4 * choose(quick).steps
    assert choose(slow).idle_ppm <= SHARE_PPM_MAX
    assert "writing and merging updates 4." in choose(slow).explained(slow)
    assert "writing" not in choose(quick).explained(quick)
