"""Evaluations: each part once; again what is lost or fails its check; no end before all checks."""

import pytest
from msgspec.structs import replace

from dpin.base.ids import JobId
from dpin.ledger.accounts import JobState, UnitState
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.transactions import EVAL, Stop
from dpin.ledger.views import evaluated, open_seats
from tests.support.ledgers import (
    JOB,
    OTHER,
    PRICE,
    Ledger,
    Work,
    award,
    check_honestly,
    exchange,
    finish,
    found_in,
    is_quiet,
    key_of,
    lease_of,
    make_ready,
    peopled,
    propose,
    reveal_all,
    running,
    seal_all,
    unit_of,
    work,
)

COMMIT_TICKS = DEVELOPMENT.commit_ticks + 2 * JOB.unit_ms // DEVELOPMENT.tick_ms


@pytest.fixture
def ledger() -> Ledger:
    return peopled("req", "ann", "bob", "cat", "dan", "eve")


def evaluation(ledger: Ledger, *names: str, rounds: int = 4) -> JobId:
    return running(ledger, "req", *names, kind=EVAL, rounds=rounds, quorum=len(names))


def count(ledger: Ledger, job: JobId, *names: str) -> None:
    """These do their parts and hold each other's counts."""
    finish(ledger, job, *names)
    exchange(ledger, job, *names)


def parts(ledger: Ledger, job: JobId) -> set[int]:
    return set(evaluated(ledger.state, ledger.state.jobs[job]))


def test_one_round_is_enough_where_every_part_is_done_and_found_right(ledger: Ledger) -> None:
    job = evaluation(ledger, "ann", "bob")
    keys = [key_of(ledger, job, name) for name in ("ann", "bob")]
    count(ledger, job, "ann", "bob")
    held = ledger.state.jobs[job]
    assert parts(ledger, job) == {0, 1}
    assert held.state == JobState.RUNNING  # A check may still fail.
    check_honestly(ledger, keys[0])
    assert held.state == JobState.RUNNING
    check_honestly(ledger, keys[1])
    assert (held.state, held.reason, len(held.rounds)) == (JobState.DONE, "", 1)
    assert is_quiet(ledger.state, held)


def test_a_part_whose_provider_was_lost_is_done_by_another_in_a_round_of_its_own(
    ledger: Ledger,
) -> None:
    job = evaluation(ledger, "ann", "bob")
    first = key_of(ledger, job, "ann")
    assert ledger.do("req", Stop(lease_of(ledger, job, "bob").id)) == "ok"
    count(ledger, job, "ann")
    held = ledger.state.jobs[job]
    assert parts(ledger, job) == {lease_of(ledger, job, "ann").seat}
    assert lease_of(ledger, job, "ann").reason == "done"
    assert open_seats(ledger.state, held) == 1
    missing = lease_of(ledger, job, "bob").seat
    # Whoever is done with a part may bid for another.
    assert award(ledger, job, ann=PRICE) == "ok"
    assert lease_of(ledger, job, "ann").seat == missing
    make_ready(ledger, job, "ann")
    again = key_of(ledger, job, "ann")
    assert again != first
    assert again[1] == 1
    count(ledger, job, "ann")
    assert parts(ledger, job) == {0, 1}
    for key in (first, again):
        check_honestly(ledger, key)
    ledger.wait(COMMIT_TICKS)  # Bob's unit has still to lapse.
    assert held.state == JobState.DONE


def test_a_part_that_fails_its_check_is_done_again(ledger: Ledger) -> None:
    job = evaluation(ledger, "ann", "bob")
    ann, bob = key_of(ledger, job, "ann"), key_of(ledger, job, "bob")
    count(ledger, job, "ann", "bob")
    check_honestly(ledger, ann)
    convict(ledger, job, "bob")
    held = ledger.state.jobs[job]
    assert ledger.state.units[bob].state == UnitState.SLASHED
    assert held.state == JobState.RUNNING
    assert parts(ledger, job) == {lease_of(ledger, job, "ann").seat}
    assert award(ledger, job, cat=PRICE) == "ok"
    make_ready(ledger, job, "cat")
    cat = key_of(ledger, job, "cat")
    count(ledger, job, "cat")
    check_honestly(ledger, cat)
    assert (held.state, len(held.rounds)) == (JobState.DONE, 2)
    assert {one.lease for one in evaluated(ledger.state, held).values()} == {ann[0], cat[0]}


def convict(ledger: Ledger, job: JobId, name: str) -> None:
    """Both verifiers find something else."""
    unit = unit_of(ledger, job, name)
    ledger.wait(1)
    found = [OTHER, OTHER]
    seal_all(ledger, unit, found)
    done = work(ledger, (unit.lease, unit.round))
    assert found_in(done, unit) != OTHER
    assert ledger.do(name, done.open_leaf(unit.window)) == "ok"
    reveal_all(ledger, unit, found)


def test_a_part_cut_short_is_paid_for_what_it_did_and_done_again(ledger: Ledger) -> None:
    job = evaluation(ledger, "ann")
    key = key_of(ledger, job, "ann")
    assert ledger.do("ann", work(ledger, key, windows=2).commit()) == "ok"
    exchange(ledger, job, "ann")
    held = ledger.state.jobs[job]
    assert parts(ledger, job) == set()
    assert len(held.rounds) == 2
    count(ledger, job, "ann")
    assert parts(ledger, job) == {0}


def test_without_rounds_left_the_end_names_what_is_missing(ledger: Ledger) -> None:
    job = evaluation(ledger, "ann", "bob", rounds=1)
    key = key_of(ledger, job, "ann")
    assert ledger.do("req", Stop(lease_of(ledger, job, "bob").id)) == "ok"
    count(ledger, job, "ann")
    held = ledger.state.jobs[job]
    check_honestly(ledger, key)
    assert held.state == JobState.RUNNING
    ledger.wait(COMMIT_TICKS + 1)  # Bob's unit lapses.
    assert (held.state, held.reason) == (JobState.EXPIRED, "parts-missing")
    assert is_quiet(ledger.state, held)


def test_nobody_for_a_missing_part_ends_the_job(ledger: Ledger) -> None:
    job = evaluation(ledger, "ann", "bob")
    key = key_of(ledger, job, "ann")
    assert ledger.do("req", Stop(lease_of(ledger, job, "bob").id)) == "ok"
    count(ledger, job, "ann")
    check_honestly(ledger, key)
    ledger.wait(DEVELOPMENT.award_ticks + COMMIT_TICKS)
    held = ledger.state.jobs[job]
    assert (held.state, held.reason) == (JobState.EXPIRED, "no-provider")


def test_the_counts_of_another_part_are_refused(ledger: Ledger) -> None:
    job = evaluation(ledger, "ann", "bob")
    done = work(ledger, key_of(ledger, job, "bob"))
    assert done.leaves[0].cursor == lease_of(ledger, job, "bob").seat * JOB.steps
    training = propose(ledger, "req", kind=EVAL, rounds=2)
    assert award(ledger, training, cat=PRICE) == "ok"
    make_ready(ledger, training, "cat")
    key = key_of(ledger, training, "cat")
    leaves = work(ledger, key).leaves
    other = Work(tuple(replace(leaf, cursor=leaf.cursor + JOB.steps) for leaf in leaves))
    assert ledger.do("cat", other.commit()) == "wrong-binding"
    assert ledger.do("cat", work(ledger, key).commit()) == "ok"
