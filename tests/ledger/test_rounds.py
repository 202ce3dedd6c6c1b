"""Rounds: who is in, when they close, what they take; replacements, pauses and ends."""

import pytest

from dpin.base.ids import NO_DIGEST, Digest, JobId, Round
from dpin.base.units import MicroTokens
from dpin.ledger.accounts import JobState, LeaseState, Phase, RoundRecord, UnitKey, UnitState
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.transactions import INFER, Cancel, Have, Stop
from dpin.ledger.views import LATE_AGE_MAX, made_in, offers
from tests.support.ledgers import (
    JOB,
    OTHER,
    PRICE,
    START,
    Ledger,
    award,
    bonds,
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
    unit_of,
    work,
)

COMMIT_TICKS = DEVELOPMENT.commit_ticks + 2 * JOB.unit_ms // DEVELOPMENT.tick_ms


@pytest.fixture
def ledger() -> Ledger:
    return peopled("req", "ann", "bob", "cat", "dan")


def last(ledger: Ledger, job: JobId) -> RoundRecord:
    return ledger.state.jobs[job].rounds[-1]


def names(ledger: Ledger, leases: list[Digest]) -> set[str]:
    return {ledger.name(ledger.state.leases[lease].provider) for lease in leases}


def test_a_round_ends_as_soon_as_all_have_committed_and_hold_everything(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", rounds=2)
    start = ledger.state.tick
    finish(ledger, job, "ann", "bob")
    assert last(ledger, job).phase == Phase.TRAIN
    finish(ledger, job, "cat")
    assert last(ledger, job).phase == Phase.EXCHANGE
    exchange(ledger, job, "ann", "bob", "cat")
    closed, following = ledger.state.jobs[job].rounds
    assert closed.closed
    assert names(ledger, [one.lease for one in closed.included]) == {"ann", "bob", "cat"}
    assert [one.lease for one in closed.included] == closed.roster == sorted(closed.roster)
    assert following.round == 1
    assert ledger.state.tick <= start + 1


def test_a_quorum_and_its_grace_close_a_round_without_the_slow(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", rounds=2)
    finish(ledger, job, "ann")
    ledger.wait(DEVELOPMENT.grace_ticks + 1)
    assert last(ledger, job).phase == Phase.TRAIN
    finish(ledger, job, "bob")
    at = ledger.state.tick
    assert last(ledger, job).quorum_at == at
    ledger.wait(DEVELOPMENT.grace_ticks)
    assert last(ledger, job).phase == Phase.EXCHANGE
    assert names(ledger, last(ledger, job).candidates) == {"ann", "bob"}
    finish(ledger, job, "cat")
    assert names(ledger, last(ledger, job).candidates) == {"ann", "bob"}
    assert last(ledger, job).late == []
    key = key_of(ledger, job, "cat")
    exchange(ledger, job, "ann", "bob", "cat")
    closed = ledger.state.jobs[job].rounds[0]
    assert names(ledger, [one.lease for one in closed.included]) == {"ann", "bob"}
    check_honestly(ledger, key)
    assert ledger.state.units[key].state == UnitState.PAID


def test_after_a_long_way_to_the_quorum_the_grace_is_a_tenth_of_it(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", unit_ms=400_000)
    began = ledger.state.tick
    ledger.wait(30 * DEVELOPMENT.grace_ticks)
    finish(ledger, job, "ann", "bob")
    record = last(ledger, job)
    assert record.quorum_at is not None
    took = record.quorum_at - began
    assert record.deadline - record.quorum_at == -(-took // 10) >= 3 * DEVELOPMENT.grace_ticks
    ledger.wait(DEVELOPMENT.grace_ticks + 1)
    finish(ledger, job, "cat")
    assert names(ledger, last(ledger, job).candidates) == {"ann", "bob", "cat"}


def test_a_named_quorum_of_one_waits_for_one(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", quorum=1)
    finish(ledger, job, "ann")
    assert last(ledger, job).quorum_at == ledger.state.tick


def test_a_named_quorum_above_the_roster_is_the_roster(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", quorum=3)
    finish(ledger, job, "ann", "bob")
    assert last(ledger, job).quorum_at is None
    assert ledger.do("req", Stop(lease_of(ledger, job, "cat").id)) == "ok"
    assert last(ledger, job).phase == Phase.EXCHANGE


def test_without_a_quorum_the_deadline_ends_the_round_and_units_lapse(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", rounds=2)
    finish(ledger, job, "ann")
    ledger.wait(COMMIT_TICKS + 1)
    record = last(ledger, job)
    assert record.phase == Phase.EXCHANGE
    assert names(ledger, record.candidates) == {"ann"}
    assert unit_of(ledger, job, "bob").state == UnitState.LAPSED
    assert ledger.do("bob", work(ledger, key_of(ledger, job, "bob")).commit()) == "not-running"
    ledger.wait(DEVELOPMENT.have_ticks)
    assert ledger.state.jobs[job].rounds[0].included == []
    assert names(ledger, last(ledger, job).roster) == {"ann"}
    assert lease_of(ledger, job, "bob").reason == "silent"


def test_a_lapse_costs_half_a_price_and_refunds_the_rest(ledger: Ledger) -> None:
    free = ledger.account("req").free
    job = running(ledger, "req", "ann")
    stake = ledger.account("ann").stake
    ledger.wait(COMMIT_TICKS + 1)
    assert ledger.account("ann").stake == stake - PRICE // 2
    assert ledger.account("ann").faults == 1
    assert ledger.account("req").free == free + PRICE // 2
    assert ledger.state.jobs[job].state == JobState.DONE
    assert bonds(ledger.state) == 0


def test_a_member_that_posts_haves_stays_though_it_was_late(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", rounds=2)
    finish(ledger, job, "ann", "bob")
    ledger.wait(DEVELOPMENT.grace_ticks)
    exchange(ledger, job, "ann", "bob", "cat")
    assert names(ledger, last(ledger, job).roster) == {"ann", "bob", "cat"}
    assert ledger.state.jobs[job].rounds[0].closed


@pytest.mark.parametrize(("lacking", "reason"), [(0, ""), (1, "bond-spent")])
def test_a_lapse_that_leaves_less_than_a_price_of_the_bond_ends_the_lease(
    ledger: Ledger, lacking: int, reason: str
) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", rounds=2)
    lease, account = lease_of(ledger, job, "cat"), ledger.account("cat")
    spent = lease.bond - PRICE // 2 - PRICE + lacking
    lease.bond = MicroTokens(lease.bond - spent)
    account.locked = MicroTokens(account.locked - spent)
    late = key_of(ledger, job, "cat")
    finish(ledger, job, "ann", "bob")
    ledger.wait(DEVELOPMENT.grace_ticks)
    exchange(ledger, job, "ann", "bob", "cat")
    ledger.wait(ledger.state.units[late].deadline - ledger.state.tick)
    assert ledger.state.units[late].state == UnitState.LAPSED
    lease = lease_of(ledger, job, "cat")
    assert lease.bond == PRICE - lacking
    assert (lease.state == LeaseState.ENDED, lease.reason) == (bool(reason), reason)


def test_a_candidate_needs_more_than_half_of_the_heads(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat", "dan", rounds=2)
    finish(ledger, job, "ann", "bob", "cat", "dan")
    first, second = last(ledger, job).candidates[:2]
    for count, name in enumerate(("ann", "bob", "cat")):
        held = tuple(sorted([first] + [second] * (count < 2)))
        lease = lease_of(ledger, job, name).id
        assert ledger.do(name, Have(lease, Round(0), held)) == "ok"
    ledger.wait(DEVELOPMENT.have_ticks)
    assert [one.lease for one in ledger.state.jobs[job].rounds[0].included] == [first]


def test_haves_add_up_and_are_refused_where_they_make_no_sense(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", rounds=2)
    ann, bob = (lease_of(ledger, job, name).id for name in ("ann", "bob"))
    assert ledger.do("ann", Have(ann, Round(0), ())) == "not-exchanging"
    finish(ledger, job, "ann", "bob")
    both = tuple(last(ledger, job).candidates)
    assert ledger.do("ann", Have(bob, Round(0), both)) == "not-the-provider"
    assert ledger.do("ann", Have(ann, Round(1), both)) == "not-exchanging"
    assert ledger.do("ann", Have(ann, Round(0), both[::-1])) == "bad-field"
    assert ledger.do("ann", Have(ann, Round(0), (both[0], both[0]))) == "bad-field"
    assert ledger.do("ann", Have(ann, Round(0), (OTHER,))) == "not-a-candidate"
    assert ledger.do("ann", Have(ann, Round(0), both[:1])) == "ok"
    assert ledger.do("ann", Have(ann, Round(0), both[1:])) == "ok"
    assert last(ledger, job).haves[ann] == both
    assert ledger.do("req", Stop(bob)) == "ok"
    assert ledger.state.jobs[job].rounds[0].closed


def test_candidates_are_those_that_started_where_most_did(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", "cat")
    for name, start in (("ann", OTHER), ("bob", JOB.state_hash), ("cat", JOB.state_hash)):
        done = work(ledger, key_of(ledger, job, name), start=start)
        assert ledger.do(name, done.commit()) == "ok"
    assert names(ledger, last(ledger, job).candidates) == {"bob", "cat"}
    assert last(ledger, job).state_hash == JOB.state_hash


def test_between_two_starts_alike_the_lower_digest_counts(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob")
    for name, start in (("ann", OTHER), ("bob", JOB.state_hash)):
        done = work(ledger, key_of(ledger, job, name), start=start)
        assert ledger.do(name, done.commit()) == "ok"
    assert last(ledger, job).state_hash == min(OTHER, JOB.state_hash)


def test_a_replacement_joins_with_the_next_round(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", rounds=3)
    assert ledger.do("req", Stop(lease_of(ledger, job, "bob").id)) == "ok"
    assert award(ledger, job, cat=PRICE) == "ok"
    assert lease_of(ledger, job, "cat").seat == lease_of(ledger, job, "bob").seat
    make_ready(ledger, job, "cat")
    assert names(ledger, last(ledger, job).roster) == {"ann", "bob"}
    finish(ledger, job, "ann")
    exchange(ledger, job, "ann")
    assert names(ledger, last(ledger, job).roster) == {"ann", "cat"}
    assert lease_of(ledger, job, "cat").first_round == 1
    done = work(ledger, key_of(ledger, job, "cat"), optimizer=OTHER)
    assert ledger.do("cat", done.commit()) == "wrong-optimizer"
    finish(ledger, job, "cat")


def test_a_stopped_lease_may_still_commit_its_unit_and_is_paid(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", rounds=2)
    assert ledger.do("req", Stop(lease_of(ledger, job, "ann").id)) == "ok"
    assert ledger.do("req", Stop(lease_of(ledger, job, "ann").id)) == "lease-ended"
    lease = lease_of(ledger, job, "ann")
    assert lease.stopped
    assert lease.bond == 5 * PRICE
    key = key_of(ledger, job, "ann")
    assert ledger.do("ann", work(ledger, key).commit()) == "ok"
    check_honestly(ledger, key)
    assert ledger.state.units[key].state == UnitState.PAID
    assert lease.bond == 0


def test_a_job_whose_roster_is_empty_waits_for_an_award_and_goes_on(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", rounds=2)
    assert ledger.do("req", Stop(lease_of(ledger, job, "ann").id)) == "ok"
    assert ledger.state.jobs[job].current is None
    assert award(ledger, job, bob=PRICE) == "ok"
    make_ready(ledger, job, "bob")
    assert names(ledger, last(ledger, job).roster) == {"bob"}
    assert last(ledger, job).round == 1


def test_a_job_whose_roster_stays_empty_expires_and_keeps_what_was_paid(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", rounds=3)
    finish(ledger, job, "ann")
    key = key_of(ledger, job, "ann")
    exchange(ledger, job, "ann")
    check_honestly(ledger, key)
    assert ledger.do("req", Stop(lease_of(ledger, job, "ann").id)) == "ok"
    ledger.wait(DEVELOPMENT.award_ticks)
    assert ledger.state.jobs[job].state == JobState.SETTLING
    ledger.wait(COMMIT_TICKS)
    assert ledger.state.jobs[job].state == JobState.EXPIRED
    assert ledger.state.units[key].paid
    assert is_quiet(ledger.state, ledger.state.jobs[job])
    assert len(ledger.state.jobs[job].rounds) == 2


def test_after_the_last_round_the_job_settles_and_is_done(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob")
    finish(ledger, job, "ann", "bob")
    exchange(ledger, job, "ann", "bob")
    assert ledger.state.jobs[job].state == JobState.SETTLING
    assert award(ledger, job, cat=PRICE) == "job-closed"
    keys = [key_of(ledger, job, name) for name in ("ann", "bob")]
    for key in keys:
        assert ledger.state.leases[key[0]].state == LeaseState.ENDED
        check_honestly(ledger, key)
    assert ledger.state.jobs[job].state == JobState.DONE
    assert is_quiet(ledger.state, ledger.state.jobs[job])
    assert job not in ledger.state.live_jobs


def test_a_cancelled_job_ends_with_the_round_under_way(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", rounds=5)
    assert ledger.do("req", Cancel(job)) == "ok"
    assert ledger.do("req", Cancel(job)) == "job-closed"
    finish(ledger, job, "ann")
    exchange(ledger, job, "ann")
    assert len(ledger.state.jobs[job].rounds) == 1
    check_honestly(ledger, key_of(ledger, job, "ann"))
    assert ledger.state.jobs[job].state == JobState.CANCELLED
    assert is_quiet(ledger.state, ledger.state.jobs[job])


def test_an_inference_job_needs_no_exchange(ledger: Ledger) -> None:
    job = propose(ledger, "req", kind=INFER, windows=1, verifiers=1)
    assert award(ledger, job, ann=PRICE) == "ok"
    make_ready(ledger, job, "ann")
    finish(ledger, job, "ann")
    assert last(ledger, job).closed
    check_honestly(ledger, key_of(ledger, job, "ann"))
    assert ledger.state.jobs[job].state == JobState.DONE
    assert len(unit_of(ledger, job, "ann").seats) == 1


def test_when_everybody_is_gone_every_job_ends_by_itself(ledger: Ledger) -> None:
    jobs = [propose(ledger, "req"), running(ledger, "req", "ann", rounds=9)]
    jobs.append(running(ledger, "req", "ann", "bob", rounds=3))
    finish(ledger, jobs[2], "ann", "bob")
    jobs.append(running(ledger, "req", "cat"))
    finish(ledger, jobs[3], "cat")
    ledger.wait(400)
    for job in jobs:
        assert is_quiet(ledger.state, ledger.state.jobs[job])
    assert bonds(ledger.state) == 0
    assert ledger.executor.next_deadline is None


def lagging(ledger: Ledger, **changes: object) -> tuple[JobId, UnitKey]:
    """A job in its second round; cat has committed its unit of the first one too late for it."""
    job = running(ledger, "req", "ann", "bob", "cat", **{"rounds": 5, **changes})
    key = key_of(ledger, job, "cat")
    finish(ledger, job, "ann", "bob")
    ledger.wait(DEVELOPMENT.grace_ticks)
    exchange(ledger, job, "ann", "bob", "cat")
    return job, key


def held(ledger: Ledger, job: JobId, *names: str) -> None:
    """These hold all that the current round may take."""
    record = last(ledger, job)
    for name in names:
        everything = tuple(sorted(offers(record)))
        operation = Have(lease_of(ledger, job, name).id, record.round, everything)
        assert ledger.do(name, operation) == "ok"


def test_a_late_update_is_offered_to_the_next_round_and_taken_with_its_age(ledger: Ledger) -> None:
    job, key = lagging(ledger)
    assert ledger.do("cat", work(ledger, key).commit()) == "ok"
    finish(ledger, job, "ann", "bob", "cat")
    record = last(ledger, job)
    assert (record.round, record.phase, record.late) == (1, Phase.EXCHANGE, [key])
    exchange(ledger, job, "ann", "bob")  # The candidates alone: not all yet.
    assert last(ledger, job) is record
    held(ledger, job, "ann", "bob", "cat")
    assert record.closed
    assert sorted(one.age for one in record.included) == [0, 0, 0, 1]
    [late] = [one for one in record.included if one.age]
    assert made_in(record, late) == key
    assert late.steps == JOB.steps
    finish(ledger, job, "ann", "bob", "cat")
    assert last(ledger, job).late == []  # It is offered once.


def test_a_late_update_that_few_hold_is_dropped(ledger: Ledger) -> None:
    job, key = lagging(ledger)
    assert ledger.do("cat", work(ledger, key).commit()) == "ok"
    finish(ledger, job, "ann", "bob", "cat")
    record = last(ledger, job)
    held(ledger, job, "cat")
    exchange(ledger, job, "ann", "bob")
    ledger.wait(DEVELOPMENT.have_ticks)
    assert [one.age for one in record.included] == [0, 0, 0]
    finish(ledger, job, "ann", "bob", "cat")
    assert last(ledger, job).late == []


def test_nobody_waits_for_a_late_update_of_whoever_has_left(ledger: Ledger) -> None:
    job, key = lagging(ledger)
    assert ledger.do("cat", work(ledger, key).commit()) == "ok"
    assert ledger.do("req", Stop(key[0])) == "ok"
    finish(ledger, job, "ann", "bob")
    record = last(ledger, job)
    assert (record.phase, record.late) == (Phase.EXCHANGE, [])
    exchange(ledger, job, "ann", "bob")
    assert record.closed


def test_the_mix_at_its_close_is_a_rounds_beacon_and_stays(ledger: Ledger) -> None:
    job = running(ledger, "req", "ann", "bob", rounds=3)
    assert last(ledger, job).beacon == NO_DIGEST
    finish(ledger, job, "ann", "bob")
    exchange(ledger, job, "ann", "bob")
    closed = ledger.state.jobs[job].rounds[0]
    assert closed.beacon == ledger.state.mix
    ledger.wait(5)
    assert closed.beacon != ledger.state.mix


@pytest.mark.parametrize("rounds_late", [2, 3])
def test_after_two_rounds_an_update_is_too_late(ledger: Ledger, rounds_late: int) -> None:
    job, key = lagging(ledger, unit_ms=400_000)
    for _ in range(rounds_late - 1):
        finish(ledger, job, "ann", "bob")
        ledger.wait(DEVELOPMENT.grace_ticks)
        exchange(ledger, job, "ann", "bob", "cat")
    assert last(ledger, job).round == rounds_late
    assert ledger.do("cat", work(ledger, key).commit()) == "ok"
    finish(ledger, job, "ann", "bob")
    ledger.wait(DEVELOPMENT.grace_ticks)
    assert last(ledger, job).late == ([key] if rounds_late <= LATE_AGE_MAX else [])


def test_what_began_elsewhere_or_cannot_be_replayed_is_never_taken_late(ledger: Ledger) -> None:
    for changes, start in (({}, OTHER), ({"verifiers": 0}, START)):
        job, key = lagging(ledger, **changes)
        assert ledger.do("cat", work(ledger, key, start=start).commit()) == "ok"
        finish(ledger, job, "ann", "bob", "cat")
        assert last(ledger, job).late == []
        assert ledger.do("req", Cancel(job)) == "ok"
        for name in ("ann", "bob", "cat"):
            assert ledger.do("req", Stop(lease_of(ledger, job, name).id)) == "ok"
