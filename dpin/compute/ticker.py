"""What a unit tells of itself while it trains."""

from typing import Final

from dpin.base.units import MILLION
from dpin.compute.door import Door
from dpin.compute.task import Progress
from dpin.compute.unit import Seat

PROGRESS_MS: Final = 250


class Ticker:
    """Reports progress a few times a second."""

    def __init__(self, seat: Seat, door: Door) -> None:
        self._seat = seat
        self._door = door
        self._began = self._told = door.clock_ms()

    def on_step(self, done: int, loss: float) -> None:
        """See unit.OnStep."""
        self._door.pulse()
        now = self._door.clock_ms()
        if now - self._told < PROGRESS_MS:
            return
        self._told = now
        manifest = self._seat.manifest
        tokens = done * manifest.inner.batch * max(1, manifest.model.context)
        rate = tokens * 1000 // max(1, now - self._began)
        self._door.report(
            Progress(
                self._seat.lease,
                self._seat.round,
                done,
                manifest.inner.steps,
                micronats(loss),
                rate,
            )
        )


def micronats(loss: float) -> int:
    """Nats in millionths."""
    return round(loss * MILLION)
