"""When a requester awards, which bids it keeps, and when it gives a lease up."""

import pytest

from dpin.base.ids import NodeId
from dpin.base.machine import Wake
from dpin.base.units import MicroTokens, Tick
from dpin.ledger.accounts import LeaseState
from dpin.ledger.transactions import Award, Bid, SignedBid, Stop
from dpin.ledger.views import name_of, open_seats
from dpin.ledger.wishes import Wish
from dpin.market.awarding import (
    AWARD_BIDS_MAX,
    BIDS_MAX,
    DOWN_PATIENCE,
    ENOUGH_WAIT,
    HURRY_TICKS,
    NEAR_WAIT,
    SILENCE_PATIENCE,
    awards,
    keep_bid,
    stops,
)
from dpin.market.messages import Decline, Reason
from dpin.market.ownjob import Beat, OwnJob
from dpin.market.provider import BID_AGAIN
from dpin.market.story import TRACE, Note, offered
from tests.support.jobs import at, market, only, proposed, training
from tests.support.ledgers import PRICE, lease_of
from tests.support.market import do, offer, own_job, refused


class Sale:
    """An open job, and what its requester knows of it."""

    def __init__(self, seats: int = 1) -> None:
        self.ledger = market()
        self.job_id = proposed(self.ledger, "buyer", seats=seats)
        self.own: OwnJob = own_job(self.ledger, self.job_id)

    def bid(self, who: str, price: int, moment: float, until: int = 3_000) -> None:
        keep_bid(self.own, offer(self.ledger, self.job_id, who, price, until), at(moment))

    def awards(self, moment: float) -> list[Wish | Wake | Note]:
        job = self.ledger.state.jobs[self.job_id]
        return list(awards(self.own, job, self.ledger.state, at(moment)))

    def winners(self, moment: float) -> list[str]:
        """Whose bids an award would hold, cheapest first."""
        wishes = only(Wish, self.awards(moment))
        operations = only(Award, [wish.operation for wish in wishes])
        return [self.ledger.name(it.bid.provider) for one in operations for it in one.bids]


def test_without_a_bid_nothing_is_awarded() -> None:
    assert Sale().awards(100) == []


def test_with_enough_bids_a_better_one_is_waited_for_a_moment() -> None:
    sale = Sale()
    sale.bid("maker", PRICE, 0)
    assert sale.awards(0) == [Wake(at(1))]
    assert at(1) - at(0) == ENOUGH_WAIT
    sale.bid("one", PRICE - 1, 0.5)
    assert sale.winners(0.9) == []
    assert sale.winners(1) == ["one", "maker"]


def test_with_too_few_bids_more_are_waited_for_longer() -> None:
    sale = Sale(seats=2)
    sale.bid("maker", PRICE, 0)
    assert sale.winners(2.9) == []
    assert sale.winners(3) == ["maker"]


def test_when_everybody_has_answered_the_award_is_at_once() -> None:
    sale = Sale()
    sale.bid("maker", PRICE, 0)
    sale.own.supply.declines[sale.ledger.id("one")] = refused(sale.job_id)
    assert sale.winners(0) == []
    sale.bid("two", PRICE + 1, 0)
    assert sale.winners(0) == ["maker", "two"]


def test_somebody_connected_is_waited_for_until_it_has_said_its_word_again() -> None:
    """The first may be lost; who is not connected is waited for as before."""
    sale = Sale()
    sale.own.near = {sale.ledger.id("one")}
    sale.bid("maker", PRICE, 0)
    assert sale.winners(1) == []
    assert at(0) + BID_AGAIN < at(0) + NEAR_WAIT == at(2.5)
    sale.bid("one", PRICE - 1, 2.1)
    assert sale.winners(2.1) == ["one", "maker"]


def test_no_bid_is_waited_for_until_the_seats_have_expired() -> None:
    sale = Sale(seats=2)
    sale.bid("maker", PRICE, 0)
    job = sale.ledger.state.jobs[sale.job_id]
    sale.ledger.wait(job.deadline - sale.ledger.state.tick - HURRY_TICKS - 1)
    assert sale.winners(0) == []
    sale.ledger.wait(1)
    assert sale.winners(0) == ["maker"]


@pytest.mark.parametrize(("rounds", "awarded"), [(1, 0), (2, 1)])
def test_a_seat_that_was_lost_is_awarded_again_unless_the_last_round_has_begun(
    rounds: int, awarded: int
) -> None:
    ledger = market()
    job_id = training(ledger, "buyer", "maker", rounds=rounds)
    own = own_job(ledger, job_id)
    do(ledger, "buyer", Wish("stop", Stop(lease_of(ledger, job_id, "maker").id)))
    keep_bid(own, offer(ledger, job_id, "one", PRICE, 3_000), at(0))
    job = ledger.state.jobs[job_id]
    assert open_seats(ledger.state, job) == awarded
    assert len(only(Wish, list(awards(own, job, ledger.state, at(100))))) == awarded
    late = list(offered(own, job, ledger.id("one"), PRICE, ledger.state))
    assert [note.kind for note in late] == [TRACE]  # "for the next that opens" would be untrue.


