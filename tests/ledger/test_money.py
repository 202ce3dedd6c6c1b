"""Tokens move between accounts and are set aside; nothing else happens to them."""

import msgspec
import pytest

from dpin.base.ids import NodeId
from dpin.base.units import MicroTokens
from dpin.ledger import money
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.transactions import (
    MEMO_BYTES_MAX,
    Cancel,
    Credit,
    Operation,
    Stake,
    Transfer,
    Unstake,
)
from tests.support.ledgers import (
    JOB,
    PRICE,
    Ledger,
    check_honestly,
    exchange,
    finish,
    key_of,
    lease_of,
    peopled,
    propose,
    running,
)

NEW = NodeId(bytes([9]) * 32)
GRANT = MicroTokens(10_000_000_000)


def test_a_transfer_moves_free_tokens_and_opens_the_account_that_gets_them() -> None:
    ledger, newcomer = Ledger("ann"), NEW
    assert ledger.do("ann", Transfer(newcomer, MicroTokens(5), b"hello")) == "ok"
    assert ledger.account("ann").free == GRANT - 5
    assert ledger.state.accounts[newcomer].free == 5


def test_a_transfer_to_oneself_changes_nothing_but_the_sequence() -> None:
    ledger = Ledger("ann")
    assert ledger.do("ann", Transfer(ledger.id("ann"), GRANT, b"")) == "ok"
    assert ledger.account("ann").free == GRANT


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (Transfer(NEW, MicroTokens(GRANT + 1), b""), "not-enough-free"),
        (Transfer(NEW, MicroTokens(0), b""), "bad-field"),
        (Transfer(NEW, MicroTokens(-1), b""), "bad-field"),
        (Transfer(NodeId(bytes([9]) * 31), MicroTokens(1), b""), "bad-field"),
        (Transfer(NEW, MicroTokens(1), bytes(MEMO_BYTES_MAX + 1)), "bad-field"),
        (Credit(NEW, MicroTokens(GRANT + 1), b""), "not-enough-free"),
        (Credit(NEW, MicroTokens(0), b""), "bad-field"),
        (Credit(NEW, MicroTokens(1), bytes(MEMO_BYTES_MAX + 1)), "bad-field"),
        (Stake(MicroTokens(GRANT + 1)), "not-enough-free"),
        (Stake(MicroTokens(0)), "bad-field"),
        (Stake(MicroTokens(-5)), "bad-field"),
        (Unstake(MicroTokens(1)), "not-enough-stake"),
        (Unstake(MicroTokens(-1)), "bad-field"),
    ],
)
def test_a_refused_operation_names_its_reason_and_moves_nothing(
    operation: Operation, reason: str
) -> None:
    ledger = Ledger("ann")
    assert ledger.do("ann", operation) == reason
    assert list(ledger.state.accounts) == [ledger.id("ann")]
    assert (ledger.account("ann").free, ledger.account("ann").stake) == (GRANT, 0)


def test_stake_comes_back_but_for_what_a_bond_holds() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    job = running(ledger, "req", "ann")
    bond = lease_of(ledger, job, "ann").bond
    assert bond == 5 * PRICE
    stake = ledger.account("ann").stake
    assert ledger.do("ann", Unstake(MicroTokens(stake - bond + 1))) == "not-enough-stake"
    assert ledger.do("ann", Unstake(MicroTokens(stake - bond))) == "ok"
    assert ledger.account("ann").stake == ledger.account("ann").locked == bond


@pytest.mark.parametrize(
    ("windows", "verifiers", "price", "fee"),
    [(4, 2, 1_000, 1_500), (16, 2, 1_000, 375), (1, 1, 1_000, 3_000), (16, 1, 1, 1), (7, 2, 3, 3)],
)
def test_the_verifier_fee_is_rounded_up(windows: int, verifiers: int, price: int, fee: int) -> None:
    terms = msgspec.structs.replace(JOB, windows=windows, verifiers=verifiers)
    assert money.verifier_fee(DEVELOPMENT, terms, MicroTokens(price)) == fee


def credited(amount: int) -> Ledger:
    """Everybody is registered, and req has this much credit and nothing free."""
    ledger = peopled("req", "ann", "bob", "cat")
    assert ledger.do("ann", Credit(ledger.id("req"), MicroTokens(amount), b"a gift")) == "ok"
    everything = ledger.account("req").free
    assert ledger.do("req", Transfer(NEW, everything, b"")) == "ok"
    return ledger


def test_credit_is_neither_transferable_nor_stakeable() -> None:
    ledger = credited(5)
    assert ledger.account("req").credit == 5
    assert ledger.do("req", Transfer(NEW, MicroTokens(1), b"")) == "not-enough-free"
    assert ledger.do("req", Stake(MicroTokens(1))) == "not-enough-free"
    assert ledger.do("req", Credit(NEW, MicroTokens(1), b"")) == "not-enough-free"


def test_a_job_draws_credit_first_and_gives_back_what_it_did_not_spend() -> None:
    ledger = credited(100 * PRICE)
    job = propose(ledger, "req")
    escrow = ledger.state.jobs[job].escrow
    assert ledger.state.jobs[job].credit == escrow
    assert ledger.account("req").credit == 100 * PRICE - escrow
    assert ledger.do("req", Cancel(job)) == "ok"
    ledger.wait(50)
    assert (ledger.account("req").credit, ledger.account("req").free) == (100 * PRICE, 0)


def test_credit_that_paid_for_work_is_gone_and_none_of_it_becomes_free() -> None:
    ledger = credited(100 * PRICE)
    job = running(ledger, "req", "ann")
    key = key_of(ledger, job, "ann")
    finish(ledger, job, "ann")
    check_honestly(ledger, key)
    exchange(ledger, job, "ann")
    ledger.wait(100)
    assert ledger.state.jobs[job].state.ended
    assert ledger.account("req").free == 0
    assert (
        ledger.account("req").credit == 100 * PRICE - PRICE - ledger.state.units[key].verifier_fee
    )


def test_a_job_that_credit_covers_in_part_takes_the_rest_from_what_is_free() -> None:
    ledger = peopled("req", "ann", "bob", "cat")
    assert ledger.do("ann", Credit(ledger.id("req"), MicroTokens(7), b"")) == "ok"
    free = ledger.account("req").free
    job = propose(ledger, "req")
    escrow = ledger.state.jobs[job].escrow
    assert (ledger.account("req").credit, ledger.account("req").free) == (0, free - escrow + 7)
    assert ledger.do("req", Cancel(job)) == "ok"
    ledger.wait(50)
    assert (ledger.account("req").credit, ledger.account("req").free) == (7, free)
