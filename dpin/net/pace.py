"""How fast bytes may go: one rate for all peers together, one for each.

The generic cell rate algorithm (ITU-T I.371): a bucket is one instant, the one at which it would be
full again. Going over it costs waiting, not loss: for bytes that somebody asked for.
"""

from collections import OrderedDict
from dataclasses import dataclass

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_SECOND, Instant
from dpin.net.budget import TRACKED_PEERS_MAX, Rate


@dataclass(slots=True)
class _Bucket:
    full_at: int = 0  # microseconds; the past: it is full

    def book(self, rate: Rate, amount: int, now: Instant) -> int:
        """Take `amount`, perhaps in advance; returns when it may go."""
        burst = rate.burst * MICROS_PER_SECOND // rate.per_second
        start = max(self.full_at, now)
        self.full_at = start + amount * MICROS_PER_SECOND // rate.per_second
        return max(now, start - burst)


class Pace:
    """The buckets of one direction; no rate is no limit."""

    def __init__(self, of_all: Rate | None, of_each: Rate | None) -> None:
        """Rates count bytes; `per_second` is above 0."""
        self._of_all = of_all
        self._of_each = of_each
        self._all = _Bucket()
        self._each: OrderedDict[NodeId, _Bucket] = OrderedDict()

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self._of_all is not None or self._of_each is not None

    def book(self, peer: NodeId, amount: int, now: Instant) -> Instant:
        """Note that `amount` bytes go to or come from a peer; returns when they may."""
        start = int(now)
        if self._of_all is not None:
            start = self._all.book(self._of_all, amount, now)
        if self._of_each is not None:
            start = max(start, self._bucket(peer).book(self._of_each, amount, now))
        return Instant(start)

    def _bucket(self, peer: NodeId) -> _Bucket:
        bucket = self._each.pop(peer, None)
        if bucket is None:
            bucket = _Bucket()
            if len(self._each) >= TRACKED_PEERS_MAX:
                self._each.popitem(last=False)
        self._each[peer] = bucket
        return bucket
