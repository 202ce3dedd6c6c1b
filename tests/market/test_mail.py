"""What providers send a requester: believed as far as it can be checked, and never too much."""

import msgspec
import pytest

from dpin.base.ids import JobId, NodeId, Round
from dpin.base.machine import Blame
from dpin.base.units import MicroTokens
from dpin.compute.task import Opened
from dpin.compute.work import WorkerId
from dpin.ledger.transactions import SignedBid
from dpin.market.mail import DECLINES_MAX, TEXT_BYTES_MAX, Effect, Mail, Message
from dpin.market.merging import Merging
from dpin.market.messages import AskCheckpoint, BidMessage, Heartbeat, Reason, Text
from dpin.market.ownjob import OwnJob, RoundTimes
from dpin.market.story import TRACE, Note
from dpin.storage.wanted import Keep
from dpin.verify.jobfiles import JobFiles
from tests.support.jobs import at, generating, market, only, proposed, training
from tests.support.ledgers import PRICE, START, Ledger, lease_of
from tests.support.market import infer_order, offer, own_job, refused


class Desk:
    """A requester's mail about one job."""

    def __init__(self, kind: str = "open") -> None:
        self.ledger: Ledger = market()
        match kind:
            case "open":
                self.job = proposed(self.ledger, "buyer")
            case "text":
                self.job = generating(self.ledger, "buyer", "maker")
            case "pair":
                self.job = training(self.ledger, "buyer", "maker", "one")
            case _:
                self.job = training(self.ledger, "buyer", "maker")
        self.own: OwnJob = own_job(self.ledger, self.job)
        if kind == "text":
            self.own.order = infer_order()
        params = self.ledger.genesis.params
        self.mail = Mail({"j-1": self.own}, self.ledger.executor.chain, params)

    def told(self, who: str, message: Message, moment: float = 0) -> list[Effect]:
        return self.told_by(self.ledger.id(who), message, moment)

    def told_by(self, peer: NodeId, message: Message, moment: float = 0) -> list[Effect]:
        return list(self.mail.told(peer, message, self.ledger.state, at(moment)))

    def bid(self, who: str, price: int = PRICE) -> SignedBid:
        return offer(self.ledger, self.job, who, price)


def test_a_good_bid_is_kept() -> None:
    desk = Desk()
    bid = desk.bid("maker")
    [told] = desk.told("maker", BidMessage(bid))
    assert isinstance(told, Note)
    assert (told.kind, told.data["hop"]) == (TRACE, "offered")
    assert desk.told("maker", BidMessage(bid)) == []
    assert desk.own.supply.bids == {desk.ledger.id("maker"): bid}


def test_a_bid_in_anothers_name_is_blamed() -> None:
    desk = Desk()
    assert len(only(Blame, desk.told("one", BidMessage(desk.bid("maker"))))) == 1
    forged = msgspec.structs.replace(desk.bid("maker"), signature=bytes(64))
    assert len(only(Blame, desk.told("maker", BidMessage(forged)))) == 1
    assert not desk.own.supply.bids


def test_a_bid_without_a_stake_behind_it_is_not_kept() -> None:
    desk = Desk()
    account = desk.ledger.account("maker")
    account.stake = MicroTokens(5 * PRICE - 1)
    assert desk.told("maker", BidMessage(desk.bid("maker"))) == []
    assert not desk.own.supply.bids
    account.stake = MicroTokens(5 * PRICE)
    desk.told("maker", BidMessage(desk.bid("maker")))
    assert len(desk.own.supply.bids) == 1
    desk.told("maker", BidMessage(desk.bid("maker", 0)))
    assert desk.own.supply.bids[desk.ledger.id("maker")].bid.price == PRICE


def test_bids_of_nobody_and_on_nothing_change_nothing() -> None:
    desk = Desk()
    elsewhere = offer(desk.ledger, JobId(bytes(32)), "maker", PRICE)
    assert desk.told("maker", BidMessage(elsewhere)) == []
    desk.ledger.account("one").registration = None
    assert desk.told("one", BidMessage(desk.bid("one"))) == []
    assert not desk.own.supply.bids


def test_a_refusal_takes_the_offer_back() -> None:
    desk = Desk()
    desk.told("maker", BidMessage(desk.bid("maker")))
    assert desk.told("maker", refused(desk.job)) == []
    assert not desk.own.supply.bids
    assert desk.own.supply.declines == {desk.ledger.id("maker"): refused(desk.job)}


def test_too_many_refusals_keep_the_first_and_their_news() -> None:
    desk = Desk()
    for number in range(DECLINES_MAX + 9):
        desk.told_by(NodeId(number.to_bytes(32)), refused(desk.job))
    assert len(desk.own.supply.declines) == DECLINES_MAX
    first = NodeId(bytes(32))
    desk.told_by(first, refused(desk.job, Reason.FAULTY))
    assert desk.own.supply.declines[first].code == Reason.FAULTY


