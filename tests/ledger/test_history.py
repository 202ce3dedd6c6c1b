"""An account's history explains every change of what it has."""

import msgspec
import pytest

from dpin.base.codec import decode, encode
from dpin.base.ids import Digest, JobId, NodeId, Round
from dpin.base.units import MicroTokens
from dpin.ledger import fees, history
from dpin.ledger.history import JOINED, OTHER, Movement, Remembering
from dpin.ledger.params import DEVELOPMENT, Params
from dpin.ledger.transactions import Credit, Operation, Stake, Transfer, sign
from dpin.ledger.wages import CHECK, WORK
from tests.support.ledgers import (
    STAKE,
    Ledger,
    award,
    check_honestly,
    finish,
    propose,
    registration,
    running,
    unit_of,
)
from tests.support.twins import restored

DEAR: Params = msgspec.structs.replace(DEVELOPMENT, fee_base=MicroTokens(1_000))


class Kept(Ledger):
    """A ledger that remembers what becomes of ann."""

    def __init__(self, params: Params = DEVELOPMENT) -> None:
        super().__init__("ann", "bob", "one", "two", params=params)
        self.remembering = Remembering(self.genesis, self.id("ann"))
        self.executor = self.remembering

    def send(self, name: str, *operations: Operation) -> None:
        """One transaction, with the fee of now."""
        self._sequences[name] += 1
        terms = fees.terms(self.state, self.genesis.params, operations)
        key, number = self.keys[name], self._sequences[name]
        self.commit(encode(sign(key, self.executor.chain, number, operations, terms)))

    @property
    def lines(self) -> list[Movement]:
        """Oldest first."""
        return self.remembering.history.between(0, 0, 1_000)[::-1]


def pay(ledger: Ledger, name: str, amount: int, memo: bytes = b"") -> Transfer:
    return Transfer(ledger.id(name), MicroTokens(amount), memo)


def assert_explained(ledger: Kept) -> None:
    """All changes together are what ann has more than at first."""
    grant = ledger.genesis.params.founder_grant
    assert grant + sum(line.change for line in ledger.lines) == ledger.account("ann").worth
    assert [line.number for line in ledger.lines] == list(range(1, len(ledger.lines) + 1))


@pytest.mark.parametrize("params", [DEVELOPMENT, DEAR])
def test_what_was_sent_and_received_is_told_with_fee_and_memo(params: Params) -> None:
    ledger = Kept(params)
    ledger.send("ann", pay(ledger, "bob", 5, b"rent"), pay(ledger, "one", 2))
    ledger.send("bob", pay(ledger, "ann", 3, b"back"), pay(ledger, "two", 1))
    ledger.send("bob", Credit(ledger.id("ann"), MicroTokens(4), b""))
    ledger.send("one", pay(ledger, "two", 1))
    rent, second, back, credit = ledger.lines
    fee = int(params.fee_base)
    assert (rent.what, rent.other, rent.memo) == ("transfer", ledger.id("bob"), b"rent")
    assert (rent.change, rent.fee, rent.detail) == (-5 - fee, fee, "ok")
    assert (second.change, second.fee, second.transaction) == (-2, 0, rent.transaction)
    assert (back.change, back.fee, back.other) == (3, 0, ledger.id("bob"))
    assert (credit.what, credit.change, credit.credit) == ("credit", 4, 4)
    assert credit.free == ledger.account("ann").free
    assert_explained(ledger)


def test_a_failed_transaction_costs_its_fee_and_says_why() -> None:
    ledger = Kept(DEAR)
    ledger.send("ann", pay(ledger, "bob", 10**15))
    [line] = ledger.lines
    assert (line.detail, line.change, line.fee) == ("not-enough-free", -1_000, 1_000)
    assert_explained(ledger)


def test_what_could_not_be_applied_is_no_history() -> None:
    ledger = Kept()
    one = ledger.signed("ann", pay(ledger, "bob", 5))
    ledger.commit(one, one)
    ledger.commit(one)
    assert len(ledger.lines) == 1
    assert_explained(ledger)


def test_tokens_that_are_only_moved_within_the_account_change_nothing() -> None:
    ledger = Kept()
    ledger.send("ann", Stake(MicroTokens(9)), pay(ledger, "ann", 7))
    assert [(line.what, line.change) for line in ledger.lines] == [("stake", 0), ("transfer", 0)]
    assert_explained(ledger)


def test_what_jobs_take_and_give_back_is_told_in_one_line() -> None:
    ledger = Kept()
    for name in ("ann", "bob", "one", "two"):
        ledger.do(name, registration(), Stake(MicroTokens(10**9)))
    job = propose(ledger, "ann")
    proposed, escrow = ledger.lines[-2:]
    assert (proposed.what, proposed.change, escrow.what) == ("propose", 0, OTHER)
    assert escrow.change == -ledger.state.jobs[job].escrow
    award(ledger, job, bob=1_000_000)
    ledger.wait(400)
    assert ledger.lines[-1].what == OTHER
    assert ledger.lines[-1].change > 0
    assert_explained(ledger)


