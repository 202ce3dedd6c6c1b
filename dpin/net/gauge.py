"""How fast a node's line is, from the bytes that its transfers moved: pure arithmetic.

The largest rate of delivery in a window (as BBR estimates a bottleneck: Cardwell et al., ACM Queue
2016). A stretch in which little moves says nothing about the line, so it lowers nothing; what is
old is forgotten, so a line that has become slower is seen to be. Bytes are counted by frames of up
to a MiB, so a window is long, or holds many of them.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dpin.base.units import MICROS_PER_SECOND, Instant, seconds

LOOK_EVERY: Final = seconds(0.5)
BYTES_MIN: Final = 64 << 10  # between two looks; with less nothing came
BYTES_ENOUGH: Final = 16 << 20  # one frame more or less is 6 per cent of it
LOOKS_ENOUGH: Final = 8  # four seconds, for lines that are slower
IDLE_LOOKS: Final = 4  # a slow line has not a frame in every look
KEPT: Final = 64  # windows that count
KEPT_FOR: Final = seconds(3_600)


class _Look(NamedTuple):
    came: int  # bytes
    took: int  # microseconds


@dataclass(slots=True)
class Gauge:
    """One direction."""

    _moved: int = 0  # bytes in all, at the last look
    _looked: Instant | None = None
    _idle: int = IDLE_LOOKS  # looks in a row at which nothing had come
    _stretch: deque[_Look] = field(default_factory=lambda: deque(maxlen=LOOKS_ENOUGH))
    _rates: deque[tuple[Instant, int]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def look(self, moved: int, now: Instant) -> None:
        """`moved` bytes in all so far. A first busy look only fills buffers: it is left out."""
        before, self._looked = self._looked, now
        came, self._moved = moved - self._moved, moved
        if before is None or now <= before:
            return
        first = self._idle >= IDLE_LOOKS
        self._idle = 0 if came >= BYTES_MIN else self._idle + 1
        if first or self._idle >= IDLE_LOOKS:
            self._stretch.clear()
        else:
            self._stretch.append(_Look(came, now - before))
            if rate := self._of_window():
                self._rates.append((now, rate))
        while self._rates and now - self._rates[0][0] > KEPT_FOR:
            self._rates.popleft()

    def _of_window(self) -> int:
        """The rate of the newest looks that are enough together; 0 if all are not."""
        came, took = 0, 0
        for looks, look in enumerate(reversed(self._stretch), start=1):
            came, took = came + look.came, took + look.took
            if looks == LOOKS_ENOUGH or (looks > 1 and came >= BYTES_ENOUGH):
                return came * MICROS_PER_SECOND // took
        return 0

    @property
    def rate(self) -> int:
        """Bytes a second; 0: not known."""
        return max((rate for _, rate in self._rates), default=0)


@dataclass(slots=True)
class Line:
    """Both directions of a node."""

    up: Gauge = field(default_factory=Gauge)
    down: Gauge = field(default_factory=Gauge)
