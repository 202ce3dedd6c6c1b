"""Payments as they are asked for."""

import pytest

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse, OverBudget
from dpin.base.ids import ChainId, NodeId
from dpin.base.units import MicroTokens
from dpin.ledger.accounts import Account
from dpin.ledger.transactions import VERSION, Credit, SignedTransaction, Transaction, Transfer
from dpin.node.control import PayRequest, TransferRequest
from dpin.node.till import (
    check_free,
    check_payees,
    gifts_of,
    more_tokens,
    payee,
    signed_of,
    sum_of,
)

ADA = SigningKey(bytes(32)).node_id
PAYMENTS = [
    TransferRequest(to=ADA.hex(), amount="1.5"),
    TransferRequest(to=SigningKey(bytes([1]) * 32).node_id.hex(), amount="2"),
]
NOBODY = [bytes(32), bytes([1, *bytes(31)]), b"\xab" * 32, b"\xff" * 32]


@pytest.mark.parametrize("lost", NOBODY, ids=lambda one: one.hex()[:8])
def test_nothing_is_sent_to_an_id_that_is_nobodys_key(lost: bytes) -> None:
    for credit in (False, True):
        payments = [*PAYMENTS, TransferRequest(to=lost.hex(), amount="1")]
        with pytest.raises(Misuse, match="nobody's key: what is sent there is lost"):
            gifts_of(PayRequest(payments=payments, credit=credit))


@pytest.mark.parametrize("kind", [Transfer, Credit])
def test_a_payment_to_nobody_is_neither_signed_nor_carried(kind: type[Transfer | Credit]) -> None:
    for to, refused in ((ADA, False), (NodeId(bytes(32)), True)):
        gift = kind(to, MicroTokens(1), b"")
        transaction = Transaction(VERSION, ChainId(bytes(32)), ADA, 1, 9, MicroTokens(0), (gift,))
        paper = encode(SignedTransaction(transaction, bytes(64))).hex()
        if refused:
            for take in (lambda it=transaction: check_payees(it), lambda it=paper: signed_of(it)):
                with pytest.raises(Misuse, match="nobody's key"):
                    take()
        else:
            check_payees(transaction)
            assert signed_of(paper).transaction == transaction


def test_of_sixteen_wrong_digits_at_most_three_pass_for_a_key() -> None:
    text, passed, tried = ADA.hex(), 0, 0
    for at in range(64):
        for digit in "0123456789abcdef".replace(text[at], ""):
            tried += 1
            try:
                payee(text[:at] + digit + text[at + 1 :])
            except Misuse:
                continue
            passed += 1
    assert passed < 3 * tried // 16


def test_nothing_is_no_sum() -> None:
    assert sum_of("0.000001") == 1
    for text in ("0", "0.0", "000.000000"):
        with pytest.raises(Misuse, match="nothing to send"):
            sum_of(text)


def test_nothing_is_sent_that_is_not_there() -> None:
    gifts = gifts_of(PayRequest(payments=PAYMENTS))
    check_free(gifts, Account(free=MicroTokens(3_500_000)))
    for payer in (Account(free=MicroTokens(3_499_999)), None):
        with pytest.raises(OverBudget, match=r"3\.5 is more than the (3\.499999|0) that are free"):
            check_free(gifts, payer)


def test_tokens_that_are_set_aside_are_named_where_there_are_too_few_for_a_job() -> None:
    assert "have tokens sent" in more_tokens(None)
    assert "have tokens sent" in more_tokens(Account(free=MicroTokens(5)))
    assert more_tokens(Account(stake=MicroTokens(500_000_000))).startswith("500 are set aside")
