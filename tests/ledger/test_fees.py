"""Who pays what for a transaction, and how the price follows demand."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.units import MILLION, MicroTokens
from dpin.ledger import fees
from dpin.ledger.money import MAX_SUPPLY, supply
from dpin.ledger.params import DEVELOPMENT, PUBLIC, Params
from dpin.ledger.transactions import Operation, Stake, Terms, Transfer, sign
from tests.support.ledgers import Ledger

DEAR: Params = msgspec.structs.replace(
    DEVELOPMENT,
    fee_base=MicroTokens(1_001),
    fee_byte=MicroTokens(3),
    fee_operation=MicroTokens(50),
)
NEVER_ENOUGH = MicroTokens(10**15)


def made(ledger: Ledger, *operations: Operation, terms: Terms | None = None) -> bytes:
    """Ann's next transaction, on the terms that she would sign now."""
    ledger._sequences["ann"] += 1
    offered = terms or fees.terms(ledger.state, ledger.genesis.params, operations)
    number = ledger._sequences["ann"]
    return encode(sign(ledger.keys["ann"], ledger.executor.chain, number, operations, offered))


@pytest.mark.parametrize("params", [DEAR, PUBLIC])
def test_a_fee_half_burns_and_half_goes_to_the_treasury(params: Params) -> None:
    ledger = Ledger("ann", params=params)
    grant, reserve = ledger.account("ann").free, ledger.state.reserve
    data = made(ledger, Stake(MicroTokens(7)))
    due = params.fee_base + params.fee_byte * len(data) + params.fee_operation
    assert ledger.commit(data).receipts[0].detail == "ok"
    assert ledger.account("ann").free == grant - 7 - due
    assert ledger.state.reserve - reserve == due // 2
    assert ledger.state.treasury == due - due // 2
    assert supply(ledger.state) == MAX_SUPPLY


def test_a_failed_transaction_costs_its_fee_and_nothing_else() -> None:
    ledger = Ledger("ann", params=DEAR)
    grant = ledger.account("ann").free
    data = made(ledger, Stake(MicroTokens(7)), Stake(NEVER_ENOUGH))
    assert ledger.commit(data).receipts[0].detail == "not-enough-free operation=2"
    due = fees.fee(DEAR, MILLION, len(data), 2)
    assert (ledger.account("ann").free, ledger.account("ann").stake) == (grant - due, 0)
    assert ledger.executor.check(data) == "sequence-used"


def test_whoever_offers_or_has_too_little_is_rejected_without_a_trace() -> None:
    ledger = Ledger("ann", params=DEAR)
    before = ledger.account("ann").free
    cheap = made(ledger, Stake(MicroTokens(1)), terms=Terms(0, MicroTokens(1_000)))
    assert ledger.executor.check(cheap) == "fee-too-low"
    assert ledger.commit(cheap).receipts == ()
    assert (ledger.account("ann").free, ledger.account("ann").sequence_high) == (before, 0)
    fee = fees.fee(DEAR, MILLION, len(cheap) + 40, 1)
    rest = MicroTokens(before - 2 * fee)
    assert ledger.commit(made(ledger, Transfer(ledger.id("ann"), rest, b""))).receipts
    ledger.commit(made(ledger, Stake(rest)))
    poor = made(ledger, Stake(MicroTokens(1)))
    while ledger.executor.check(poor) is None:
        ledger.commit(poor)
        poor = made(ledger, Stake(MicroTokens(1)))
    high = ledger.account("ann").sequence_high
    assert ledger.executor.check(poor) == "cannot-pay-fee"
    assert ledger.commit(poor).receipts == ()
    assert ledger.account("ann").sequence_high == high


@pytest.mark.parametrize(
    ("now", "until", "code"),
    [(0, 0, None), (0, 2, None), (0, 3, "valid-for-too-long"), (5, 4, "expired"), (5, 7, None)],
)
def test_a_transaction_is_valid_until_two_epochs_ahead(
    now: int, until: int, code: str | None
) -> None:
    ledger = Ledger("ann")
    record = ledger.state.term.committee
    ledger.state.term.committee = msgspec.structs.replace(record, epoch=now)
    data = made(ledger, Stake(MicroTokens(1)), terms=Terms(until, MicroTokens(0)))
    assert ledger.executor.check(data) == code
    assert len(ledger.commit(data).receipts) == (code is None)


@given(st.integers(MILLION, fees.MULTIPLIER_MAX), st.integers(0, 1 << 40), st.integers(1, 1 << 32))
def test_the_price_moves_by_at_most_an_eighth_towards_half_full(
    multiplier: int, used: int, target: int
) -> None:
    after = fees.moved(multiplier, used, target)
    assert MILLION <= after <= fees.MULTIPLIER_MAX
    assert 8 * abs(after - multiplier) <= multiplier
    if used > target:
        assert after > multiplier or after == fees.MULTIPLIER_MAX
    else:
        assert after <= multiplier


def test_ever_so_little_above_half_full_raises_the_price_by_the_least() -> None:
    assert fees.moved(MILLION, 10**9 + 1, 10**9) == MILLION + 1


def test_full_commits_raise_the_price_and_empty_ones_bring_it_back() -> None:
    small = msgspec.structs.replace(DEAR.consensus, block_bytes_max=200)
    ledger = Ledger("ann", params=msgspec.structs.replace(DEAR, consensus=small))
    prices = []
    for _ in range(20):
        ledger.commit(*(made(ledger, Stake(MicroTokens(1))) for _ in range(2)))
        prices.append(ledger.state.fee_multiplier)
    assert prices[8:10] == [MILLION, 1_125_000]
    assert prices[18:] == [1_125_000, 1_265_625]
    for _ in range(30):
        ledger.commit()
    assert ledger.state.fee_multiplier == MILLION


def test_what_is_signed_now_still_pays_after_five_full_checkpoints() -> None:
    ledger = Ledger("ann", params=DEAR)
    data = made(ledger, Stake(MicroTokens(1)))
    for _ in range(5):
        ledger.state.fee_multiplier = fees.moved(ledger.state.fee_multiplier, 2, 1)
    assert ledger.executor.check(data) is None
