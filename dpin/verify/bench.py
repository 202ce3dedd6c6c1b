"""One worker process that checks units of one job, and the files it needs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dpin.base.ids import Digest, Round, short
from dpin.base.machine import Wake
from dpin.base.units import Instant, after, seconds
from dpin.compute.task import Command, TrainManifest
from dpin.compute.work import Dismiss, Hire, Order, WorkEffect, WorkerId
from dpin.ledger.accounts import Job, State
from dpin.storage.wanted import Fetch, Fetched, Oversized
from dpin.verify.jobfiles import JobFiles
from dpin.verify.jobkeys import JobKeys

RETRY: Final = seconds(2)
RESTARTS_MAX: Final = 2
CHECKPOINTS_MAX: Final = 16


@dataclass(slots=True)
class Bench:
    """Brought up once per job that this node has a seat in; dismissed when the job has ended."""

    job: Job
    keys: JobKeys | None = None
    files: JobFiles = field(init=False)
    worker: WorkerId = field(init=False)
    hired: bool = False
    opened: bool = False  # the open command is queued; whatever follows it is in order
    restarts: int = 0
    retry_at: Instant = Instant(0)
    checkpoints: dict[Digest, str] = field(default_factory=dict)  # by state hash; on this disk

    def __post_init__(self) -> None:
        self.files = JobFiles(self.job, self.keys)
        self.worker = WorkerId(f"check-{short(self.job.id)}")

    def prepare(self, state: State, now: Instant) -> Iterator[Fetch | WorkEffect | Wake]:
        """Start the worker, fetch what is missing, load the job; harmless to repeat."""
        if not self.hired and self.restarts <= RESTARTS_MAX:
            self.hired = True
            yield Hire(self.worker)
        if not self.files.ready and now >= self.retry_at:
            self.retry_at = after(now, RETRY)
            yield from self.files.missing(state)
            yield Wake(self.retry_at)
        if self.files.ready and self.hired and not self.opened:
            self.opened = True
            if isinstance(self.files.manifest, TrainManifest):
                start = self.files.paths[self.files.manifest.initial]
                yield self.order(self.files.open_job((Round(0), start), self.worker))

    def renew(self, job: Job) -> None:
        """The ledger's record, which is another once this node has caught up by a state."""
        self.job = self.files.job = job

    @property
    def usable(self) -> bool:
        """Whether orders may be given."""
        return self.hired and self.opened

    def order(self, command: Command) -> Order:
        """The next command for the worker."""
        return Order(self.worker, command)

    def arrived(self, event: Fetched | Oversized) -> None:
        """A blob is here, or too large; what it names may be asked for at once."""
        if not self.files.ready:
            self.files.arrived(event)
            self.retry_at = Instant(0)

    def checkpoint(self, state_hash: Digest) -> str | None:
        """The file of a global state, where this node holds it for its own work."""
        if isinstance(self.files.manifest, TrainManifest) and self.files.ready:
            initial = self.files.paths[self.files.manifest.initial]
            self.checkpoints[self.files.manifest.state_hash] = initial
        return self.checkpoints.get(state_hash)

    def held(self, state_hash: Digest, path: str) -> None:
        """The worker of an own lease has written this state; of too many, the oldest goes."""
        self.checkpoints[state_hash] = path
        while len(self.checkpoints) > CHECKPOINTS_MAX:
            del self.checkpoints[next(iter(self.checkpoints))]

    def exited(self) -> None:
        """The worker died: bring up another, a few times."""
        self.hired = self.opened = False
        self.restarts += 1

    def dismiss(self) -> Iterator[WorkEffect]:
        """End the worker."""
        if self.hired:
            self.hired = self.opened = False
            yield Dismiss(self.worker)
