"""A provider registers, stakes, answers every job it could take, and works on what it wins."""

from dataclasses import replace

import pytest

from dpin.base.codec import decode
from dpin.base.ids import JobId, Round
from dpin.base.machine import Send, Tick, Wake
from dpin.base.units import MicroTokens
from dpin.compute.reporting import Progress
from dpin.compute.task import Opened
from dpin.compute.work import Dismiss, Exited, Hire, Reported, WorkerId
from dpin.ledger.accounts import UnitState
from dpin.ledger.params import PUBLIC
from dpin.ledger.transactions import Award, Operation, Register, Stake, Stop
from dpin.ledger.wishes import Follow, Wish
from dpin.market.chronicle import Deed
from dpin.market.engagement import Engagement, Fault
from dpin.market.messages import (
    AskCheckpoint,
    BidMessage,
    CheckpointOffer,
    Decline,
    Heartbeat,
    MarketMessage,
    Reason,
)
from dpin.market.provider import (
    BID_TICKS_LONG,
    Choice,
    Effect,
    Event,
    Pinned,
    Probe,
    Provider,
    Rest,
    ToProvider,
)
from dpin.market.room import Room
from dpin.storage.wanted import Kept
from dpin.verify.naming import disk_bytes
from tests.support.jobs import (
    PROBED,
    at,
    file_id,
    files_of,
    market,
    only,
    proposed,
    train_manifest,
    training,
)
from tests.support.ledgers import PRICE, START, Ledger, award, finish, lease_of, unit_of
from tests.support.market import CHOICE, worker_of


class Shop:
    """Maker's provider; the probe is done."""

    def __init__(self, ledger: Ledger | None = None, choice: Choice = CHOICE) -> None:
        self.ledger = ledger or market()
        key, chain = self.ledger.keys["maker"], self.ledger.executor.chain
        choice = replace(choice, name="node") if choice.name == "maker" else choice
        self.provider = Provider(key, chain, self.ledger.genesis.params, choice)
        self.provider.step(Probe(PROBED), at(0))

    def step(self, event: Event, moment: float = 0) -> list[Effect]:
        return self.provider.step(event, at(moment))

    def follow(self, moment: float = 0) -> list[Effect]:
        return self.step(Follow(self.ledger.state), moment)


def operations(effects: list[Effect]) -> list[Operation]:
    return [wish.operation for wish in only(Wish, effects)]


def said(effects: list[Effect]) -> list[MarketMessage]:
    return [decode(MarketMessage, send.payload) for send in only(Send, effects)]


def test_a_node_registers_and_then_stakes_and_then_is_content() -> None:
    shop = Shop(Ledger("buyer", "maker", "one", "two"))
    [register] = operations(shop.follow())
    assert isinstance(register, Register)
    assert (register.name, register.fingerprint) == ("node", PROBED.fingerprint)
    assert shop.ledger.do("maker", register) == "ok"
    assert operations(shop.follow()) == [Stake(CHOICE.stake)]
    assert shop.ledger.do("maker", Stake(CHOICE.stake)) == "ok"
    assert shop.follow() == []


def test_whoever_has_too_little_stakes_what_there_is() -> None:
    ledger = Ledger("buyer", "maker", "one", "two")
    free = ledger.account("maker").free
    shop = Shop(ledger, replace(CHOICE, stake=MicroTokens(10 * free)))
    assert ledger.do("maker", *operations(shop.follow())) == "ok"
    assert operations(shop.follow()) == [Stake(free)]


def test_whoever_stakes_keeps_what_its_transactions_cost() -> None:
    """With nothing left it could not even stake, and would pay for trying, again and again."""
    ledger = Ledger("buyer", "maker", "one", "two", params=PUBLIC)
    free = ledger.account("maker").free
    shop = Shop(ledger, replace(CHOICE, stake=MicroTokens(10 * free)))
    assert ledger.do("maker", *operations(shop.follow())) == "ok"
    assert ledger.do("maker", *operations(shop.follow())) == "ok"
    account = ledger.account("maker")
    assert account.stake > free * 99 // 100
    assert account.free > 200 * (free - account.stake - account.free) // 2
    assert operations(shop.follow()) == []


def test_before_the_probe_nothing_is_said() -> None:
    ledger = market()
    proposed(ledger, "buyer")
    provider = Provider(ledger.keys["maker"], ledger.executor.chain, ledger.genesis.params, CHOICE)
    assert provider.step(Follow(ledger.state), at(0)) == []


def test_a_change_of_mind_is_registered_again() -> None:
    shop = Shop(choice=replace(CHOICE, name="another"))
    [register] = operations(shop.follow())
    assert isinstance(register, Register)
    assert register.name == "another"


