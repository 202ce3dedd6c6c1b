"""What a line carries, from what its transfers moved."""

from hypothesis import given
from hypothesis import strategies as st

from dpin.base.units import Instant, seconds
from dpin.net.gauge import BYTES_MIN, IDLE_LOOKS, KEPT_FOR, LOOK_EVERY, LOOKS_ENOUGH, Gauge

RATE = 2_500_000
HALF = RATE // 2
MIB = 1 << 20
STEADY = [HALF] * LOOKS_ENOUGH


def looked(*moved: int, gauge: Gauge | None = None, start: int = 0) -> Gauge:
    """Looks at a gauge every half a second, with so many more bytes each time."""
    found, total = gauge or Gauge(), 0
    for at, some in enumerate((0, *moved)):
        total += some
        found.look(total, Instant(start + at * LOOK_EVERY))
    return found


def test_a_steady_transfer_tells_the_rate_of_the_line() -> None:
    assert looked(HALF, *STEADY).rate == RATE
    assert looked(HALF, *STEADY[1:]).rate == 0, "too short"


def test_a_fast_line_is_known_after_a_second_and_a_half() -> None:
    assert looked(8 * MIB, 8 * MIB, 8 * MIB).rate == 16 * MIB
    assert looked(64 * MIB, 64 * MIB).rate == 0, "one look alone can hold what waited before it"


def test_a_slow_line_is_not_taken_for_a_faster_one_because_a_frame_is_a_mebibyte() -> None:
    """2 MB/s: a frame every 0.524 s, so some looks find none, some one, some two."""
    ends = [int(frame * MIB / 2_000_000 * 1e6) for frame in range(1, 40)]
    gauge = Gauge()
    for look in range(36):
        now = look * LOOK_EVERY
        gauge.look(MIB * sum(end <= now for end in ends), Instant(now))
    assert 1_900_000 < gauge.rate < 2_300_000


def test_a_line_slower_than_a_frame_a_look_is_known_too() -> None:
    assert looked(*[MIB, 0, 0] * 8).rate in range(MIB // 2, MIB)


def test_what_only_fills_buffers_counts_for_nothing() -> None:
    assert looked(4 * MIB, *STEADY).rate == RATE
    idle = [0] * IDLE_LOOKS
    assert looked(*[64 * MIB, *idle] * 4).rate == 0


def test_a_little_traffic_says_nothing_and_lowers_nothing() -> None:
    few = [BYTES_MIN - 1] * LOOKS_ENOUGH
    assert looked(*few, *few).rate == 0
    assert looked(HALF, *STEADY, *few, *[HALF // 10] * LOOKS_ENOUGH).rate == RATE


def test_a_line_that_became_slower_is_seen_to_be() -> None:
    gauge, total = looked(HALF, *STEADY), HALF * (LOOKS_ENOUGH + 1)
    later = KEPT_FOR + seconds(10)
    for at in range(LOOKS_ENOUGH + IDLE_LOOKS + 1):
        gauge.look(total + at * HALF // 4, Instant(later + at * LOOK_EVERY))
    assert gauge.rate == RATE // 4


@given(st.lists(st.integers(0, 1 << 30), max_size=200))
def test_no_rate_is_above_the_fastest_look(moved: list[int]) -> None:
    assert 0 <= looked(*moved).rate <= 2 * max(moved, default=0)
