"""Bytes go as fast as they may, and no faster, for one peer and for all."""

from hypothesis import given
from hypothesis import strategies as st

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_SECOND, Instant
from dpin.net.budget import Rate
from dpin.net.pace import Pace

ALICE, BOB = NodeId(b"a" * 32), NodeId(b"b" * 32)
NOW = Instant(1_000_000_000)
RATE = Rate(burst=1_000, per_second=1_000)


def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(None, None)
    assert not pace.limited
    assert pace.book(ALICE, 1 << 40, NOW) == NOW


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    pace = Pace(RATE, None)
    waits = [pace.book(ALICE, 500, NOW) - NOW for _ in range(5)]
    assert waits == [0, 0, 0, 500_000, 1_000_000]


def test_one_peer_does_not_wait_for_another_but_for_the_sum() -> None:
    each = Pace(None, RATE)
    each.book(ALICE, 5_000, NOW)
    assert each.book(BOB, 100, NOW) == NOW
    both = Pace(RATE, RATE)
    both.book(ALICE, 5_000, NOW)
    assert both.book(BOB, 100, NOW) == NOW + 4 * MICROS_PER_SECOND


@given(st.lists(st.tuples(st.integers(1, 3_000), st.integers(0, 10**7)), max_size=30))
def test_in_any_stretch_no_more_goes_than_a_burst_and_the_rate(
    steps: list[tuple[int, int]],
) -> None:
    pace, now, went = Pace(RATE, None), int(NOW), list[tuple[int, int]]()
    for amount, wait in steps:
        now += wait
        start = pace.book(ALICE, amount, Instant(now))
        assert start >= now
        now = start  # Whoever waits asks for nothing more meanwhile.
        went.append((start, amount))
    for first in range(len(went)):
        for last in range(first, len(went)):
            before = sum(amount for _, amount in went[first:last])
            micros = went[last][0] - went[first][0]
            allowed = RATE.burst + micros * RATE.per_second / MICROS_PER_SECOND
            assert before <= allowed + 1