def test_a_job_that_fits_gets_a_bid_that_the_ledger_takes() -> None:
    shop = Shop()
    job = proposed(shop.ledger, "buyer")
    effects = shop.follow()
    [message] = said(effects)
    assert isinstance(message, BidMessage)
    bid = message.signed.bid
    assert (bid.job, bid.price, bid.until) == (job, PRICE, shop.ledger.state.tick + BID_TICKS_LONG)
    assert only(Send, effects)[0].peer == shop.ledger.id("buyer")
    assert shop.ledger.do("buyer", Award(job, (message.signed,))) == "ok"
    assert shop.provider.offers.seen == 1


def test_a_bid_is_repeated_once_per_interval_and_no_more() -> None:
    shop = Shop()
    proposed(shop.ledger, "buyer")
    first = shop.follow()
    assert only(Wake, first) == [Wake(at(2))]
    assert said(shop.follow(1.9)) == []
    assert said(shop.step(Tick(), 1.9)) == []
    assert [type(it) for it in said(shop.step(Tick(), 2))] == [BidMessage]
    assert shop.provider.offers.seen == 1


@pytest.mark.parametrize(
    ("choice", "code"),
    [
        (replace(CHOICE, provides=False), Reason.NOT_PROVIDING),
        (replace(CHOICE, leases_max=0), Reason.BUSY),
        (replace(CHOICE, price=MicroTokens(10 * PRICE)), Reason.PRICE),
    ],
)
def test_a_job_that_does_not_fit_is_declined_with_the_reason(choice: Choice, code: Reason) -> None:
    shop = Shop(choice=choice)
    job = proposed(shop.ledger, "buyer")
    [message] = said(shop.follow())
    assert isinstance(message, Decline)
    assert (message.job, message.code) == (job, code)
    assert message.detail
    shop.follow(2)
    assert shop.provider.offers.declined == {code: 1}


def test_a_node_that_rests_takes_nothing_new_until_it_rests_no_more() -> None:
    shop = Shop()
    shop.step(Rest(rests=True))
    proposed(shop.ledger, "buyer")
    [message] = said(shop.follow())
    assert isinstance(message, Decline)
    assert message.code == Reason.DRAINING
    shop.step(Rest(rests=False))
    assert {type(message) for message in said(shop.follow(3))} == {BidMessage}


def test_nobody_tells_itself_why_it_does_not_bid_on_its_own_job() -> None:
    shop = Shop()
    proposed(shop.ledger, "maker")
    assert said(shop.follow()) == []
    assert shop.provider.offers.declined == {Reason.OWN_JOB: 1}


def test_a_job_without_open_seats_is_not_bid_on() -> None:
    shop = Shop()
    training(shop.ledger, "buyer", "one")
    assert said(shop.follow()) == []


def won() -> Shop:
    """A shop with a lease in the first of two rounds."""
    shop = Shop()
    training(shop.ledger, "buyer", "maker", rounds=2)
    return shop


def test_a_lease_on_the_ledger_is_worked_on_and_dismissed_when_it_ends() -> None:
    shop = won()
    [job] = shop.ledger.state.jobs
    worker = worker_of(shop.ledger, job)
    assert only(Hire, shop.follow()) == [Hire(worker)]
    assert shop.provider.offers.taken == 1
    assert shop.ledger.do("buyer", Stop(lease_of(shop.ledger, job, "maker").id)) == "ok"
    assert only(Dismiss, shop.follow(1)) == []  # Its unit may still be committed, and paid.
    assert [*shop.provider.engagements]
    unit = unit_of(shop.ledger, job, "maker")
    shop.ledger.wait(unit.deadline - shop.ledger.state.tick)
    assert unit.state == UnitState.LAPSED
    assert only(Dismiss, shop.follow(2)) == [Dismiss(worker)]
    assert not shop.provider.engagements


def test_a_lease_that_has_lapsed_makes_the_next_of_its_job_hasty() -> None:
    shop = Shop()
    job = proposed(shop.ledger, "buyer")
    for hasty in (False, True):
        award(shop.ledger, job, maker=PRICE)
        shop.follow()
        [engagement] = shop.provider.engagements.values()
        assert engagement.hasty == hasty
        shop.ledger.wait(shop.ledger.genesis.params.ready_ticks)
        shop.follow()
        assert not shop.provider.engagements


def test_reports_reach_the_lease_whose_worker_sent_them() -> None:
    shop = won()
    [job] = shop.ledger.state.jobs
    shop.follow()
    lease = lease_of(shop.ledger, job, "maker").id
    report = Progress(lease, Round(0), 3, 40, 1, 2)
    shop.step(Reported(worker_of(shop.ledger, job), report))
    [beat] = said(shop.step(Tick(), 1))
    assert isinstance(beat, Heartbeat)
    assert beat.step == 3
    stranger = WorkerId("another")
    assert shop.step(Reported(stranger, report)) == []
    assert shop.step(Exited(stranger, "gone")) == []


def test_a_restart_before_any_commit_begins_the_unit_again() -> None:
    shop = won()
    [engagement] = _engagements(shop)
    assert engagement.failed == ""


