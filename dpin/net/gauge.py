"""How fast a node's line is, from the bytes that its transfers moved: pure arithmetic.

The largest rate of delivery in a window of time (as BBR estimates a bottleneck: Cardwell et al.,
ACM Queue 2016). A stretch in which little moves says nothing about the line, so it lowers nothing;
what is old is forgotten, so a line that has become slower is seen to be.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from dpin.base.units import MICROS_PER_SECOND, Instant, seconds

LOOK_EVERY: Final = seconds(0.5)
BYTES_MIN: Final = 64 << 10  # between two looks; with less nothing is under way
KEPT: Final = 64  # stretches that count
KEPT_FOR: Final = seconds(3_600)


@dataclass(slots=True)
class Gauge:
    """One direction."""

    _moved: int = 0  # bytes in all, at the last look
    _looked: Instant | None = None
    _busy: bool = False
    _rates: deque[tuple[Instant, int]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def look(self, moved: int, now: Instant) -> None:
        """`moved` bytes in all so far. A first busy stretch only fills buffers: it is left out."""
        before, self._looked = self._looked, now
        came, self._moved = moved - self._moved, moved
        if before is None or now <= before:
            return
        busy, self._busy = self._busy, came >= BYTES_MIN
        if busy and self._busy:
            self._rates.append((now, came * MICROS_PER_SECOND // (now - before)))
        while self._rates and now - self._rates[0][0] > KEPT_FOR:
            self._rates.popleft()

    @property
    def rate(self) -> int:
        """Bytes a second; 0: not known."""
        return max((rate for _, rate in self._rates), default=0)


@dataclass(slots=True)
class Line:
    """Both directions of a node."""

    up: Gauge = field(default_factory=Gauge)
    down: Gauge = field(default_factory=Gauge)
