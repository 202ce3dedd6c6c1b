"""Payments as they are asked for."""

import pytest

from dpin.base.errors import OverBudget
from dpin.base.units import MicroTokens
from dpin.ledger.accounts import Account
from dpin.node.control import PayRequest, TransferRequest
from dpin.node.till import check_free, gifts_of, more_tokens

PAYMENTS = [TransferRequest(to="ab" * 32, amount="1.5"), TransferRequest(to="cd" * 32, amount="2")]


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
