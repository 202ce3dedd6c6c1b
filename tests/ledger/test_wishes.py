"""A wish is done once; what was refused rests and is tried again."""

from dataclasses import replace

import msgspec
import pytest

from dpin.base.codec import decode, encode
from dpin.base.units import Instant, MicroTokens, after
from dpin.ledger import fees
from dpin.ledger.execute import Applied
from dpin.ledger.mempool import FULL
from dpin.ledger.params import DEVELOPMENT, Params
from dpin.ledger.pledges import Release, standing
from dpin.ledger.transactions import SignedTransaction, Stake, Transfer, sign
from dpin.ledger.wishes import (
    ANSWERED,
    EXPIRED,
    FEE_TOO_LOW,
    IN_FLIGHT_MAX,
    NO_ROOM,
    NUMBER_USED,
    OK,
    REST,
    RESTING_MAX,
    SIGNED_MAX,
    UNAPPLIED,
    Carry,
    Outcome,
    Submission,
    Wish,
    Wishes,
)
from tests.support.ledgers import Ledger

START = Instant(1_700_000_000_000_000)


DEAR = msgspec.structs.replace(DEVELOPMENT, fee_base=MicroTokens(1_000))


class Wisher:
    """Maker's wishes on a ledger that nobody else uses."""

    def __init__(self, params: Params = DEVELOPMENT) -> None:
        self.ledger = Ledger("buyer", "maker", "one", "two", params=params)
        self.told: list[Submission | Outcome] = []  # after the last commit
        key, chain = self.ledger.keys["maker"], self.ledger.executor.chain
        self.wishes = Wishes(key, chain, self.ledger.genesis.params)

    def wish(self, key: str, amount: int = 1, moment: int = 0) -> Submission | None:
        wish = Wish(key, Stake(MicroTokens(amount)))
        return self.wishes.wish(wish, self.ledger.state, Instant(START + moment))

    def all_of_it(self) -> bytes:
        """Maker gives all away."""
        ledger = self.ledger
        key, free = ledger.keys["maker"], ledger.account("maker").free
        fee = fees.fee(ledger.genesis.params, ledger.state.fee_multiplier, 0, 1)
        pay = Transfer(ledger.id("one"), MicroTokens(free - fee), b"")
        terms = fees.terms(ledger.state, ledger.genesis.params, (pay,))
        return encode(sign(key, ledger.executor.chain, 40, pay, terms))

    def settle(self, *submissions: Submission | None, moment: int = 0) -> list[str]:
        """These are committed; which wishes have ended, and how."""
        data = [submission.data for submission in submissions if submission is not None]
        return self.after(self.ledger.commit(*data), Instant(START + moment))

    def after(self, applied: Applied, now: Instant) -> list[str]:
        commit = self.ledger.commits[-1]
        outcomes = self.wishes.settled(applied.receipts, now)
        self.told = list(self.wishes.review(commit, self.ledger.state, now))
        outcomes += [one for one in self.told if isinstance(one, Outcome)]
        return [f"{outcome.key} {outcome.detail}" for outcome in outcomes]

    def until_signed_anew(self) -> list[Submission]:
        """Epochs go by, and nothing is committed."""
        for _ in range(10_000):
            assert self.after(self.ledger.commit(after_ms=2_000), START) == []
            if self.told:
                return [one for one in self.told if isinstance(one, Submission)]
        raise AssertionError("an epoch never ends")


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


def test_a_wish_whose_number_another_took_ends_and_may_be_wished_anew(wisher: Wisher) -> None:
    lost = wisher.wish("stake", 7)
    assert wisher.ledger.do("maker", Stake(MicroTokens(1))) == OK
    assert wisher.settle(lost) == [f"stake {NUMBER_USED}"]
    assert wisher.wish("stake", 7, moment=REST - 1) is None
    again = wisher.wish("stake", 7, moment=REST)
    assert sequence_of(again) == 2
    assert wisher.settle(again) == [f"stake {OK}"]
    assert wisher.ledger.account("maker").stake == 8


def test_nothing_is_lost_while_receipts_of_later_commits_are_to_come(wisher: Wisher) -> None:
    """A replica may execute two commits before it tells of the first."""
    submission = wisher.wish("stake", 7)
    assert submission is not None
    ledger = wisher.ledger
    ledger.commit()
    ledger.commit(submission.data)
    first, second = ledger.commits
    assert list(wisher.wishes.review(first, ledger.state, START)) == []
    assert [one.detail for one in wisher.wishes.settled(ledger.applied[-1].receipts, START)] == [OK]
    assert list(wisher.wishes.review(second, ledger.state, START)) == []


