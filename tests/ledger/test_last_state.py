"""What a job's last round led to: said by those who were there to the end, and nobody waits."""

import msgspec
import pytest

from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest, JobId
from dpin.base.units import LedgerMillis
from dpin.ledger.accounts import JobState
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.roots import root_of
from dpin.ledger.transactions import EVAL, INFER, Cancel, LastState, Stop
from dpin.ledger.views import ended_in
from tests.support.ledgers import (
    OTHER,
    PRICE,
    Ledger,
    award,
    check_honestly,
    exchange,
    finish,
    is_quiet,
    key_of,
    lease_of,
    make_ready,
    peopled,
    propose,
    running,
)
from tests.support.twins import peopled_twins, restored

END = digest("test/state", b"end")


@pytest.fixture
def ledger() -> Ledger:
    return peopled("req", "ann", "bob", "cat", "dan")


def over(ledger: Ledger, *names: str, **changes: object) -> JobId:
    """A job whose last round these have closed."""
    job = running(ledger, "req", *names, **changes)
    finish(ledger, job, *names)
    exchange(ledger, job, *names)
    return job


def say(ledger: Ledger, job: JobId, name: str, state: Digest = END) -> str:
    return ledger.do(name, LastState(lease_of(ledger, job, name).id, state))


def told(ledger: Ledger, job: JobId) -> Digest | None:
    return ended_in(ledger.state.jobs[job])


def test_more_than_half_of_those_who_were_there_to_the_end_say_what_a_job_ended_in(
    ledger: Ledger,
) -> None:
    job = over(ledger, "ann", "bob", "cat")
    assert say(ledger, job, "ann") == "ok"
    assert told(ledger, job) is None
    assert say(ledger, job, "cat") == "ok"
    assert told(ledger, job) == END


def test_a_liar_changes_nothing_where_more_than_half_say_the_truth(ledger: Ledger) -> None:
    job = over(ledger, "ann", "bob", "cat")
    assert say(ledger, job, "bob", OTHER) == "ok"
    for name in ("ann", "cat"):
        assert say(ledger, job, name) == "ok"
    assert told(ledger, job) == END
    assert ledger.state.jobs[job].said[lease_of(ledger, job, "bob").id] == OTHER


def test_half_of_them_agree_on_nothing(ledger: Ledger) -> None:
    job = over(ledger, "ann", "bob")
    assert say(ledger, job, "ann") == "ok"
    assert told(ledger, job) is None
    assert say(ledger, job, "bob", OTHER) == "ok"
    assert told(ledger, job) is None


def test_a_job_ends_and_pays_without_a_word_and_takes_one_afterwards(ledger: Ledger) -> None:
    job = over(ledger, "ann")
    check_honestly(ledger, key_of(ledger, job, "ann"))
    found = ledger.state.jobs[job]
    assert found.state == JobState.DONE
    assert is_quiet(ledger.state, found)
    assert job not in ledger.state.live_jobs
    assert ledger.executor.next_deadline is None
    assert say(ledger, job, "ann") == "ok"
    assert told(ledger, job) == END
    assert is_quiet(ledger.state, found)


def test_a_word_counts_once_from_its_own_seat_and_in_time(ledger: Ledger) -> None:
    job = over(ledger, "ann", "bob")
    ann = lease_of(ledger, job, "ann").id
    assert ledger.do("bob", LastState(ann, END)) == "not-the-provider"
    assert ledger.do("req", LastState(ann, END)) == "not-the-provider"
    for state in (NO_DIGEST, Digest(bytes(31))):
        assert ledger.do("ann", LastState(ann, state)) == "bad-field"
    assert ledger.do("ann", LastState(OTHER, END)) == "unknown-lease"
    assert say(ledger, job, "ann") == "ok"
    assert say(ledger, job, "ann", OTHER) == "already-said"
    ledger.wait(ledger.state.jobs[job].deadline - ledger.state.tick)
    assert say(ledger, job, "bob") == "too-late"
    assert ledger.state.jobs[job].said == {ann: END, lease_of(ledger, job, "bob").id: NO_DIGEST}


def test_before_the_last_round_has_closed_nobody_says_what_it_led_to(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", rounds=2)
    finish(ledger, job, "ann", "bob")
    assert say(ledger, job, "ann") == "not-in-roster"
    exchange(ledger, job, "ann", "bob")
    assert say(ledger, job, "ann") == "not-in-roster"


def test_who_left_before_the_end_has_no_say(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", rounds=2)
    assert ledger.do("req", Stop(lease_of(ledger, job, "cat").id)) == "ok"
    assert award(ledger, job, dan=PRICE) == "ok"
    finish(ledger, job, "ann", "bob")
    exchange(ledger, job, "ann", "bob")
    make_ready(ledger, job, "dan")  # For a round that there will not be.
    finish(ledger, job, "ann", "bob")
    exchange(ledger, job, "ann", "bob")
    for name in ("cat", "dan"):
        assert say(ledger, job, name) == "not-in-roster"
    for name in ("ann", "bob"):
        assert say(ledger, job, name) == "ok"
    assert told(ledger, job) == END


def test_a_cancelled_job_has_a_last_state_and_one_without_rounds_or_seats_has_none(
    ledger: Ledger,
) -> None:
    job = running(ledger, "req", "ann", rounds=5)
    assert ledger.do("req", Cancel(job)) == "ok"
    finish(ledger, job, "ann")
    exchange(ledger, job, "ann")
    assert say(ledger, job, "ann") == "ok"
    assert told(ledger, job) == END
    unbegun, left = propose(ledger, "req"), running(ledger, "req", "bob", rounds=2)
    assert ledger.do("req", Cancel(unbegun)) == "ok"
    assert ledger.do("req", Stop(lease_of(ledger, left, "bob").id)) == "ok"
    ledger.wait(400)
    for one in (unbegun, left):
        assert ledger.state.jobs[one].state.ended
        assert ledger.state.jobs[one].said == {}
    assert say(ledger, left, "bob") == "not-in-roster"


@pytest.mark.parametrize("changes", [{"kind": EVAL}, {"kind": INFER, "windows": 1, "verifiers": 1}])
def test_where_nothing_is_trained_there_is_no_last_state(
    ledger: Ledger, changes: dict[str, object]
) -> None:
    job = propose(ledger, "req", **changes)
    assert award(ledger, job, ann=PRICE) == "ok"
    make_ready(ledger, job, "ann")
    finish(ledger, job, "ann")
    if "windows" not in changes:
        exchange(ledger, job, "ann")
    check_honestly(ledger, key_of(ledger, job, "ann"))
    assert ledger.state.jobs[job].state.ended
    assert say(ledger, job, "ann") == "not-in-roster"


def test_what_was_said_is_under_the_root_and_in_the_state_that_others_join_by() -> None:
    params = msgspec.structs.replace(DEVELOPMENT, epoch_ms=LedgerMillis(4_000))
    ledger = peopled_twins("req", "ann", "bob", "cat", "dan", params=params)
    job = over(ledger, "ann", "bob")
    before = root_of(ledger.state)
    assert say(ledger, job, "bob") == "ok"
    assert root_of(ledger.state) != before
    while not ledger.joined:
        ledger.commit(after_ms=500)
    frozen = ledger.executor.frozen.states[-1]
    assert restored(frozen).state.jobs[job].said == ledger.state.jobs[job].said
    assert say(ledger, job, "ann") == "ok"
    assert told(ledger, job) == END
    ledger.wait(100)
    assert ledger.joined > 1