def test_a_restart_after_a_commit_gives_the_lease_up() -> None:
    shop = won()
    [job] = shop.ledger.state.jobs
    finish(shop.ledger, job, "maker")
    [engagement] = _engagements(shop)
    assert engagement.failed == "the node was restarted and has lost the lease's optimizer"
    [message] = said(shop.follow(1))
    assert isinstance(message, Decline)
    assert message.code == Reason.FAULTY


def _engagements(shop: Shop) -> list[Engagement]:
    shop.follow()
    return [*shop.provider.engagements.values()]


def test_whoever_asks_for_a_checkpoint_is_offered_the_one_held() -> None:
    shop = won()
    [job] = shop.ledger.state.jobs
    shop.follow()
    for event in files_of(train_manifest(rounds=2)):
        shop.step(event)
    shop.step(Reported(worker_of(shop.ledger, job), Opened(Round(0), START)))
    asking = ToProvider(shop.ledger.id("two"), AskCheckpoint(job))
    shop.step(asking, 1)
    [engagement] = shop.provider.engagements.values()
    kept = Kept(engagement.merging.checkpoint, file_id("initial"), 1_000)
    offers = [it for it in said(shop.step(kept, 1)) if isinstance(it, CheckpointOffer)]
    assert offers == [CheckpointOffer(job, Round(0), file_id("initial"))]


def test_questions_about_other_jobs_are_not_answered() -> None:
    shop = won()
    shop.follow()
    asking = ToProvider(shop.ledger.id("two"), AskCheckpoint(JobId(bytes(32))))
    assert shop.step(asking) == []


def test_a_fault_is_the_operators_choice_for_every_lease() -> None:
    ledger = market()
    training(ledger, "buyer", "maker")
    shop = Shop(ledger, replace(CHOICE, fault=Fault.VANISH))
    effects = shop.follow()
    assert effects == only(Deed, effects)


def small_shop(ledger: Ledger, jobs: int) -> Shop:
    """Maker, whose disk has room for so many jobs like these, and who may take four."""
    disk = jobs * disk_bytes(train_manifest()) + 1
    return Shop(ledger, replace(CHOICE, leases_max=4, disk_bytes=disk))


def answers(effects: list[Effect]) -> list[str]:
    """What was said to each job: a reason, or that it was bid on."""
    words = [word for word in said(effects) if isinstance(word, BidMessage | Decline)]
    return ["bid" if isinstance(word, BidMessage) else word.code for word in words]


def test_a_bid_is_made_only_where_the_disk_has_room_for_the_job_beside_other_bids() -> None:
    ledger = market()
    first, second = proposed(ledger, "buyer"), proposed(ledger, "one")
    shop = small_shop(ledger, 1)
    effects = shop.follow()
    assert sorted(answers(effects)) == ["bid", Reason.DISK]
    [no] = [word for word in said(effects) if isinstance(word, Decline)]
    assert "MiB of disk" in no.detail
    assert "share.disk" in no.detail
    assert shop.provider.answered[no.job].code == Reason.DISK
    assert no.job in {first, second}
    assert sorted(answers(small_shop(ledger, 2).follow())) == ["bid", "bid"]


def test_once_a_job_is_over_there_is_room_for_the_next() -> None:
    ledger = market()
    job = training(ledger, "buyer", "maker")
    shop = small_shop(ledger, 1)
    shop.follow()
    proposed(ledger, "one")
    assert answers(shop.follow(3)) == [Reason.DISK]
    assert ledger.do("buyer", Stop(ledger.state.jobs[job].leases[0])) == "ok"
    ledger.wait(1_000)
    assert job not in ledger.state.live_jobs
    proposed(ledger, "one")
    assert "bid" in answers(shop.follow(6))


def test_a_bid_that_the_disk_cannot_keep_any_more_is_taken_back() -> None:
    ledger = market()
    proposed(ledger, "buyer")
    shop = small_shop(ledger, 1)
    assert answers(shop.follow()) == ["bid"]
    shop.step(Pinned(1 << 30), 1)
    assert answers(shop.follow(4)) == [Reason.DISK]
    shop.step(Pinned(0), 5)
    assert answers(shop.follow(8)) == ["bid"]


def test_a_node_without_a_limit_has_room_for_everything() -> None:
    ledger = market()
    proposed(ledger, "buyer")
    shop = Shop(ledger)
    shop.step(Pinned(1 << 60), 0)
    assert shop.provider.room.left() is None
    assert answers(shop.follow()) == ["bid"]


def test_own_jobs_and_seats_take_room_and_a_job_counts_once() -> None:
    room = Room(100, pinned_bytes=10)
    room.work, room.other = {b"a": 30, b"b": 5}, {b"a": 20, b"c": 40}
    assert (room.claimed, room.left(), room.left(b"a"), room.left(b"new")) == (75, 15, 45, 15)