def test_a_wish_that_expires_is_signed_anew_under_its_number() -> None:
    wisher = Wisher()
    slow = wisher.wish("stake", 7)
    assert slow is not None
    [again] = wisher.until_signed_anew()
    assert (sequence_of(again), sequence_of(slow)) == (1, 1)
    assert wisher.settle(slow) == []  # too late: it has no effect
    assert wisher.settle(again) == [f"stake {OK}"]
    assert wisher.ledger.account("maker").stake == 7


def test_a_wish_whose_fee_is_too_low_by_now_is_signed_anew_and_done_once() -> None:
    wisher = Wisher(DEAR)
    cheap = wisher.wish("stake", 7)
    assert cheap is not None
    wisher.ledger.state.fee_multiplier *= 3
    assert wisher.settle(cheap) == []  # in a block, and without a receipt
    [again] = wisher.told
    assert isinstance(again, Submission)
    wisher.ledger.state.fee_multiplier //= 3
    # The first may come again, by way of a validator that still had it: then the second cannot.
    assert wisher.settle(cheap, again) == [f"stake {OK}"]
    assert wisher.ledger.account("maker").stake == 7
    assert wisher.wish("stake") is not None


def test_a_wish_is_signed_only_so_often() -> None:
    wisher = Wisher(DEAR)
    wisher.wish("stake", 7)
    for _ in range(SIGNED_MAX - 1):
        wisher.ledger.state.fee_multiplier *= 3
        assert wisher.settle() == []
        assert [type(one) for one in wisher.told] == [Submission]
    wisher.ledger.state.fee_multiplier *= 3
    assert wisher.settle() == [f"stake {FEE_TOO_LOW}"]


def test_a_wish_that_a_block_held_in_vain_ends_with_that_reason() -> None:
    wisher = Wisher(DEAR)
    submission = wisher.wish("stake", 7)
    assert submission is not None
    wisher.ledger.commit(wisher.all_of_it())  # under a number far ahead
    assert wisher.settle(submission) == [f"stake {UNAPPLIED}"]


def test_what_the_mempool_drops_as_expired_is_signed_anew() -> None:
    wisher = Wisher()
    submission = wisher.wish("stake", 7)
    assert submission is not None
    assert wisher.wishes.refused(submission.id, EXPIRED, START) is None
    assert wisher.settle() == []
    [again] = wisher.told
    assert isinstance(again, Submission)
    assert wisher.settle(again) == [f"stake {OK}"]


def test_a_late_refusal_of_what_was_signed_before_changes_nothing() -> None:
    wisher = Wisher()
    first = wisher.wish("stake", 7)
    assert first is not None
    assert len(wisher.until_signed_anew()) == 1
    assert wisher.wishes.refused(first.id, "no-validator-took-it", START) is None
    assert wisher.wish("stake", 7) is None  # still under way


def test_several_operations_are_one_wish() -> None:
    wisher = Wisher()
    several = Wish("stakes", Stake(MicroTokens(1)), (Stake(MicroTokens(2)),))
    submission = wisher.wishes.wish(several, wisher.ledger.state, START)
    assert wisher.settle(submission) == [f"stakes {OK}"]
    assert wisher.ledger.account("maker").stake == 3


def test_what_another_key_has_signed_is_carried_and_never_signed_anew() -> None:
    wisher = Wisher(DEAR)
    ledger = wisher.ledger
    pay = Transfer(ledger.id("one"), MicroTokens(5), b"")
    terms = fees.terms(ledger.state, ledger.genesis.params, (pay,))
    for number in (1, 2):
        signed = sign(ledger.keys["buyer"], ledger.executor.chain, number, pay, terms)
        carried = wisher.wishes.carry(Carry(f"carry {number}", signed), START)
        assert isinstance(carried, Submission)
        if number == 1:
            assert isinstance(wisher.wishes.carry(Carry("twice", signed), START), Outcome)
            assert wisher.settle(carried) == [f"carry 1 {OK}"]
    ledger.state.fee_multiplier *= 3
    assert wisher.settle() == [f"carry 2 {FEE_TOO_LOW}"]


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


