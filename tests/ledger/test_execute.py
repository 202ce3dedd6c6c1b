"""The same commits give the same state; time and mix follow what was agreed."""

from dataclasses import replace

import msgspec
import pytest

from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest, NodeId, Round
from dpin.base.units import MicroTokens
from dpin.ledger import money
from dpin.ledger.agenda import Subject
from dpin.ledger.beacon import OwnChain
from dpin.ledger.book import Book
from dpin.ledger.execute import MIX_TAG, Executor
from dpin.ledger.money import MAX_SUPPLY, supply
from dpin.ledger.roots import root_of
from dpin.ledger.rules import DEADLINES_MAX
from dpin.ledger.transactions import Transfer
from tests.ledger.test_roots import busy
from tests.support.ledgers import (
    CHAIN,
    Ledger,
    chain_table,
    peopled,
    propose,
    registration,
)


def test_two_executors_fed_the_same_commits_agree_on_everything() -> None:
    ledger = busy()
    other = Executor(ledger.genesis)
    applied = [other.apply(commit) for commit in ledger.commits]
    assert applied == ledger.applied
    assert other.state == ledger.state
    assert other.receipts.root == ledger.executor.receipts.root
    assert root_of(other.state) == root_of(ledger.state)
    assert other.next_deadline == ledger.executor.next_deadline


def test_every_token_is_there_at_birth_and_after_each_commit() -> None:
    ledger = busy()
    assert supply(Executor(ledger.genesis).state) == supply(ledger.state) == MAX_SUPPLY


def test_a_sum_that_is_not_conserved_stops_the_node() -> None:
    ledger = Ledger("ann")
    ledger.account("ann").free = MicroTokens(ledger.account("ann").free + 1)
    for _ in range(9):
        ledger.commit()
    with pytest.raises(AssertionError, match="tokens"):
        ledger.commit()  # A checkpoint looks at everybody.


def test_an_operation_that_makes_tokens_stops_the_node_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def print_money(book: Book, sender: NodeId, operation: Transfer) -> None:
        del sender
        money.credit(book, operation.to, operation.amount)

    monkeypatch.setattr(money, "transfer", print_money)
    ledger = Ledger("ann")
    with pytest.raises(AssertionError, match="tokens"):
        ledger.do("ann", Transfer(ledger.id("ann"), MicroTokens(1), b""))


def test_a_commit_out_of_order_stops_the_node() -> None:
    ledger = Ledger("ann")
    ledger.commit()
    with pytest.raises(AssertionError, match="in order"):
        ledger.executor.apply(ledger.commits[0])


def test_an_outage_stops_the_clock() -> None:
    ledger = Ledger("ann")
    ledger.commit(after_ms=3_600_000)
    assert (ledger.state.time, ledger.state.tick) == (2_000, 10)
    ledger.commit(after_ms=200)
    assert (ledger.state.time, ledger.state.tick) == (2_200, 11)


def test_a_true_reveal_stirs_the_mix_and_a_false_one_does_not() -> None:
    ledger = Ledger("ann")
    before = ledger.executor.mix
    applied = ledger.commit()
    assert applied.height == 1
    assert ledger.executor.mix == digest(MIX_TAG, before + ledger.commits[0].reveal)
    mixed = ledger.executor.mix
    for reveal in (NO_DIGEST, Digest(b""), ledger.commits[0].reveal):
        height = ledger.state.height + 1
        wrong = replace(
            ledger.commits[0], height=height, leader_round=Round(2 * height), reveal=reveal
        )
        ledger.executor.apply(wrong)
        assert ledger.executor.mix == mixed


def test_a_validator_may_change_to_another_chain_from_a_coming_round() -> None:
    ledger = Ledger("ann")
    table = chain_table(bytes(32))
    renewed = OwnChain(CHAIN, table, Round(9))
    change = msgspec.structs.replace(
        registration(), anchor=CHAIN.anchor(table), anchor_round=Round(9)
    )
    assert ledger.do("ann", change) == "ok"
    while ledger.state.height < 4:
        before = ledger.executor.mix
        ledger.commit()
        assert ledger.executor.mix != before
    before, ledger.reveals = ledger.executor.mix, {ledger.id("ann"): renewed}
    ledger.commit()
    assert ledger.executor.mix == digest(MIX_TAG, before + renewed.at(Round(10)))


def test_deadlines_beyond_the_limit_of_one_commit_wait_for_the_next() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = propose(ledger, "req")
    agenda = ledger.executor._book.agenda
    tick = ledger.state.jobs[job].deadline
    for number in range(DEADLINES_MAX):
        agenda.set((Subject.JOB, job, number + 1), tick)
    ledger.wait(24)
    assert len(agenda) == DEADLINES_MAX + 1
    ledger.wait(1)
    assert len(agenda) == 1
    ledger.commit()
    assert ledger.executor.next_deadline is None


def test_a_receipt_names_the_transaction_before_what_it_brought_about() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    data = ledger.signed("req", Transfer(ledger.id("ann"), MicroTokens(1), b""))
    [receipt] = ledger.commit(data).receipts
    assert (receipt.height, receipt.code, receipt.detail) == (ledger.state.height, 0, "ok")
