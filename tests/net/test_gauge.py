"""What a line carries, from what its transfers moved."""

from hypothesis import given
from hypothesis import strategies as st

from dpin.base.units import Instant, seconds
from dpin.net.gauge import BYTES_MIN, KEPT_FOR, LOOK_EVERY, Gauge

RATE = 2_500_000
HALF = RATE // 2


def looked(*moved: int, gauge: Gauge | None = None, start: int = 0) -> Gauge:
    """Looks at a gauge every half a second, with so many more bytes each time."""
    found, total = gauge or Gauge(), 0
    for at, some in enumerate((0, *moved)):
        total += some
        found.look(total, Instant(start + at * LOOK_EVERY))
    return found


def test_a_steady_transfer_tells_the_rate_of_the_line() -> None:
    assert looked(HALF, HALF, HALF).rate == RATE


def test_what_only_fills_buffers_counts_for_nothing() -> None:
    assert looked(4 << 20, HALF, HALF).rate == RATE
    assert looked(4 << 20, 0, 4 << 20, 0).rate == 0


def test_a_little_traffic_says_nothing_and_lowers_nothing() -> None:
    few = BYTES_MIN - 1
    assert looked(few, few, few).rate == 0
    assert looked(HALF, HALF, few, HALF // 10, HALF // 10).rate == RATE


def test_a_line_that_became_slower_is_seen_to_be() -> None:
    gauge = looked(HALF, HALF, HALF)
    later = KEPT_FOR + seconds(10)
    gauge.look(3 * HALF, Instant(later))
    for at in (1, 2, 3):
        gauge.look(3 * HALF + at * HALF // 4, Instant(later + at * LOOK_EVERY))
    assert gauge.rate == RATE // 4


@given(st.lists(st.integers(0, 1 << 30), max_size=200))
def test_no_rate_is_above_the_fastest_stretch(moved: list[int]) -> None:
    assert 0 <= looked(*moved).rate <= 2 * max(moved, default=0)