def beat_of(desk: Desk, loss: int = 4_000_000) -> Heartbeat:
    lease = lease_of(desk.ledger, desk.job, "maker").id
    return Heartbeat(lease, Round(0), "run", 3, 40, loss, 700)


def test_a_heartbeat_counts_for_the_lease_of_its_sender() -> None:
    desk = Desk("running")
    desk.own.rounds[Round(0)] = RoundTimes(at(0))
    desk.told("maker", beat_of(desk), 7)
    [beat] = desk.own.beats.values()
    assert (beat.heartbeat, beat.at) == (beat_of(desk), at(7))
    times = desk.own.rounds[Round(0)]
    assert (times.loss_micronats, times.tokens_per_second) == (4_000_000, 700)
    desk.told("maker", beat_of(desk, 0), 8)
    assert times.loss_micronats == 4_000_000


def test_the_loss_of_a_round_is_the_mean_of_what_its_providers_tell_and_speeds_add_up() -> None:
    desk = Desk("pair")
    desk.own.rounds[Round(0)] = times = RoundTimes(at(0))
    desk.told("maker", beat_of(desk, 9_000_000), 7)
    desk.told("maker", beat_of(desk, 4_000_000), 8)
    other = lease_of(desk.ledger, desk.job, "one").id
    desk.told("one", msgspec.structs.replace(beat_of(desk, 2_000_000), lease=other), 8)
    assert (times.loss_micronats, times.tokens_per_second) == (3_000_000, 1_400)
    assert len(times.beats) == 2


def test_a_heartbeat_that_hides_its_loss_still_tells_how_fast_the_work_is() -> None:
    desk = Desk("running")
    desk.own.rounds[Round(0)] = times = RoundTimes(at(0))
    desk.told("maker", beat_of(desk, 0), 7)
    assert (times.loss_micronats, times.tokens_per_second) == (0, 700)


def test_heartbeats_in_anothers_name_or_for_nothing_are_ignored() -> None:
    desk = Desk("running")
    desk.told("one", beat_of(desk))
    desk.told("maker", msgspec.structs.replace(beat_of(desk), lease=START))
    assert not desk.own.beats
    assert list(desk.mail.told(desk.ledger.id("maker"), beat_of(desk), None, at(0))) == []


def text_of(desk: Desk, offset: int, data: bytes) -> Text:
    return Text(lease_of(desk.ledger, desk.job, "maker").id, offset, data)


def test_text_is_put_together_and_noted_as_it_comes() -> None:
    desk = Desk("text")
    [first] = desk.told("maker", text_of(desk, 0, b"once "), 3)
    [second] = desk.told("maker", text_of(desk, 5, b"upon"), 4)
    assert isinstance(first, Note)
    assert isinstance(second, Note)
    assert (first.kind, first.text, second.text) == ("token", "once ", "upon")
    assert desk.own.text == b"once upon"


def test_text_said_again_is_taken_once() -> None:
    desk = Desk("text")
    desk.told("maker", text_of(desk, 0, b"once "))
    assert desk.told("maker", text_of(desk, 0, b"once ")) == []
    [note] = desk.told("maker", text_of(desk, 0, b"once upon"))
    assert isinstance(note, Note)
    assert (note.text, desk.own.text) == ("upon", b"once upon")


@pytest.mark.parametrize("offset", [-1, 1, 99])
def test_text_with_a_hole_is_not_taken(offset: int) -> None:
    desk = Desk("text")
    assert desk.told("maker", text_of(desk, offset, b"upon")) == []
    assert desk.own.text == b""


def test_text_of_others_and_for_other_jobs_is_not_taken() -> None:
    desk = Desk("text")
    assert desk.told("one", text_of(desk, 0, b"x")) == []
    training_desk = Desk("running")
    assert training_desk.told("maker", text_of(training_desk, 0, b"x")) == []
    assert (desk.own.text, training_desk.own.text) == (b"", b"")


def test_text_has_a_limit() -> None:
    desk = Desk("text")
    desk.told("maker", text_of(desk, 0, bytes(TEXT_BYTES_MAX)))
    assert desk.told("maker", text_of(desk, TEXT_BYTES_MAX, b"x")) == []
    assert len(desk.own.text) == TEXT_BYTES_MAX


def test_whoever_joins_late_may_ask_the_requester_too() -> None:
    desk = Desk("running")
    ask = AskCheckpoint(desk.job)
    assert desk.told("one", ask) == []
    job = desk.ledger.state.jobs[desk.job]
    desk.own.merging = Merging(job, WorkerId("w"), JobFiles(job))
    desk.own.merging.opened(Opened(Round(0), START), "/initial")
    assert [type(effect) for effect in desk.told("one", ask)] == [Keep]
