"""Who works on a job and for how much; what a job must look like; how it is called off."""

import msgspec
import pytest

from dpin.base.ids import BlobId, JobId
from dpin.base.units import MicroTokens, Tick
from dpin.ledger.accounts import JobState, LeaseState
from dpin.ledger.awards import LEASES_MAX
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.transactions import (
    INFER,
    Award,
    Bid,
    Cancel,
    Ready,
    SignedBid,
    Stop,
    Unstake,
    bid_digest,
    sign_bid,
)
from tests.support.ledgers import (
    JOB,
    OTHER,
    PRICE,
    STAKE,
    Ledger,
    award,
    bonds,
    lease_of,
    make_ready,
    peopled,
    propose,
    registration,
    running,
)

ESCROW = 2 * PRICE + 3 * PRICE  # price cap and verifier fee of JOB


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 0},
        {"kind": INFER},
        {"manifest": BlobId(b"short")},
        {"seats": 0},
        {"seats": 65},
        {"rounds": 0},
        {"rounds": 10_001},
        {"windows": 3},
        {"windows": 17},
        {"steps": 3},
        {"steps": 10**9 + 1},
        {"verifiers": -1},
        {"verifiers": 3},
        {"quorum": 2},
        {"quorum": -1},
        {"unit_ms": 0},
        {"disk_bytes": 0},
        {"disk_bytes": -1},
        {"disk_bytes": 2**63},
        {"unit_ms": 10**12},
        {"memory_bytes": -1},
        {"price_cap": MicroTokens(0)},
        {"price_cap": MicroTokens(10**15 + 1)},
    ],
)
def test_a_job_out_of_range_is_refused(changes: dict[str, object]) -> None:
    ledger = Ledger("req")
    assert ledger.do("req", msgspec.structs.replace(JOB, **changes)) == "bad-field"
    assert not ledger.state.jobs


def test_a_job_is_funded_whole_or_refused() -> None:
    ledger = Ledger("req")
    job = propose(ledger, "req", seats=3, rounds=7)
    assert ledger.state.jobs[job].escrow == 21 * ESCROW
    assert ledger.account("req").free == 10**10 - 21 * ESCROW
    rich = msgspec.structs.replace(JOB, seats=64, rounds=10_000)
    assert ledger.do("req", rich) == "not-enough-free"


def test_the_lowest_bids_win_and_all_pay_the_lowest_losing_price() -> None:
    ledger = peopled("req", "ann", "bob", "cat", "dan")
    job = propose(ledger, "req", seats=2)
    assert award(ledger, job, ann=PRICE + 2, bob=PRICE, cat=PRICE + 1, dan=PRICE + 3) == "ok"
    leases = [ledger.state.leases[lease] for lease in ledger.state.jobs[job].leases]
    assert [ledger.name(lease.provider) for lease in leases] == ["bob", "cat"]
    assert [lease.price for lease in leases] == [PRICE + 2, PRICE + 2]
    assert [lease.seat for lease in leases] == [0, 1]
    assert [lease.bond for lease in leases] == [5 * (PRICE + 2)] * 2


def test_without_a_loser_each_is_paid_its_own_price() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = propose(ledger, "req", seats=3)
    assert award(ledger, job, ann=PRICE + 2, bob=PRICE) == "ok"
    assert lease_of(ledger, job, "ann").price == PRICE + 2
    assert lease_of(ledger, job, "bob").price == PRICE


def test_equal_prices_go_by_the_digest_of_the_bid() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = propose(ledger, "req")
    until = Tick(ledger.state.tick + 1_000)
    bids = [Bid(job, ledger.id(name), PRICE, until) for name in ("ann", "bob", "cat")]
    assert award(ledger, job, ann=PRICE, bob=PRICE, cat=PRICE) == "ok"
    [lease] = ledger.state.jobs[job].leases
    assert ledger.state.leases[lease].provider == min(bids, key=bid_digest).provider


def test_a_second_price_above_what_the_stake_covers_locks_what_there_is() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    assert ledger.do("ann", Unstake(MicroTokens(STAKE - 5 * PRICE))) == "ok"
    job = propose(ledger, "req")
    assert award(ledger, job, ann=PRICE, bob=2 * PRICE) == "ok"
    lease = lease_of(ledger, job, "ann")
    assert (lease.price, lease.bond) == (2 * PRICE, 5 * PRICE)


def refused_bids(ledger: Ledger, job: JobId) -> dict[str, SignedBid]:
    chain, until = ledger.executor.chain, Tick(ledger.state.tick + 1_000)
    good = Bid(job, ledger.id("ann"), PRICE, until)
    by_ann = ledger.keys["ann"]
    signed = sign_bid(by_ann, chain, good)
    return {
        "for another job": sign_bid(by_ann, chain, Bid(JobId(OTHER), good.provider, PRICE, until)),
        "too high": sign_bid(
            by_ann, chain, Bid(job, good.provider, MicroTokens(2 * PRICE + 1), until)
        ),
        "for nothing": sign_bid(by_ann, chain, Bid(job, good.provider, MicroTokens(0), until)),
        "expired": sign_bid(
            by_ann, chain, Bid(job, good.provider, PRICE, Tick(ledger.state.tick - 1))
        ),
        "signed by another": sign_bid(ledger.keys["bob"], chain, good),
        "changed": SignedBid(Bid(job, good.provider, MicroTokens(1), until), signed.signature),
        "by the requester": sign_bid(
            ledger.keys["req"], chain, Bid(job, ledger.id("req"), PRICE, until)
        ),
        "without stake": sign_bid(
            ledger.keys["poor"], chain, Bid(job, ledger.id("poor"), PRICE, until)
        ),
        "of another fingerprint": sign_bid(
            ledger.keys["odd"], chain, Bid(job, ledger.id("odd"), PRICE, until)
        ),
        "by one that takes no jobs": sign_bid(
            ledger.keys["off"], chain, Bid(job, ledger.id("off"), PRICE, until)
        ),
    }


