"""Whether a node has been awake: what it did not hear while it slept, nobody kept from it.

Where a machine is overloaded or suspended, a node's clock jumps ahead of its mail. Whoever waits
for others and would hold their silence against them counts only the time in which it looked.
"""

from dataclasses import dataclass
from typing import Final

from dpin.base.units import Instant, Micros, seconds

LOOK: Final = seconds(1)  # how often to look while one waits for somebody
GAP_MAX: Final = seconds(2)  # between two looks of a node that is awake


@dataclass(slots=True)
class Attention:
    """When a node has looked last, and since when it has done so again and again."""

    since: Instant = Instant(0)
    _looked_at: Instant | None = None

    def look(self, now: Instant) -> Micros:
        """The node is awake; returns for how long it has slept just before, 0 if it did not."""
        before, self._looked_at = self._looked_at, now
        if before is None:
            self.since = now
            return Micros(0)
        slept = Micros(now - before)
        if 0 <= slept <= GAP_MAX:
            return Micros(0)
        self.since = now
        return Micros(max(0, slept))
