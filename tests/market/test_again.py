"""A proposal that expires while its own node is away is made again; one nobody takes is not."""

from collections.abc import Iterable

import msgspec
import pytest

from dpin.base.codec import decode, encode
from dpin.base.ids import JobId, Round
from dpin.base.machine import PeerDown, PeerUp, Store
from dpin.base.units import Instant, LedgerMillis, seconds
from dpin.compute.task import Opened, OpenJob
from dpin.ledger.transactions import Propose
from dpin.ledger.wishes import Wish
from dpin.market.again import AGAIN_MAX
from dpin.market.heed import Heed
from dpin.market.orders import OwnJobAgain, OwnJobRecord
from dpin.market.ownjob import Stage
from dpin.market.requester import Abandon, Effect
from dpin.market.story import Note
from tests.support.buyers import Buyer, J, commands, job_files, wish_for
from tests.support.jobs import only
from tests.support.ledgers import START
from tests.support.market import do, train_order

PROPOSED_AGAIN = "proposed again: this node was away while providers could bid"
WINDOW = 25  # ticks in which a proposal may be awarded, here 5 s


def watch(buyer: Buyer, ticks: int, begin: float = 0) -> list[Effect]:
    """Tick by tick the requester sees the ledger move; what comes of it all."""
    effects: list[Effect] = []
    for tick in range(ticks):
        buyer.ledger.wait(1)
        effects += buyer.follow(begin + (tick + 1) / 5)
    return effects


def ends(effects: Iterable[Effect]) -> list[str]:
    return [note.text for note in only(Note, effects) if note.kind == "end"]


def away(buyer: Buyer) -> JobId:
    """The proposal is made, its node is killed and comes back when it is over; its id."""
    buyer.fund()
    job = buyer.job
    buyer.restart()
    buyer.ledger.wait(WINDOW + 5)
    return job


def test_who_comes_back_to_its_expired_proposal_makes_it_again_and_says_so() -> None:
    buyer = Buyer()
    job = away(buyer)
    effects = buyer.follow(9)
    assert [note.text for note in only(Note, effects)] == [PROPOSED_AGAIN]
    again = wish_for(Propose, effects)
    assert again.operation == buyer.own.propose
    assert (buyer.own.stage, buyer.own.given_up) == (Stage.MATCHING, (job,))
    do(buyer.ledger, "buyer", again)
    assert only(Wish, buyer.follow(9.2)) == []
    assert buyer.job != job
    buyer.hire()
    buyer.follow(12)
    assert buyer.own.stage == Stage.RUNNING


def test_what_is_given_up_is_durable_before_the_job_is_proposed_anew() -> None:
    buyer = Buyer()
    job = away(buyer)
    effects = buyer.follow(9)
    [store] = only(Store, effects)
    assert store.sync
    assert decode(OwnJobAgain, store.record) == OwnJobAgain(J, job)
    assert effects.index(store) < effects.index(wish_for(Propose, effects))


def test_a_crash_before_that_is_durable_leads_to_one_proposal_all_the_same() -> None:
    buyer = Buyer()
    job = away(buyer)
    buyer.follow(9)
    buyer.records.pop()
    buyer.restart()
    do(buyer.ledger, "buyer", wish_for(Propose, buyer.follow(10)))
    buyer.follow(10.2)
    assert buyer.own.given_up == (job,)
    assert list(buyer.ledger.state.jobs) == [job, buyer.job]


@pytest.mark.parametrize("taken", [False, True])
def test_a_crash_after_it_neither_loses_nor_doubles_the_proposal(*, taken: bool) -> None:
    buyer = Buyer()
    job = away(buyer)
    again = wish_for(Propose, buyer.follow(9))
    if taken:
        do(buyer.ledger, "buyer", again)
    buyer.restart()
    found = only(Wish, buyer.follow(10))
    assert [wish.key for wish in found] == ([] if taken else [again.key])
    if not taken:
        do(buyer.ledger, "buyer", found[0])
        buyer.follow(10.2)
    assert list(buyer.ledger.state.jobs) == [job, buyer.job]
    assert only(Wish, buyer.follow(10.4)) == []


def test_two_equal_jobs_that_expired_are_proposed_again_one_each() -> None:
    buyer = Buyer()
    buyer.fund()
    record = decode(OwnJobRecord, buyer.records[1])
    buyer.records.append(encode(msgspec.structs.replace(record, local_id="j-2")))
    buyer.restart()
    do(buyer.ledger, "buyer", wish_for(Propose, buyer.follow()))
    buyer.restart()
    buyer.ledger.wait(WINDOW + 5)
    wishes = only(Wish, buyer.follow(9))
    assert sorted(wish.key for wish in wishes) == ["propose:j-1", "propose:j-2"]
    for wish in wishes:
        do(buyer.ledger, "buyer", wish)
    buyer.restart()
    assert only(Wish, buyer.follow(9.2)) == []
    jobs = [own.job.id for own in buyer.requester.jobs.values() if own.job is not None]
    assert jobs == list(buyer.ledger.state.jobs)[2:]


