"""A lease that is over merges its job's last round and says what that has led to."""

from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest, JobId, Round
from dpin.compute.task import Merged, MergeRound, Opened
from dpin.compute.work import Dismiss, Order, Reported, WorkerId
from dpin.ledger.accounts import LeaseState
from dpin.ledger.transactions import LastState
from dpin.market.chronicle import Deed
from dpin.market.lastword import WORDS_MAX, LastWords
from dpin.market.provider import Effect
from tests.market.test_provider import Shop, operations
from tests.support.jobs import files_of, here, only, train_manifest, training
from tests.support.ledgers import (
    START,
    UPDATE,
    check_honestly,
    exchange,
    finish,
    key_of,
    lease_of,
)

END = digest("test/state", b"end")


def worker_at(shop: Shop, job: JobId) -> WorkerId:
    """Maker's, whichever of the seats it has."""
    return WorkerId(f"lease-{lease_of(shop.ledger, job, 'maker').id.hex()[:16]}")


def over(*, whole: bool = True) -> tuple[Shop, JobId]:
    """A shop with one of two seats in a job whose last round has closed; it holds all updates.

    Unless its copy is not `whole`.
    """
    shop = Shop()
    job = training(shop.ledger, "buyer", "maker", "one")
    shop.follow()
    for event in files_of(train_manifest(seats=2)):
        shop.step(event)
    shop.step(Reported(worker_at(shop, job), Opened(Round(0), START)))
    finish(shop.ledger, job, "maker", "one")
    shop.follow()
    if whole:
        shop.step(here(UPDATE))
    exchange(shop.ledger, job, "maker", "one")
    return shop, job


def merged(shop: Shop, job: JobId, state: Digest = END) -> list[Effect]:
    report = Merged(Round(1), state, "/w/state")
    return shop.step(Reported(worker_at(shop, job), report), 1)


def test_a_lease_that_is_over_merges_its_last_round_and_says_what_that_led_to() -> None:
    shop, job = over()
    lease, worker = lease_of(shop.ledger, job, "maker"), worker_at(shop, job)
    assert lease.state == LeaseState.ENDED
    effects = shop.follow()
    [order] = only(Order, effects)
    assert isinstance(order.command, MergeRound)
    assert only(Dismiss, effects) == []
    effects = merged(shop, job)
    assert only(Dismiss, effects) == [Dismiss(worker)]
    assert operations(effects) == [LastState(lease.id, END)]
    assert not shop.provider.engagements
    assert operations(shop.follow(2)) == [LastState(lease.id, END)]  # Until the ledger has it.
    assert shop.ledger.do("maker", LastState(lease.id, END)) == "ok"
    assert operations(shop.follow(3)) == []


def test_a_job_that_has_ended_meanwhile_gets_its_last_state_all_the_same() -> None:
    shop, job = over()
    assert [deed.event for deed in only(Deed, shop.follow())].count("job-ended") == 1
    for name in ("maker", "one"):
        check_honestly(shop.ledger, key_of(shop.ledger, job, name))
    assert shop.ledger.state.jobs[job].state.ended
    assert [deed.event for deed in only(Deed, shop.follow(1))] == ["job-paid"]
    assert only(Deed, shop.follow(1)) == []  # All of it is told once.
    assert [type(one) for one in operations(merged(shop, job))] == [LastState]


def test_who_cannot_merge_in_time_says_nothing_and_is_done() -> None:
    shop, job = over()
    shop.follow()
    ended = shop.ledger.state.jobs[job]
    shop.ledger.wait(ended.deadline - shop.ledger.state.tick)
    assert only(Dismiss, shop.follow(1)) == [Dismiss(worker_at(shop, job))]
    said = operations(merged(shop, job))
    assert not [one for one in said if isinstance(one, LastState)]
    assert set(ended.said.values()) == {NO_DIGEST}


def test_for_updates_that_nobody_shows_a_job_that_is_over_takes_no_seat_for_long() -> None:
    shop, job = over(whole=False)
    assert only(Order, shop.follow(10)) == []
    assert only(Dismiss, shop.follow(69)) == []
    assert only(Dismiss, shop.follow(70)) == [Dismiss(worker_at(shop, job))]
    busy, job = over()
    assert only(Order, busy.follow(10))
    assert only(Dismiss, busy.follow(70)) == []  # Its own machine is slow, and has all it needs.
    assert [type(one) for one in operations(merged(busy, job))] == [LastState]


def test_of_too_many_words_that_are_not_on_the_ledger_the_oldest_goes() -> None:
    shop, job = over()
    shop.follow()
    [engagement] = shop.provider.engagements.values()
    engagement.merging.merged(Merged(Round(1), END, "/w/state"))
    words, mine = LastWords(), lease_of(shop.ledger, job, "maker").id
    words.find(mine, engagement.merging)
    assert [*words.follow(shop.ledger.state)]
    for number in range(WORDS_MAX):
        words.find(Digest(number.to_bytes(32)), engagement.merging)
    assert [*words.follow(shop.ledger.state)] == []