class Working(Kept):
    """A ledger on which bob and two keep to their seats, and ann or one works for req."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("ann", "bob", "one", "two"):
            assert self.do(name, registration(), Stake(STAKE)) == "ok"

    def settle(self, provider: str) -> JobId:
        job = running(self, "bob", provider)
        finish(self, job, provider)
        self.wait(1)
        check_honestly(self, (unit_of(self, job, provider).lease, Round(0)))
        return job


def test_pay_for_work_is_told_with_its_job_and_round() -> None:
    ledger = Working()
    job = ledger.settle("ann")
    [line] = [line for line in ledger.lines if line.what == WORK]
    assert line.change == unit_of(ledger, job, "ann").paid > 0
    assert (line.other, line.transaction, line.detail) == (ledger.id("bob"), None, "ok")
    assert line.memo == b"job %b, round 1" % job.hex()[:8].encode()
    assert_explained(ledger)


def test_pay_for_a_check_is_told_apart_from_work() -> None:
    ledger = Working()
    job = ledger.settle("one")
    [line] = [line for line in ledger.lines if line.what == CHECK]
    unit = unit_of(ledger, job, "one")
    assert ledger.id("ann") in {seat.verifier for seat in unit.seats}
    assert line.change == unit.verifier_fee // 2
    assert_explained(ledger)


def test_what_a_late_unit_costs_is_told_with_the_reason() -> None:
    ledger = Working()
    job = running(ledger, "bob", "ann")
    ledger.wait(400)
    [line] = [line for line in ledger.lines if line.what == WORK]
    assert line.change == -unit_of(ledger, job, "ann").lost < 0
    assert line.detail == "not-committed"
    assert_explained(ledger)


def test_history_is_paged_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOVEMENTS_MAX", 5)
    ledger = Kept()
    for number in range(8):
        ledger.send("ann", pay(ledger, "bob", number + 1))

    def numbers(after: int, before: int, count: int) -> list[int]:
        found = ledger.remembering.history.between(after, before, count)
        return [movement.number for movement in found]

    assert numbers(0, 0, 100) == [8, 7, 6, 5, 4]
    assert numbers(0, 0, 2) == [8, 7]
    assert numbers(0, 7, 2) == [6, 5]
    assert numbers(6, 0, 100) == [8, 7]
    assert numbers(8, 0, 100) == []


def test_a_history_that_begins_with_a_snapshot_says_so() -> None:
    ledger = Kept()
    ledger.send("ann", pay(ledger, "bob", 5))
    while ledger.commit(after_ms=2_000).closing is None:
        pass
    late = Remembering(ledger.genesis, ledger.id("ann"))
    late.resume(restored(ledger.executor.frozen.states[-1]))
    [line] = late.history.between(0, 0, 10)
    assert (line.what, line.change, line.height) == (JOINED, -5, ledger.state.height)
    assert line.free == ledger.account("ann").free


def ended(ledger: Kept) -> None:
    """Go on to the end of the epoch."""
    while ledger.commit(after_ms=2_000).closing is None:
        pass


def again(ledger: Kept, name: str = "ann") -> Remembering:
    """Whoever begins with what was kept at the end of the epoch."""
    found = Remembering(ledger.genesis, ledger.id(name))
    for record in ledger.remembering.pages():
        found.recall(record)
    found.resume(restored(ledger.executor.frozen.states[-1]))
    return found


@pytest.mark.parametrize("page", [1, 3, 512])
def test_what_was_remembered_is_there_again_and_goes_on(
    page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE_MOVEMENTS", page)
    ledger = Kept()
    for number in range(7):
        ledger.send("ann", pay(ledger, "bob", number + 1, b"rent"))
    ended(ledger)
    late = again(ledger)
    assert late.history.between(0, 0, 100) == ledger.lines[::-1]
    before = ledger.commits[-1].height
    ledger.send("bob", pay(ledger, "ann", 3, b"back"))
    late.apply(ledger.commits[-1])
    assert ledger.commits[-1].height == before + 1
    assert late.history.between(0, 0, 100) == ledger.lines[::-1]
    assert late.history.between(0, 0, 1)[0].number == 8


def test_pages_are_of_the_moment_at_which_they_were_asked_for() -> None:
    ledger = Kept()
    ledger.send("ann", pay(ledger, "bob", 1))
    ended(ledger)
    records = ledger.remembering.pages()
    ledger.send("ann", pay(ledger, "bob", 2))
    [page] = [decode(history.Page, record) for record in records]
    assert [line.change for line in page.movements] == [-1]


def test_what_happened_while_a_node_was_away_is_one_line_after_what_it_remembers() -> None:
    ledger = Kept()
    ledger.send("ann", pay(ledger, "bob", 5))
    ended(ledger)
    away = again(ledger)
    ledger.send("ann", pay(ledger, "bob", 7))
    ended(ledger)
    away.resume(restored(ledger.executor.frozen.states[-1]))
    joined, first = away.history.between(0, 0, 100)
    assert (joined.what, joined.change, joined.number) == (JOINED, -7, 2)
    assert (first.what, first.change, first.number) == ("transfer", -5, 1)


def test_the_history_of_another_key_is_not_taken_for_ones_own() -> None:
    ledger = Kept()
    ledger.send("ann", pay(ledger, "bob", 5))
    ended(ledger)
    [line] = again(ledger, "bob").history.between(0, 0, 100)
    assert (line.what, line.change) == (JOINED, 5)


def test_a_full_page_is_a_record_that_the_log_takes() -> None:
    line = Movement(
        2**40, 2**40, 2**42, Digest(bytes(32)), "x" * 32, NodeId(bytes(32)), bytes(64), "x" * 64,
        2**60, -(2**60), 2**60, 2**60,
    )  # fmt: skip
    page = history.Page(NodeId(bytes(32)), 2**60, (line,) * history.PAGE_MOVEMENTS)
    assert decode(history.Page, encode(page)) == page
