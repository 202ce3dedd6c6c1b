"""What a unit tells of itself while it trains."""

from typing import Final, Protocol

from dpin.base.ids import Digest, Round
from dpin.base.units import MILLION
from dpin.compute.door import Door
from dpin.compute.reporting import Progress
from dpin.compute.task import TrainManifest

PROGRESS_MS: Final = 250


class Whose(Protocol):
    """Whose unit it is."""

    @property
    def manifest(self) -> TrainManifest:
        """The job."""
        ...

    @property
    def bounds(self) -> list[int]:
        """Step counts at which its windows end."""
        ...

    @property
    def lease(self) -> Digest:
        """The hold on a seat of it."""
        ...

    @property
    def round(self) -> Round:
        """Which of the lease's units."""
        ...


class Ticker:
    """Reports progress a few times a second."""

    def __init__(self, seat: Whose, door: Door) -> None:
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
                self._seat.bounds[-1],
                told_loss(manifest, loss),
                rate,
            )
        )


def told_loss(manifest: TrainManifest, loss: float) -> int:
    """A loss on the data for its requester: in the clear it tells more than masks and noise let."""
    return micronats(loss) if manifest.privacy.replayable else 0


def micronats(loss: float) -> int:
    """Nats in millionths."""
    return round(loss * MILLION)
