"""What a lease needs before its first unit: a worker, the job's files, a state to start from."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dpin.base.ids import BlobId, NodeId, Round
from dpin.base.machine import Blame, Send, Wake
from dpin.base.units import Instant, after, seconds
from dpin.compute.hubspec import PrivatePlace
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.task import InferManifest, TrainManifest
from dpin.compute.work import Dismiss, Hire, Order, WorkEffect, WorkerId
from dpin.ledger.accounts import Job, State
from dpin.ledger.transactions import INFER
from dpin.market.merging import Merging
from dpin.market.messages import CheckpointOffer
from dpin.market.privacy import OwnDataset, place_for
from dpin.market.seeking import Seeking, Word, word_on
from dpin.storage.wanted import Fetch, Fetched, Oversized
from dpin.verify.jobfiles import JobFiles
from dpin.verify.jobkeys import JobKeys

RETRY: Final = seconds(1)

Effect = Send | Wake | Fetch | Blame | WorkEffect


@dataclass(slots=True)
class Loading:
    """Brings one worker to the state in which its provider may say that it is ready."""

    job: Job
    provider: NodeId
    worker: WorkerId
    datasets: tuple[OwnDataset, ...] = ()  # of this node
    custom_code: bool = False  # whether it runs modules of requesters
    keys: JobKeys | None = None  # of sealed jobs
    behind: int = 0  # closed rounds that it may merge itself
    files: JobFiles = field(init=False)
    merging: Merging = field(init=False)
    hired: bool = False
    opening: str = ""  # checkpoint that the worker was told to load
    seeking: Seeking = field(init=False)  # a checkpoint, where it comes late
    _retry_at: Instant = Instant(0)

    def __post_init__(self) -> None:
        self.files = JobFiles(self.job, self.keys)
        self.merging = Merging(self.job, self.worker, self.files)
        self.seeking = Seeking(self.files, self.provider)

    def renew(self, job: Job) -> None:
        """The ledger's record, which is another once this node has caught up by a state."""
        self.job = self.files.job = self.merging.job = job

    def prepare(self, state: State, now: Instant) -> Iterator[Effect]:
        """Hire, fetch, load; harmless to repeat."""
        if not self.hired:
            self.hired = True
            yield Hire(self.worker)
        if self._forbidden:
            self.files.fault = "its operator runs no code of others"
            return
        start = self.start
        if start is None:
            yield from self._fetch(state, now)
        elif not self.opening and not isinstance(self.files.manifest, InferManifest):
            self.opening = start[1]
            yield Order(self.worker, self.files.open_job(start, self.worker, self._private))

    @property
    def start(self) -> tuple[Round, str] | None:
        """The round and the file that the worker starts from, once all files are here."""
        manifest = self.files.manifest
        if manifest is None or not self.files.ready:
            return None
        if isinstance(manifest, InferManifest):
            return Round(0), self.files.paths[manifest.model]
        if not self.late:
            return Round(0), self.files.paths[manifest.initial]
        return self.seeking.start

    @property
    def _forbidden(self) -> bool:
        manifest = self.files.manifest
        own_code = isinstance(manifest, TrainManifest) and isinstance(manifest.model, ModuleSpec)
        return own_code and not self.custom_code

    @property
    def _private(self) -> PrivatePlace | None:
        manifest = self.files.manifest
        wanted = manifest.private if isinstance(manifest, TrainManifest) else None
        return place_for(self.datasets, wanted)

    @property
    def late(self) -> bool:
        """Whether too many rounds were closed before: its start is somebody's checkpoint."""
        return sum(record.closed for record in self.job.rounds) > self.behind

    def _fetch(self, state: State, now: Instant) -> Iterator[Effect]:
        if now < self._retry_at:
            return
        self._retry_at = after(now, RETRY)
        yield from self.files.missing(state)
        if self.late and self.job.propose.kind != INFER:
            yield from self.seeking.ask(state)
        yield Wake(self._retry_at)

    def offered(self, peer: NodeId, offer: CheckpointOffer) -> None:
        """Somebody holds the job's state."""
        if self.late and self.seeking.offered(peer, offer):
            self._retry_at = Instant(0)

    def missing(self, blob: BlobId) -> None:
        """Nobody has the blob."""
        self.seeking.missing(blob)

    def fetched(self, event: Fetched | Oversized) -> list[Blame]:
        """A blob is here, or larger than somebody's bound."""
        self.files.arrived(event)
        self._retry_at = Instant(0)
        return [*self.merging.arrived(event), *self.seeking.fetched(event)]

    def restarted(self) -> None:
        """The worker is gone: another must be hired and told again."""
        self.hired, self.opening = False, ""
        self.merging.restarted()

    def dismiss(self) -> Iterator[WorkEffect]:
        """The lease has ended."""
        if self.hired:
            self.hired = False
            yield Dismiss(self.worker)


def proven(loading: Loading) -> bool | None:
    """Whether a late joiner has loaded what the others began that round with.

    None: the ledger does not say so yet. Where nobody has begun it, there is nothing to compare.
    """
    if loading.merging.origin is None:
        return None
    round_, state = loading.merging.origin
    match word_on(loading.job, round_, state):
        case Word.NOT_YET if round_ < len(loading.job.rounds):
            return None
        case Word.OTHER:
            return False
        case _:
            return True


def reject(loading: Loading) -> Iterator[WorkEffect]:
    """What was offered is not the job's state: load what somebody else offers."""
    loading.seeking.refuse()
    yield from loading.dismiss()
    loading.restarted()