class Restarting(Wisher):
    """Maker's wishes last; `again` is another process with the same log."""

    def __init__(self, params: Params = DEVELOPMENT) -> None:
        super().__init__(params)
        self.log: list[bytes] = []

    def lasting(self, key: str) -> Submission:
        wish = Wish(key, Stake(MicroTokens(7)), lasting=True)
        submission = self.wishes.wish(wish, self.ledger.state, START)
        assert submission is not None
        assert submission.pledge is not None
        self.log.append(encode(submission.pledge))
        return submission

    def again(self) -> list[Submission]:
        self.wishes = Wishes(
            self.ledger.keys["maker"], self.ledger.executor.chain, self.ledger.genesis.params
        )
        found = [self.wishes.restore(one, self.ledger.state) for one in standing(self.log)]
        return [one for one in found if one is not None]


def test_what_was_under_way_goes_on_after_a_start_and_is_done_once() -> None:
    wisher = Restarting()
    asked = [wisher.lasting("one"), wisher.lasting("two")]
    again = wisher.again()
    assert [one.data for one in again] == [one.data for one in asked]
    assert [one.pledge for one in again] == [None, None]  # They are in the log already.
    assert wisher.wish("one") is None  # It is under way.
    assert wisher.settle(*asked, *again) == [f"one {OK}", f"two {OK}"]
    assert wisher.ledger.account("maker").stake == 14
    assert wisher.again() == []


def test_a_start_takes_no_number_twice() -> None:
    wisher = Restarting()
    wisher.lasting("one")
    wisher.again()
    assert sequence_of(wisher.wish("two")) == 2


def test_what_was_refused_before_a_start_is_not_offered_after_it() -> None:
    wisher = Restarting()
    submission = wisher.lasting("one")
    outcome = wisher.wishes.refused(submission.id, "mempool-full", START)
    assert outcome is not None
    assert outcome.released
    wisher.log.append(encode(Release(outcome.key)))
    assert wisher.again() == []


def test_what_was_taken_on_does_not_end_because_nobody_has_room_now() -> None:
    wisher = Restarting()
    asked, late = wisher.lasting("one"), after(START, ANSWERED)
    for reason in sorted(NO_ROOM):
        assert wisher.wishes.refused(asked.id, reason, late) is None
        assert wisher.settle() == []
        [again] = wisher.told
        assert again == replace(asked, pledge=None)  # That is in the log already.
        assert wisher.settle() == []
        assert wisher.told == []  # Once, until it is refused again.
    [again] = wisher.again()
    assert wisher.wishes.refused(again.id, FULL, START) is None  # From before a start: at once.
    assert wisher.settle() == []
    assert wisher.told == [again]
    assert wisher.settle(again) == [f"one {OK}"]


def test_who_still_waits_is_told_that_there_is_no_room() -> None:
    wisher = Restarting()
    for reason in sorted(NO_ROOM):
        submission = wisher.lasting(f"pay {reason}")
        soon = Instant(START + ANSWERED - 1)
        outcome = wisher.wishes.refused(submission.id, reason, soon)
        assert outcome is not None
        assert (outcome.detail, outcome.released) == (reason, True)


def test_what_expires_over_a_start_is_dropped_and_not_signed_anew() -> None:
    wisher = Restarting()
    wisher.lasting("one")
    assert len(wisher.again()) == 1
    ended: list[str] = []
    while not ended:
        ended = wisher.after(wisher.ledger.commit(after_ms=2_000), START)
    assert ended == [f"one {EXPIRED}"]
    assert [one for one in wisher.told if isinstance(one, Submission)] == []
    assert wisher.again() == []


def test_a_fee_that_is_too_low_after_a_start_is_mended() -> None:
    wisher = Restarting(DEAR)
    wisher.lasting("one")
    wisher.again()
    wisher.ledger.state.fee_multiplier *= 3
    assert wisher.settle() == []
    [again] = wisher.told
    assert isinstance(again, Submission)
    assert again.pledge is not None
    assert standing([*wisher.log, encode(again.pledge)]) == [again.pledge]
    assert wisher.settle(again) == [f"one {OK}"]


def test_what_is_kept_is_bounded_by_what_may_be_under_way() -> None:
    wisher = Restarting()
    for number in range(IN_FLIGHT_MAX):
        wisher.lasting(f"stake {number}")
    more = Wish("one more", Stake(MicroTokens(7)), lasting=True)
    assert wisher.wishes.wish(more, wisher.ledger.state, START) is None
    assert len(wisher.wishes.pledges) == IN_FLIGHT_MAX
    assert len(wisher.again()) == IN_FLIGHT_MAX