def test_who_was_connected_to_nobody_proposes_again() -> None:
    buyer = Buyer()
    maker = buyer.ledger.id("maker")
    buyer.fund()
    buyer.step(PeerUp(maker))
    buyer.step(PeerDown(maker))
    effects = watch(buyer, WINDOW + 1)
    assert len([note for note in only(Note, effects) if note.text == PROPOSED_AGAIN]) == 1
    assert buyer.own.stage == Stage.MATCHING


def test_who_was_there_and_found_nobody_does_not_propose_again() -> None:
    buyer = Buyer()
    buyer.fund()
    assert ends(watch(buyer, WINDOW + 1)) == ["failed: no-provider"]
    assert (buyer.own.given_up, buyer.own.reason) == ((), "no-provider")


def test_who_came_back_for_most_of_the_time_and_found_nobody_does_not_either() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.ledger.wait(8)
    buyer.restart()
    assert ends(watch(buyer, WINDOW, begin=2)) == ["failed: no-provider"]


def test_who_comes_back_for_the_last_moments_only_proposes_again() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.ledger.wait(20)
    buyer.restart()
    assert ends(watch(buyer, 8, begin=4)) == []
    assert len(buyer.own.given_up) == 1


def test_a_job_is_proposed_again_a_few_times_at_most() -> None:
    buyer = Buyer()
    away(buyer)
    for _ in range(AGAIN_MAX):
        do(buyer.ledger, "buyer", wish_for(Propose, buyer.follow(9)))
        buyer.restart()
        buyer.ledger.wait(WINDOW + 5)
    assert ends(buyer.follow(9)) == ["failed: no-provider"]
    assert len(buyer.own.given_up) == AGAIN_MAX == len(buyer.ledger.state.jobs) - 1


def test_a_job_whose_time_is_over_is_not_proposed_again() -> None:
    buyer = Buyer()
    away(buyer)
    assert ends(buyer.follow(3_601)) == ["failed: no-provider"]
    assert buyer.own.given_up == ()


def test_a_job_that_its_owner_has_ended_is_not_proposed_again() -> None:
    buyer = Buyer()
    away(buyer)
    buyer.step(Abandon(J))
    effects = buyer.follow(9)
    assert not [wish for wish in only(Wish, effects) if isinstance(wish.operation, Propose)]
    assert (buyer.own.stage, buyer.own.given_up) == (Stage.FAILED, ())


def test_a_proposal_made_again_costs_no_more_than_the_budget() -> None:
    buyer = Buyer()
    before = buyer.ledger.account("buyer").free
    away(buyer)
    assert buyer.ledger.account("buyer").free == before
    do(buyer.ledger, "buyer", wish_for(Propose, buyer.follow(9)))
    assert 0 < before - buyer.ledger.account("buyer").free <= train_order().budget


def test_a_worker_that_has_loaded_the_first_proposal_loads_the_second_one() -> None:
    buyer = Buyer()
    buyer.fund()
    buyer.step(PeerUp(buyer.ledger.id("maker")))
    buyer.step(PeerDown(buyer.ledger.id("maker")))
    first = buyer.job
    effects = [effect for event in job_files(buyer) for effect in buyer.step(event)]
    assert [it.job for it in commands(effects) if isinstance(it, OpenJob)] == [first]
    again = [it for it in watch(buyer, WINDOW + 1) if isinstance(it, Wish)]
    assert {wish.key for wish in again} == {f"propose:{J}"}
    buyer.report(Opened(Round(0), START), 6)  # Of what it was told before; nothing is made of it.
    do(buyer.ledger, "buyer", again[-1])
    effects = buyer.follow(8)
    effects += [effect for event in job_files(buyer) for effect in buyer.step(event, 8)]
    [command] = [it for it in commands(effects) if isinstance(it, OpenJob)]
    assert command.job == buyer.job != first


@pytest.mark.parametrize(
    ("looks", "lasted"),
    [
        ([], 0),
        ([(7, 1)], 0),
        ([(7, 1), (9, 3)], 2_000),
        ([(7, 1), (9, 1)], 0),  # the ledger stands still
        ([(7, 1), (7, 3)], 0),  # it is read, in no time
        ([(7, 1), (9, 3), (14, 4), (15, 5)], 1_000),  # a break of the own clock
        ([(7, 1), (9, 3), (10, 8), (11, 9)], 1_000),  # and of the ledger's
    ],
)
def test_heed_is_what_both_clocks_say_since_the_last_break(
    looks: list[tuple[int, int]], lasted: int
) -> None:
    heed = Heed()
    for now, time in looks:
        heed.look(Instant(seconds(now)), LedgerMillis(time * 1_000), 2_500)
    assert heed.lasted_ms == lasted