def test_bids_that_do_not_fit_are_passed_over() -> None:
    ledger = peopled("req", "ann", "bob", "poor", "odd", "off")
    ledger.do("poor", Unstake(MicroTokens(STAKE - 5 * PRICE + 1)))
    ledger.do("odd", registration(fingerprint=OTHER))
    ledger.do("off", registration(provides=False))
    ledger.wait(2)
    job = propose(ledger, "req")
    bad = refused_bids(ledger, job)
    for what, bid in bad.items():
        assert ledger.do("req", Award(job, (bid,))) == "no-fitting-bid", what
    assert ledger.do("req", Award(job, ())) == "no-fitting-bid"
    until = ledger.state.tick  # the last at which it holds
    good = sign_bid(
        ledger.keys["bob"],
        ledger.executor.chain,
        Bid(job, ledger.id("bob"), MicroTokens(2 * PRICE), until),
    )
    assert ledger.do("req", Award(job, (*bad.values(), good, good))) == "ok"
    assert lease_of(ledger, job, "bob").price == 2 * PRICE


def test_one_provider_holds_one_seat_and_is_not_its_own_loser() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = propose(ledger, "req", seats=2)
    until = Tick(ledger.state.tick + 1_000)
    bids = [
        sign_bid(
            ledger.keys["ann"],
            ledger.executor.chain,
            Bid(job, ledger.id("ann"), MicroTokens(PRICE + more), until),
        )
        for more in range(3)
    ]
    assert ledger.do("req", Award(job, tuple(bids))) == "ok"
    assert [lease_of(ledger, job, "ann").price] == [PRICE]
    assert len(ledger.state.jobs[job].leases) == 1
    assert ledger.do("req", Award(job, tuple(bids))) == "no-fitting-bid"
    assert award(ledger, job, bob=PRICE) == "ok"
    assert award(ledger, job, cat=PRICE) == "no-open-seat"


def test_only_the_requester_awards_stops_and_cancels() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = propose(ledger, "req")
    assert ledger.do("ann", Award(job, ())) == "not-the-requester"
    assert ledger.do("ann", Cancel(job)) == "not-the-requester"
    assert award(ledger, job, ann=PRICE) == "ok"
    lease = lease_of(ledger, job, "ann").id
    assert ledger.do("ann", Stop(lease)) == "not-the-requester"
    assert ledger.do("bob", Ready(lease)) == "not-the-provider"
    assert ledger.do("req", Stop(OTHER)) == "unknown-lease"
    assert ledger.do("req", Cancel(JobId(OTHER))) == "unknown-job"


def test_a_job_without_an_award_expires_with_a_full_refund() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    free = ledger.account("req").free
    job = propose(ledger, "req")
    ledger.wait(DEVELOPMENT.award_ticks - 1)
    assert ledger.state.jobs[job].state == JobState.OPEN
    ledger.wait(1)
    assert ledger.state.jobs[job].state == JobState.EXPIRED
    assert ledger.state.jobs[job].reason == "no-provider"
    assert ledger.account("req").free == free
    assert ledger.executor.next_deadline is None
    assert award(ledger, job, ann=PRICE) == "job-closed"


def test_an_award_without_ready_lapses_and_its_seat_is_open_again() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = propose(ledger, "req")
    assert award(ledger, job, ann=PRICE) == "ok"
    ledger.wait(DEVELOPMENT.ready_ticks)
    lease = lease_of(ledger, job, "ann")
    assert (lease.state, lease.reason, lease.bond) == (LeaseState.ENDED, "never-ready", 0)
    assert ledger.account("ann").stake == STAKE
    assert ledger.do("ann", Ready(lease.id)) == "not-awarded"
    assert award(ledger, job, bob=PRICE) == "ok"
    make_ready(ledger, job, "bob")
    assert ledger.state.jobs[job].state == JobState.RUNNING


def test_a_job_starts_short_of_seats_when_the_time_for_awards_is_over() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = propose(ledger, "req", seats=3)
    assert award(ledger, job, ann=PRICE, bob=PRICE) == "ok"
    make_ready(ledger, job, "ann", "bob")
    assert ledger.state.jobs[job].state == JobState.OPEN
    ledger.wait(DEVELOPMENT.award_ticks)
    assert ledger.state.jobs[job].state == JobState.RUNNING
    assert len(ledger.state.jobs[job].rounds[0].roster) == 2


def test_an_open_job_is_cancelled_at_once_and_refunded() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    free = ledger.account("req").free
    bare, leased = propose(ledger, "req"), propose(ledger, "req", seats=2)
    assert award(ledger, leased, ann=PRICE, bob=PRICE) == "ok"
    make_ready(ledger, leased, "ann")
    for job in (bare, leased):
        assert ledger.do("req", Cancel(job)) == "ok"
        assert ledger.state.jobs[job].state == JobState.CANCELLED
        assert ledger.do("req", Cancel(job)) == "job-closed"
    assert ledger.account("req").free == free
    assert bonds(ledger.state) == 0


def test_a_job_has_only_so_many_leases_in_its_life() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = running(ledger, "req", "ann", rounds=2)
    ledger.state.jobs[job].leases *= LEASES_MAX - 1
    assert ledger.do("req", Stop(ledger.state.jobs[job].leases[0])) == "ok"
    assert award(ledger, job, bob=PRICE) == "ok"
    assert ledger.do("req", Stop(lease_of(ledger, job, "bob").id)) == "ok"
    assert award(ledger, job, cat=PRICE) == "too-many-leases"
