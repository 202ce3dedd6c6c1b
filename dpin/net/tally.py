"""What happened on the network, counted: how dials ended, what was dropped, how late things came.

Everything here is bounded: causes are names from our own code, addresses are few.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from dpin.base.units import MICROS_PER_SECOND, Instant, Micros

DELAYS: Final = tuple(
    Micros(round(bound * MICROS_PER_SECOND))
    for bound in (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
)
ADDRESSES_MAX: Final = 64  # whose last dial is remembered
CONNECTED: Final = "connected"


class Histogram:
    """How many values were at most each bound; the last bucket is for all above."""

    def __init__(self, bounds: Sequence[int] = DELAYS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0  # of all values

    def add(self, value: int) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """Values so far."""
        return sum(self.counts)

    def quantile(self, share: float) -> int | None:
        """The smallest bound that so much of all values keep; None without any, or above all."""
        left = share * self.count
        for bound, count in zip(self.bounds, self.counts, strict=False):
            left -= count
            if self.count and left <= 0:
                return bound
        return None


@dataclass(frozen=True, slots=True)
class Dialled:
    """How the last dial of an address ended."""

    at: Instant
    outcome: str  # `CONNECTED`, or why not: see dpin.net.network.Outcome
    reason: str  # for people
    took: Micros


@dataclass(slots=True)
class Tally:
    """All counters of one node that no part of it keeps already."""

    dials: Counter[str] = field(default_factory=Counter)  # by outcome
    dropped: Counter[str] = field(default_factory=Counter)  # by cause
    announcements: Histogram = field(default_factory=Histogram)  # from the author to us
    round_trips: Histogram = field(default_factory=Histogram)
    addresses: dict[str, Dialled] = field(default_factory=dict)

    def dialled(self, address: str, end: Dialled) -> None:
        """A dial has ended; of too many addresses the one dialled longest ago is forgotten."""
        self.dials[end.outcome] += 1
        self.addresses.pop(address, None)
        if len(self.addresses) >= ADDRESSES_MAX:
            del self.addresses[next(iter(self.addresses))]
        self.addresses[address] = end
