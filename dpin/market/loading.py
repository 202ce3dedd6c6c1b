"""What a lease needs before its first unit: a worker, the job's files, a state to start from."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dpin.base.codec import encode
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
from dpin.market.messages import AskCheckpoint, CheckpointOffer
from dpin.market.privacy import OwnDataset, place_for
from dpin.storage.wanted import Fetch, Fetched, Oversized, Purpose
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
    refused: set[NodeId] = field(default_factory=set)  # who offered what was not the job's state
    offered_by: NodeId | None = None
    _sources: tuple[NodeId, ...] = ()  # who was asked for a checkpoint
    checkpoint: tuple[Round, BlobId] | None = None
    checkpoint_path: str = ""  # once it is here
    _retry_at: Instant = Instant(0)

    def __post_init__(self) -> None:
        self.files = JobFiles(self.job, self.keys)
        self.merging = Merging(self.job, self.worker, self.files)

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
        if self.checkpoint is None:
            return None
        return (self.checkpoint[0], self.checkpoint_path) if self.checkpoint_path else None

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
        yield from self._seek_checkpoint(state)
        yield Wake(self._retry_at)

    def _seek_checkpoint(self, state: State) -> Iterator[Effect]:
        if self.job.propose.kind == INFER or not self.late:
            return
        known = self.files.sources(state)
        out = {self.provider, *self.refused}
        self._sources = tuple(peer for peer in known if peer not in out)
        if self.checkpoint is None:
            for peer in self._sources:
                yield Send(peer, encode(AskCheckpoint(self.job.id)))
        elif (most := self.files.checkpoint_bytes_max) is not None:
            yield Fetch(self.checkpoint[1], self._sources, Purpose.MODEL, most)

    def offered(self, peer: NodeId, offer: CheckpointOffer) -> None:
        """Somebody who was asked holds the job's state; the first offer is taken."""
        if peer not in self._sources or self.checkpoint is not None:
            return
        if self.late and 0 <= offer.round <= len(self.job.rounds):
            self.checkpoint, self.offered_by = (offer.round, offer.blob), peer
            self._retry_at = Instant(0)

    def missing(self, blob: BlobId) -> None:
        """Nobody has the blob; a checkpoint that nobody has was no offer."""
        if self.checkpoint is not None and self.checkpoint[1] == blob:
            self.checkpoint, self.checkpoint_path = None, ""

    def fetched(self, event: Fetched | Oversized) -> list[Blame]:
        """A blob is here, or larger than somebody's bound."""
        self.files.arrived(event)
        self._retry_at = Instant(0)
        blames = self.merging.arrived(event)
        if self.checkpoint is not None and self.checkpoint[1] == event.blob:
            blames += self._took(event)
        return blames

    def _took(self, event: Fetched | Oversized) -> Iterator[Blame]:
        """What was offered as the job's state; of who offered too much nothing more is taken."""
        most = self.files.checkpoint_bytes_max
        if most is not None and event.length > most:
            assert self.offered_by is not None, "a checkpoint is somebody's offer"
            yield Blame(self.offered_by, f"offered a state of {event.length} bytes, at most {most}")
            _forget_offer(self)
        elif most is not None and isinstance(event, Fetched):
            self.checkpoint_path = event.path

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
    if round_ >= len(loading.job.rounds):
        return True
    record = loading.job.rounds[round_]
    if record.state_hash is None:
        return True if record.closed else None
    return record.state_hash == state


def reject(loading: Loading) -> Iterator[WorkEffect]:
    """What was offered is not the job's state: load what somebody else offers."""
    _forget_offer(loading)
    yield from loading.dismiss()
    loading.restarted()


def _forget_offer(loading: Loading) -> None:
    """Of who made it nothing more is taken."""
    if loading.offered_by is not None:
        loading.refused.add(loading.offered_by)
    loading.checkpoint, loading.offered_by, loading.checkpoint_path = None, None, ""
