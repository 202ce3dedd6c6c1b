"""Instants: the wall clock as read at start, moved on by the monotonic clock.

A wall clock may be set back while a node runs; instants do not go back for that. After a jump of
more than two seconds (a suspended laptop, a corrected clock) the wall clock is read again.
"""

import time
from collections.abc import Callable
from typing import Final

from dpin.base.units import Instant

JUMP_NANOS: Final = 2_000_000_000
NANOS_PER_MICRO: Final = 1_000


class Clock:
    """The clock of one node."""

    def __init__(
        self,
        read_wall: Callable[[], int] = time.time_ns,
        read_monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._read_wall, self._read_monotonic = read_wall, read_monotonic
        self._wall, self._monotonic = read_wall(), read_monotonic()

    def now(self) -> Instant:
        """Microseconds since the Unix epoch."""
        wall, monotonic = self._read_wall(), self._read_monotonic()
        expected = self._wall + monotonic - self._monotonic
        if abs(wall - expected) > JUMP_NANOS:
            self._wall, self._monotonic = wall, monotonic
            expected = wall
        return Instant(expected // NANOS_PER_MICRO)
