"""What a job that offers too little says about prices."""

import msgspec
import pytest

from dpin.base.ids import JobId
from dpin.base.units import TOKEN, MicroTokens
from dpin.ledger.params import DEVELOPMENT
from dpin.market.messages import Decline, Reason
from dpin.market.offers import cost_max, price_cap_for
from dpin.node.asking import too_cheap
from tests.support.ledgers import JOB

OFFER = msgspec.structs.replace(JOB, price_cap=MicroTokens(TOKEN // 2), seats=2, rounds=3)


def said(detail: str, code: str = Reason.PRICE) -> Decline:
    return Decline(JobId(bytes(32)), code, detail)


def asks(price: str) -> Decline:
    return said(f"offers at most 0.5 a unit, asked {price}")


@pytest.mark.parametrize(
    ("prices", "known", "words"),
    [
        (["2", "1", "3"], 3, "all 3 providers known ask at least 1 a unit"),
        (["1,200.5"], 1, "the only provider known asks at least 1,200.5 a unit"),
        (["2", "1"], 5, "2 of 5 providers known ask at least 1 a unit"),
    ],
)
def test_providers_that_ask_more_are_counted_and_the_cheapest_is_named(
    prices: list[str], known: int, words: str
) -> None:
    found = too_cheap(DEVELOPMENT, OFFER, [asks(price) for price in prices], known)
    assert found is not None
    assert found[0] == f"{words}; your limit allows 0.5"


def test_the_limit_that_is_proposed_buys_every_seat() -> None:
    found = too_cheap(DEVELOPMENT, OFFER, [asks("3"), asks("1"), asks("2")], 3)
    needed = cost_max(DEVELOPMENT, msgspec.structs.replace(OFFER, price_cap=MicroTokens(2 * TOKEN)))
    assert found is not None
    assert found[1].startswith("limits.cost: ")
    assert price_cap_for(DEVELOPMENT, OFFER, needed) >= 2 * TOKEN
    assert found == too_cheap(DEVELOPMENT, OFFER, [asks("1"), asks("2"), asks("9")], 3)


@pytest.mark.parametrize(
    "decline",
    [
        said("asked 1", Reason.BUSY),
        said("offers at most 0.5 a unit, asked much"),
        said("offers at most 0.5 a unit, asked 1.2.3"),
        said("offers at most 0.5 a unit, asked 99999999999999999999"),
        said("x" * 1000),
        asks("0.5"),
    ],
)
def test_refusals_without_a_higher_price_say_nothing_of_prices(decline: Decline) -> None:
    assert too_cheap(DEVELOPMENT, OFFER, [decline], 1) is None
