"""For how long a requester's node has seen its proposal wait for providers, without a break.

Both clocks must have gone on: while it reads what the ledger did without it, only the ledger's
does; while it is cut off, only its own.
"""

from dataclasses import dataclass

from dpin.base.units import MICROS_PER_MILLI, Instant, LedgerMillis

Moment = tuple[Instant, LedgerMillis]


@dataclass(slots=True)
class Heed:
    """When the ledger was seen to move, first since the last break, and last."""

    _began: Moment | None = None
    _last: Moment | None = None

    def look(self, now: Instant, time: LedgerMillis, most_ms: int) -> None:
        """The ledger is at `time`; it is a break if it was not seen to move for over `most_ms`."""
        moment = (now, time)
        if self._last is None:
            self._began = self._last = moment
        elif time > self._last[1]:
            if max(_apart(self._last, moment)) > most_ms:
                self._began = moment
            self._last = moment

    @property
    def lasted_ms(self) -> int:
        """On whichever clock it was shorter."""
        if self._began is None or self._last is None:
            return 0
        return min(_apart(self._began, self._last))


def _apart(first: Moment, then: Moment) -> tuple[int, int]:
    return (then[0] - first[0]) // MICROS_PER_MILLI, then[1] - first[1]
