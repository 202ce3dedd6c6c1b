"""Whoever waits for others knows whether it has been awake itself."""

from dpin.base.attention import GAP_MAX, LOOK, Attention
from dpin.base.units import Instant, after, seconds

NOON = Instant(1_700_000_000_000_000)


def test_who_looks_often_has_been_awake_since_its_first_look() -> None:
    attention, now = Attention(), NOON
    for _ in range(100):
        assert attention.look(now) == 0
        now = after(now, LOOK)
    assert attention.since == NOON
    assert LOOK < GAP_MAX


def test_who_has_slept_knows_for_how_long_and_begins_anew() -> None:
    attention = Attention()
    attention.look(NOON)
    later = after(NOON, seconds(7))
    assert attention.look(later) == seconds(7)
    assert attention.since == later
    assert attention.look(later) == 0


def test_a_clock_that_was_set_back_begins_anew_too() -> None:
    attention = Attention()
    attention.look(NOON)
    assert attention.look(Instant(NOON - 1)) == 0
    assert attention.since == NOON - 1
