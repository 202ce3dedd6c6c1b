"""Nobody costs more than the budget, and an honest peer gets it back."""

from hypothesis import given
from hypothesis import strategies as st

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_SECOND, Instant
from dpin.net.budget import (
    GOSSIP_MESSAGES,
    INBOUND_BYTES,
    INBOUND_MESSAGES,
    INBOUND_STREAMS,
    Budget,
    Rate,
)

ALICE, BOB, EVE = (NodeId(name * 32) for name in (b"a", b"b", b"e"))
RATE = Rate(burst=10, per_second=5)
NOW = Instant(1_000_000_000)


def later(seconds: float) -> Instant:
    return Instant(NOW + round(seconds * MICROS_PER_SECOND))


def test_a_burst_is_allowed_and_no_more() -> None:
    budget = Budget(RATE)
    assert [budget.charge(ALICE, 1, NOW) for _ in range(11)] == [True] * 10 + [False]


def test_a_charge_that_is_refused_costs_nothing() -> None:
    budget = Budget(RATE)
    assert not budget.charge(ALICE, 11, NOW)
    assert budget.charge(ALICE, 10, NOW)


def test_the_budget_comes_back_with_time_up_to_the_burst() -> None:
    budget = Budget(RATE)
    assert budget.charge(ALICE, 10, NOW)
    assert not budget.charge(ALICE, 1, later(0.199999))
    assert budget.charge(ALICE, 1, later(0.2))
    assert not budget.charge(ALICE, 11, later(1000))
    assert budget.charge(ALICE, 10, later(1000))


def test_each_peer_has_its_own_budget() -> None:
    budget = Budget(RATE)
    assert budget.charge(ALICE, 10, NOW)
    assert budget.charge(BOB, 10, NOW)


def test_a_clock_that_goes_back_refills_nothing() -> None:
    budget = Budget(RATE)
    assert budget.charge(ALICE, 10, later(10))
    assert not budget.charge(ALICE, 1, NOW)


def test_the_peer_unseen_for_longest_is_forgotten() -> None:
    budget = Budget(RATE, peers_max=2)
    for peer in (ALICE, BOB, ALICE, EVE):
        budget.charge(peer, 5, NOW)
    assert len(budget) == 2
    assert not budget.charge(ALICE, 1, NOW)  # Still known.
    assert budget.charge(BOB, 10, NOW)  # Forgotten, and new again.


@given(st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 12)), max_size=60))
def test_no_pattern_gets_more_than_the_burst_and_the_flow(
    charges: list[tuple[int, int]],
) -> None:
    budget, now, spent = Budget(RATE), NOW, 0
    for wait, amount in charges:
        now = Instant(now + wait)
        spent += amount if budget.charge(ALICE, amount, now) else 0
    flowed = (now - NOW) * RATE.per_second / MICROS_PER_SECOND
    assert spent <= RATE.burst + flowed


def test_the_limits_leave_room_for_a_thousand_transactions_a_second() -> None:
    assert INBOUND_MESSAGES.per_second >= 1000
    assert INBOUND_BYTES.per_second >= 1000 * 300
    assert INBOUND_STREAMS.per_second >= 100
    assert GOSSIP_MESSAGES.per_second >= 1
