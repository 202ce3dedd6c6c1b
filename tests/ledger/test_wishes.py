"""A wish is done once; what was refused rests and is tried again."""

import pytest

from dpin.base.codec import decode
from dpin.base.units import Instant, MicroTokens
from dpin.ledger.transactions import SignedTransaction, Stake, Transfer
from dpin.ledger.wishes import IN_FLIGHT_MAX, OK, REST, RESTING_MAX, Submission, Wish, Wishes
from tests.support.ledgers import Ledger

START = Instant(1_700_000_000_000_000)


class Wisher:
    """Maker's wishes on a ledger that nobody else uses."""

    def __init__(self) -> None:
        self.ledger = Ledger("buyer", "maker", "one", "two")
        key, chain = self.ledger.keys["maker"], self.ledger.executor.chain
        self.wishes = Wishes(key, chain, self.ledger.genesis.params)

    def wish(self, key: str, amount: int = 1, moment: int = 0) -> Submission | None:
        wish = Wish(key, Stake(MicroTokens(amount)))
        return self.wishes.wish(wish, self.ledger.state, Instant(START + moment))

    def settle(self, *submissions: Submission | None, moment: int = 0) -> list[str]:
        """These are committed; what became of them."""
        data = [submission.data for submission in submissions if submission is not None]
        receipts = self.ledger.commit(*data).receipts
        outcomes = self.wishes.settled(receipts, Instant(START + moment))
        return [f"{outcome.key} {outcome.detail}" for outcome in outcomes]


@pytest.fixture
def wisher() -> Wisher:
    return Wisher()


def sequence_of(submission: Submission | None) -> int:
    assert submission is not None
    return decode(SignedTransaction, submission.data).transaction.sequence


def test_a_wish_is_signed_once_and_told_when_it_is_done(wisher: Wisher) -> None:
    submission = wisher.wish("stake")
    assert wisher.wish("stake") is None
    assert wisher.settle(submission) == [f"stake {OK}"]
    assert wisher.ledger.account("maker").stake == 1


def test_a_wish_that_is_done_may_be_wished_again_at_once(wisher: Wisher) -> None:
    wisher.settle(wisher.wish("stake"))
    assert wisher.settle(wisher.wish("stake")) == [f"stake {OK}"]
    assert wisher.ledger.account("maker").stake == 2


def test_wishes_get_rising_numbers_after_those_used_before(wisher: Wisher) -> None:
    wisher.ledger.do("maker", Stake(MicroTokens(1)))
    wisher.ledger.do("maker", Stake(MicroTokens(1)))
    numbers = [sequence_of(wisher.wish(f"stake {number}")) for number in range(3)]
    assert numbers == [3, 4, 5]


def test_wishes_that_come_in_another_order_are_all_done(wisher: Wisher) -> None:
    several = [wisher.wish(f"stake {number}") for number in range(5)]
    assert len(wisher.settle(*reversed(several))) == 5
    assert wisher.ledger.account("maker").stake == 5


def test_no_more_are_under_way_than_the_ledger_takes(wisher: Wisher) -> None:
    several = [wisher.wish(f"stake {number}") for number in range(IN_FLIGHT_MAX)]
    assert None not in several
    assert wisher.wish("one more") is None
    wisher.settle(several[0])
    assert wisher.wish("one more") is not None


def test_a_wish_that_the_ledger_refuses_rests(wisher: Wisher) -> None:
    too_much = 10**15
    assert wisher.settle(wisher.wish("stake", too_much)) == ["stake not-enough-free"]
    assert wisher.wish("stake", moment=REST - 1) is None
    assert wisher.wish("stake", moment=REST) is not None


def test_a_wish_that_no_validator_took_rests_too(wisher: Wisher) -> None:
    submission = wisher.wish("stake")
    assert submission is not None
    outcome = wisher.wishes.refused(submission.id, "mempool-full", START)
    assert outcome is not None
    assert (outcome.key, outcome.detail, outcome.height) == ("stake", "mempool-full", 0)
    assert wisher.wishes.refused(submission.id, "mempool-full", START) is None
    assert wisher.wish("stake", moment=REST) is not None


def test_receipts_of_others_are_passed_over(wisher: Wisher) -> None:
    wisher.wish("stake")
    transfer = Transfer(wisher.ledger.id("one"), MicroTokens(1), b"")
    receipts = wisher.ledger.commit(wisher.ledger.signed("buyer", transfer)).receipts
    assert wisher.wishes.settled(receipts, START) == []


def test_a_wish_whose_number_another_took_is_signed_anew(wisher: Wisher) -> None:
    lost = wisher.wish("stake", 7)
    assert wisher.ledger.do("maker", Stake(MicroTokens(1))) == OK
    assert wisher.settle(lost) == []
    assert wisher.wish("stake", 7, moment=REST - 1) is None
    again = wisher.wish("stake", 7, moment=REST)
    assert sequence_of(again) == 2
    assert wisher.settle(again) == [f"stake {OK}"]
    assert wisher.ledger.account("maker").stake == 8


def test_a_wish_that_only_takes_long_is_not_signed_twice(wisher: Wisher) -> None:
    slow = wisher.wish("stake")
    assert wisher.wish("stake", moment=100 * REST) is None
    assert wisher.settle(slow) == [f"stake {OK}"]


def test_resting_wishes_are_forgotten_once_they_have_rested(wisher: Wisher) -> None:
    for number in range(RESTING_MAX + 8):
        submission = wisher.wish(f"stake {number}", moment=number * REST)
        assert submission is not None
        moment = Instant(START + number * REST)
        wisher.wishes.refused(submission.id, "mempool-full", moment)
    assert wisher.wish("stake 0", moment=(RESTING_MAX + 9) * REST) is not None