def test_the_log_says_who_did_not_bid_and_whose_bid_came_too_late() -> None:
    sale = Sale()
    sale.own.near = {sale.ledger.id("two")}
    sale.bid("maker", PRICE, 0)
    declined = Decline(sale.job_id, Reason.BUSY, "1 of 1 leases taken\n" + "!" * 500)
    sale.own.supply.declines[sale.ledger.id("one")] = declined
    [note] = only(Note, sale.awards(3))
    names = [name_of(sale.ledger.state, sale.ledger.id(who)) for who in ("two", "one")]
    assert note.text.startswith(f"did not bid: {names[0]} (no answer), {names[1]} (1 of 1 leases")
    assert "\n" not in note.text
    assert len(note.text) < 200
    [wish] = only(Wish, sale.awards(3))
    do(sale.ledger, "buyer", wish)
    job = sale.ledger.state.jobs[sale.job_id]
    said = list(offered(sale.own, job, sale.ledger.id("two"), PRICE, sale.ledger.state))
    assert [note.kind for note in said] == [TRACE, "lease"]
    assert "came too late" in said[1].text
    assert list(offered(sale.own, job, sale.ledger.id("two"), PRICE, sale.ledger.state)) == []


def test_the_ledger_takes_the_award_at_the_second_price() -> None:
    sale = Sale()
    sale.bid("maker", PRICE, 0)
    sale.bid("one", PRICE + 5, 0)
    [wish] = only(Wish, sale.awards(1))
    do(sale.ledger, "buyer", wish)
    lease = lease_of(sale.ledger, sale.job_id, "maker")
    assert (lease.state, lease.price) == (LeaseState.AWARDED, PRICE + 5)
    assert sale.awards(2) == []


def test_bids_past_their_time_and_of_those_gone_are_left_out() -> None:
    sale = Sale()
    sale.bid("maker", PRICE, 0, until=sale.ledger.state.tick)
    sale.bid("one", PRICE, 0)
    sale.own.lost[sale.ledger.id("one")] = at(0)
    assert sale.awards(5) == []
    del sale.own.lost[sale.ledger.id("one")]
    assert sale.winners(9) == []  # The wait begins with the first bid that counts.
    assert sale.winners(10) == ["one"]


def test_the_newest_bid_of_a_provider_counts() -> None:
    sale = Sale()
    sale.own.supply.declines[sale.ledger.id("maker")] = refused(sale.job_id)
    sale.bid("maker", PRICE, 0)
    sale.bid("maker", PRICE - 7, 0)
    [signed] = sale.own.supply.bids.values()
    assert signed.bid.price == PRICE - 7
    assert not sale.own.supply.declines


def test_of_too_many_bids_the_dearest_goes() -> None:
    sale = Sale()
    many = [NodeId(bytes([number]) * 32) for number in range(BIDS_MAX + 1)]
    for number, node in enumerate(many):
        bid = Bid(sale.job_id, node, MicroTokens(1_000 - number), Tick(3_000))
        keep_bid(sale.own, SignedBid(bid, b""), at(0))
    assert len(sale.own.supply.bids) == BIDS_MAX
    assert many[0] not in sale.own.supply.bids
    [wish] = only(Wish, sale.awards(9))
    assert isinstance(wish.operation, Award)
    assert len(wish.operation.bids) == AWARD_BIDS_MAX
    assert wish.operation.bids[0].bid.provider == many[-1]


class Lent:
    """A lease under way, and what its requester hears of it."""

    def __init__(self) -> None:
        self.ledger = market()
        self.job_id = training(self.ledger, "buyer", "maker")
        self.own = own_job(self.ledger, self.job_id)
        self.lease = lease_of(self.ledger, self.job_id, "maker")
        assert self.stopped(0) is None

    def stops(self, moment: float) -> list[Wish | Wake]:
        job = self.ledger.state.jobs[self.job_id]
        return list(stops(self.own, job, self.ledger.state, at(moment)))

    def stopped(self, moment: float) -> Wish | None:
        return next(iter(only(Wish, self.stops(moment))), None)


def test_a_provider_that_says_nothing_is_let_go_after_ten_seconds() -> None:
    lent = Lent()
    assert at(10) - at(0) == SILENCE_PATIENCE
    assert lent.stops(9.9) == [Wake(at(10))]
    wish = lent.stopped(10)
    assert wish is not None
    assert wish.operation == Stop(lent.lease.id)
    do(lent.ledger, "buyer", wish)
    assert lent.stops(11) == []
    assert lent.lease.id not in lent.own.beats


def test_a_sign_of_life_begins_the_patience_anew() -> None:
    lent = Lent()
    lent.own.beats[lent.lease.id] = Beat(None, at(8))
    assert lent.stopped(17.9) is None
    assert lent.stopped(18) is not None


def test_a_provider_whose_connection_is_gone_is_let_go_after_five_seconds() -> None:
    lent = Lent()
    assert at(5) - at(0) == DOWN_PATIENCE
    lent.own.lost[lent.lease.provider] = at(1)
    assert lent.stopped(5.9) is None
    assert lent.stopped(6) is not None


def test_whoever_lost_everybody_was_cut_off_itself_and_lets_nobody_go_for_that() -> None:
    lent = Lent()
    lent.own.lost[lent.lease.provider], lent.own.alone = at(1), True
    assert lent.stopped(9.9) is None
    assert lent.stopped(60) is None
    lent.own.alone = False
    assert lent.stopped(60) is not None


def test_a_provider_that_gives_up_is_let_go_at_once_and_another_refusal_is_none() -> None:
    lent = Lent()
    lent.own.supply.declines[lent.lease.provider] = refused(lent.job_id, Reason.BUSY)
    assert lent.stopped(1) is None
    lent.own.supply.declines[lent.lease.provider] = refused(lent.job_id, Reason.FAULTY)
    assert lent.stopped(1) is not None


def test_whoever_is_let_go_has_to_offer_again() -> None:
    lent = Lent()
    keep_bid(lent.own, offer(lent.ledger, lent.job_id, "maker", PRICE), at(0))
    assert lent.stopped(10) is not None
    assert not lent.own.supply.bids
