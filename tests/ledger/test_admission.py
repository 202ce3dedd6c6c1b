"""Which bytes are a transaction of this network, and that each is applied once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import ChainId
from dpin.base.units import MicroTokens
from dpin.ledger import admission
from dpin.ledger.accounts import Account
from dpin.ledger.admission import SEQUENCE_AHEAD, SEQUENCE_WINDOW, Gate, unused, use
from dpin.ledger.transactions import (
    TRANSACTION_BYTES_MAX,
    TRANSACTION_TAG,
    SignedTransaction,
    Stake,
    Transfer,
    sign,
    transaction_id,
)
from tests.support.ledgers import Ledger, registration

STAKE = Stake(MicroTokens(1))
PAY = Transfer(SigningKey(bytes(32)).node_id, MicroTokens(1), b"")


def changed(ledger: Ledger, **fields: object) -> bytes:
    """A transaction of ann's with these fields, signed as it is."""
    key = ledger.keys["ann"]
    plain = sign(key, ledger.executor.chain, 1, STAKE).transaction
    odd = msgspec.structs.replace(plain, **fields)
    signature = key.sign(TRANSACTION_TAG, ledger.executor.chain, transaction_id(odd))
    return encode(SignedTransaction(odd, signature))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"version": 2}, "unknown-version"),
        ({"chain": ChainId(bytes(32))}, "wrong-network"),
        ({"operations": ()}, "not-1-to-16-operations"),
        ({"operations": (STAKE,) * 17}, "not-1-to-16-operations"),
        ({"valid_until_epoch": -1}, "malformed"),
        ({"valid_until_epoch": 3}, "valid-for-too-long"),
        ({"max_fee": MicroTokens(-1)}, "malformed"),
        ({"sequence": 0}, "sequence-used"),
        ({"sequence": SEQUENCE_AHEAD + 1}, "sequence-used"),
    ],
)
def test_what_cannot_be_applied_is_not_admitted(fields: dict[str, object], code: str) -> None:
    ledger = Ledger("ann")
    data = changed(ledger, **fields)
    assert ledger.executor.check(data) == code
    assert ledger.commit(data).receipts == ()


def test_bytes_that_are_no_transaction_are_not_admitted() -> None:
    ledger = Ledger("ann")
    good = ledger.signed("ann", STAKE)
    for data in (b"", b"\xc1", good[:-1], good + b"\0", bytes(5_000)):
        assert ledger.executor.check(data) in {"malformed", "too-large"}
        assert ledger.commit(data).receipts == ()
    assert ledger.executor.check(bytes(TRANSACTION_BYTES_MAX + 1)) == "too-large"


@given(st.binary(max_size=300))
def test_random_bytes_never_raise(data: bytes) -> None:
    assert SHARED.executor.check(data) is not None
    assert SHARED.commit(data).receipts == ()


SHARED = Ledger("ann")


def test_a_signature_by_somebody_else_is_not_admitted_even_after_the_true_one_was_seen() -> None:
    ledger = Ledger("ann")
    data = ledger.signed("ann", STAKE)
    assert ledger.executor.check(data) is None
    forged = data[:-1] + bytes([data[-1] ^ 1])
    assert ledger.executor.check(forged) == "wrong-signature"


def test_a_stranger_may_only_register() -> None:
    ledger, stranger = Ledger("ann"), SigningKey(bytes([3]) * 32)
    pay = encode(sign(stranger, ledger.executor.chain, 1, PAY))
    assert ledger.executor.check(pay) == "unknown-account"
    assert ledger.commit(pay).receipts == ()
    come = encode(sign(stranger, ledger.executor.chain, 1, registration()))
    assert ledger.commit(come).receipts[0].detail == "ok"
    assert stranger.node_id in ledger.state.accounts


def test_a_replayed_transaction_is_applied_once() -> None:
    ledger = Ledger("ann")
    data = ledger.signed("ann", Transfer(PAY.to, MicroTokens(7), b""))
    assert len(ledger.commit(data, data).receipts) == 1
    assert ledger.executor.check(data) == "sequence-used"
    assert ledger.commit(data).receipts == ()
    assert ledger.state.accounts[PAY.to].free == 7


def test_a_refused_transaction_uses_its_sequence_so_that_nobody_applies_it_later() -> None:
    ledger = Ledger("ann")
    data = ledger.signed("ann", Transfer(PAY.to, MicroTokens(10**15), b""))
    assert ledger.commit(data).receipts[0].detail == "not-enough-free"
    assert ledger.commit(data).receipts == ()


def test_transactions_of_one_account_may_arrive_in_any_order() -> None:
    ledger = Ledger("ann")
    batch = [ledger.signed("ann", STAKE) for _ in range(SEQUENCE_WINDOW)]
    assert len(ledger.commit(*reversed(batch)).receipts) == SEQUENCE_WINDOW


@given(st.lists(st.integers(-5, 300) | st.integers(0, 1 << 17), max_size=80))
def test_the_sequence_window_agrees_with_a_set_of_all_used(sequences: list[int]) -> None:
    account, seen, high = Account(), set[int](), 0
    for sequence in sequences:
        fits = max(0, high - SEQUENCE_WINDOW) < sequence <= high + SEQUENCE_AHEAD
        assert unused(account, sequence) == (fits and sequence not in seen)
        if unused(account, sequence):
            use(account, sequence)
            seen.add(sequence)
            high = max(high, sequence)
    assert account.sequence_high == high


def test_the_memory_of_good_transactions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger("ann")
    signed = [ledger.signed("ann", STAKE) for _ in range(6)]
    for limit, count in (("VERIFIED_MAX", 4), ("VERIFIED_BYTES_MAX", 4 * len(signed[0]))):
        gate = Gate(ledger.executor.chain)
        with monkeypatch.context() as patch:
            patch.setattr(admission, limit, count)
            for data in signed:
                gate.read(data)
            assert list(gate._verified) == signed[2:]
            for data in signed:
                gate.forget(data)
            assert (gate._verified, gate._bytes) == ({}, 0)
