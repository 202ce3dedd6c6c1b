"""Instants go on with the monotonic clock; only a jump makes them follow the wall."""

from dpin.node.clock import JUMP_NANOS, Clock

WALL = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


class Hands:
    """Two clocks that go as they are told."""

    def __init__(self) -> None:
        self.wall, self.monotonic = WALL, 77
        self.clock = Clock(lambda: self.wall, lambda: self.monotonic)

    def go(self, wall: int, monotonic: int) -> int:
        """So many nanoseconds pass on each; how many pass for the node."""
        before = self.clock.now()
        self.wall, self.monotonic = self.wall + wall, self.monotonic + monotonic
        return (self.clock.now() - before) * 1_000


def test_it_begins_at_the_wall() -> None:
    assert Hands().clock.now() == WALL // 1_000


def test_a_wall_clock_that_is_corrected_a_little_is_not_followed() -> None:
    hands = Hands()
    assert hands.go(0, SECOND) == SECOND
    assert hands.go(-SECOND // 2, SECOND // 1_000) == SECOND // 1_000


def test_after_a_jump_the_wall_is_read_again() -> None:
    hands = Hands()
    assert hands.go(3_600 * SECOND, SECOND) == 3_600 * SECOND
    assert hands.go(SECOND, SECOND) == SECOND


def test_a_jump_back_is_followed_too() -> None:
    hands = Hands()
    assert hands.go(-3_600 * SECOND, 0) == -3_600 * SECOND


def test_a_jump_is_more_than_two_seconds() -> None:
    hands = Hands()
    assert hands.go(JUMP_NANOS, 0) == 0
    assert hands.go(1_000, 0) == JUMP_NANOS + 1_000
