"""Signs of life of one lease: what its provider tells the requester while it works, or gives up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import Round
from dpin.base.machine import Send, Wake
from dpin.base.units import Instant, after, seconds
from dpin.compute.reporting import Progress
from dpin.compute.task import Trained
from dpin.ledger.accounts import Job, Lease
from dpin.market.messages import Heartbeat, Reason, declined

BEAT: Final = seconds(1)
MILLIS: Final = 1_000


@dataclass(slots=True)
class Pulse:
    """How far the worker of a lease is, as last heard."""

    job: Job
    lease: Lease
    step: int = 0
    steps: int = 0
    loss_micronats: int = 0
    tokens_per_second: int = 0
    _told_of: Round | None = None  # what the figures are of
    _beat_at: Instant = Instant(0)

    def progress(self, report: Progress) -> None:
        """The worker is under way."""
        self._told_of = report.round
        self.step, self.steps = report.step, report.steps
        self.loss_micronats = report.loss_micronats
        self.tokens_per_second = report.tokens_per_second

    def trained(self, report: Trained) -> None:
        """The unit is done: its requester is told at once, however short it was."""
        self._told_of = report.round
        self.step = self.steps = report.leaves[-1].step
        self.loss_micronats = report.loss_micronats
        self.tokens_per_second = report.tokens * MILLIS // max(1, report.milliseconds)
        self._beat_at = Instant(0)

    def beat(self, phase: str, now: Instant) -> Iterator[Send | Wake]:
        """A heartbeat, once per BEAT."""
        if now < self._beat_at:
            return
        self._beat_at = after(now, BEAT)
        current = self.job.current
        under_way = current.round if current else Round(0)
        beat = Heartbeat(
            lease=self.lease.id,
            round=under_way if self._told_of is None else self._told_of,
            phase=phase,
            step=self.step,
            steps=self.steps,
            loss_micronats=self.loss_micronats,
            tokens_per_second=self.tokens_per_second,
        )
        yield Send(self.job.requester, encode(beat))
        yield Wake(self._beat_at)

    def give_up(self, reason: str, now: Instant) -> Iterator[Send | Wake]:
        """Tell the requester, who ends the lease; its deadline would, later."""
        if now < self._beat_at or self.lease.stopped:
            return
        self._beat_at = after(now, BEAT)
        yield Send(self.job.requester, encode(declined(self.job.id, Reason.FAULTY, reason)))
        yield Wake(self._beat_at)
