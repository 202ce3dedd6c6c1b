"""Why a provider bids or not, and what a job costs."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.crypto import verify
from dpin.base.ids import ChainId
from dpin.base.units import MicroTokens, Tick
from dpin.ledger.accounts import Account
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.transactions import BID_TAG, Propose, bid_digest
from dpin.market.messages import Reason
from dpin.market.offers import (
    Terms,
    cost_max,
    expected_unit_ms,
    handling_ms,
    price_cap_for,
    refusal,
    sign_bid,
    verifier_fee,
)
from tests.support.jobs import market, proposed, train_manifest
from tests.support.ledgers import FINGERPRINT, JOB, OTHER, PRICE, STAKE, propose

LEDGER = market()
TASK = LEDGER.state.jobs[proposed(LEDGER, "buyer")]
RICH = Account(stake=STAKE)
TERMS = Terms(
    me=LEDGER.id("maker"),
    provides=True,
    draining=False,
    price=PRICE,
    memory_bytes=1 << 30,
    fingerprint=FINGERPRINT,
    disk_left=None,
    leases=0,
    leases_max=1,
)


def test_a_job_that_fits_is_not_refused() -> None:
    assert refusal(TASK, RICH, TERMS, DEVELOPMENT) is None


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (replace(TERMS, me=LEDGER.id("buyer")), Reason.OWN_JOB),
        (replace(TERMS, provides=False), Reason.NOT_PROVIDING),
        (replace(TERMS, draining=True), Reason.DRAINING),
        (replace(TERMS, leases=1), Reason.BUSY),
        (replace(TERMS, fingerprint=OTHER), Reason.FINGERPRINT),
        (replace(TERMS, price=MicroTokens(JOB.price_cap + 1)), Reason.PRICE),
        (replace(TERMS, price=MicroTokens(2 * PRICE)), None),
    ],
)
def test_each_refusal_has_its_code(changed: Terms, code: Reason | None) -> None:
    no = refusal(TASK, RICH, changed, DEVELOPMENT)
    assert (no.code if no else None) == code


def test_a_job_too_large_for_the_device_says_both_figures() -> None:
    job = LEDGER.state.jobs[propose(LEDGER, "buyer", memory_bytes=3 << 30)]
    no = refusal(job, RICH, TERMS, DEVELOPMENT)
    assert no is not None
    assert (no.code, no.detail) == (Reason.MEMORY, "needs 3072 MiB, has 1024 MiB")


def test_a_stake_that_other_bonds_hold_does_not_count() -> None:
    bond = DEVELOPMENT.bond_multiple * PRICE
    assert refusal(TASK, Account(stake=MicroTokens(bond)), TERMS, DEVELOPMENT) is None
    poor = Account(stake=MicroTokens(bond), locked=MicroTokens(1))
    no = refusal(TASK, poor, TERMS, DEVELOPMENT)
    assert no is not None
    assert (no.code, no.detail) == (Reason.STAKE, "the bond is 5, unlocked stake 4.999999")


def test_a_bid_is_signed_for_its_network() -> None:
    key, chain = LEDGER.keys["maker"], LEDGER.executor.chain
    signed = sign_bid(key, chain, TASK, PRICE, Tick(7))
    assert (signed.bid.provider, signed.bid.price, signed.bid.until) == (key.node_id, PRICE, 7)
    what = bid_digest(signed.bid)
    assert verify(key.node_id, BID_TAG, chain, what, signed.signature)
    assert not verify(key.node_id, BID_TAG, ChainId(OTHER), what, signed.signature)


def test_what_a_job_costs_at_most_is_what_the_ledger_takes_into_escrow() -> None:
    ledger = market()
    before = ledger.account("buyer").free
    job = ledger.state.jobs[propose(ledger, "buyer", seats=3, rounds=2)]
    assert cost_max(DEVELOPMENT, job.propose) == job.escrow
    assert before - ledger.account("buyer").free == job.escrow


BUDGETS = st.integers(min_value=0, max_value=10**15)
SHAPES = st.builds(
    lambda seats, rounds, windows, verifiers: msgspec.structs.replace(
        JOB, seats=seats, rounds=rounds, windows=windows, verifiers=verifiers
    ),
    st.integers(1, 64),
    st.integers(1, 10_000),
    st.integers(4, 16),
    st.integers(1, 2),
)


@given(SHAPES, BUDGETS)
def test_the_price_cap_is_the_highest_that_fits_the_budget(shape: Propose, budget: int) -> None:
    cap = price_cap_for(DEVELOPMENT, shape, budget)
    fits = msgspec.structs.replace(shape, price_cap=cap)
    dearer = msgspec.structs.replace(shape, price_cap=MicroTokens(cap + 1))
    assert cost_max(DEVELOPMENT, fits) <= budget
    assert cost_max(DEVELOPMENT, dearer) > budget


@given(SHAPES, st.integers(0, 10**12))
def test_checks_cost_less_the_more_windows_there_are(shape: Propose, price: int) -> None:
    more = msgspec.structs.replace(shape, windows=shape.windows + 1)
    assert 0 <= verifier_fee(DEVELOPMENT, more, price) <= verifier_fee(DEVELOPMENT, shape, price)


def test_the_expected_time_of_a_unit_grows_with_its_work() -> None:
    manifest = train_manifest()
    # 6 flops for each of 10^6 parameters and 2 * 8 * 40 bytes, at 5 gigaflops a second.
    assert expected_unit_ms(1_000_000, manifest) == 768
    assert expected_unit_ms(1, manifest) == 1


def test_a_large_model_has_time_to_be_hashed_and_merged_however_few_its_steps() -> None:
    assert handling_ms(10_000_000) == 2_000
    assert handling_ms(1) == 1
