"""The files that a job needs before anybody can compute on it: what is here, what to fetch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from dpin.base.codec import decode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import BlobId, JobId, NodeId, Round
from dpin.compute import sizes
from dpin.compute.hubspec import PrivatePlace
from dpin.compute.limits import is_replayable
from dpin.compute.task import (
    EVALUATE,
    InferManifest,
    Manifest,
    OpenJob,
    TrainManifest,
)
from dpin.compute.work import WorkerId
from dpin.ledger.accounts import Job, State
from dpin.ledger.transactions import EVAL, INFER, TRAIN, Propose
from dpin.storage.wanted import SMALL_BYTES_MAX, Fetch, Fetched, Oversized, Purpose
from dpin.verify.jobkeys import JobKeys
from dpin.verify.naming import Wanted, blobs_of, disk_bytes, first_bytes, named_blobs

FAULT_CHARS_MAX: Final = 500  # a manifest's own words are among it


class JobFiles:
    """Manifest first, then what it names. `fault` says why the job can never be computed."""

    def __init__(self, job: Job, keys: JobKeys | None = None) -> None:
        self.job = job
        self._keys = keys
        self.manifest: TrainManifest | InferManifest | None = None
        self.manifest_data = b""
        self.paths: dict[BlobId, str] = {}
        self.fault = ""
        first = Wanted(Purpose.SHARD, SMALL_BYTES_MAX)
        self.needed = {job.propose.manifest: first}  # with a manifest, or a fault, it is all

    def sources(self, state: State) -> tuple[NodeId, ...]:
        """Who may have them: the requester, then the job's providers."""
        providers = sorted({state.leases[lease].provider for lease in self.job.leases})
        return (self.job.requester, *providers)

    def missing(self, state: State) -> list[Fetch]:
        """What to ask the store for now."""
        if self.fault:
            return []
        sources = self.sources(state)
        return [
            Fetch(blob, sources, wanted.purpose, wanted.bytes_max)
            for blob, wanted in self.needed.items()
            if blob not in self.paths
        ]

    def arrived(self, event: Fetched | Oversized) -> None:
        """A blob is here, or too large for somebody; harmless when it is none of ours."""
        wanted = self.needed.get(event.blob)
        if wanted is None:
            return
        first = event.blob == self.job.propose.manifest
        if event.length > wanted.bytes_max or (event.length < wanted.bytes_max and not first):
            said = "are the most" if first else "are stated"
            self.fault = (
                f"bad-manifest: a file of {event.length} bytes, where {wanted.bytes_max} {said}"
            )
        elif isinstance(event, Fetched):
            self.paths[event.blob] = event.path
            if first and self.manifest is None:
                self._read(event.data)

    # --- how large what comes later may be; None while that is not known ---

    @property
    def checkpoint_bytes_max(self) -> int | None:
        """Of the job's global state after any round."""
        first = self._first_bytes
        return None if first is None else sizes.checkpoint_bytes_max(first)

    @property
    def window_state_bytes_max(self) -> int | None:
        """Of a state between two windows of a unit."""
        first = self._first_bytes
        return None if first is None else sizes.window_state_bytes_max(first)

    @property
    def update_bytes_max(self) -> int | None:
        """Of an update."""
        first = self._first_bytes
        if first is None or not isinstance(self.manifest, TrainManifest):
            return None
        return sizes.update_bytes_max(self.manifest, first)

    @property
    def _first_bytes(self) -> int | None:
        return first_bytes(self.manifest) if isinstance(self.manifest, TrainManifest) else None

    @property
    def ready(self) -> bool:
        """Whether everything is here, and can be read."""
        here = self.manifest is not None and self.needed.keys() <= self.paths.keys()
        return here and self.key is not None

    @property
    def key(self) -> bytes | None:
        """What opens the files: empty where they are not sealed, None while it is not here."""
        manifest = self.manifest
        if not isinstance(manifest, TrainManifest) or not manifest.privacy.sealed:
            return b""
        return self._keys.of(self.job.id, manifest.privacy.reader) if self._keys else None

    def open_job(
        self, start: tuple[Round, str], worker: WorkerId, private: PrivatePlace | None = None
    ) -> OpenJob:
        """The command that loads a training job into a worker."""
        assert isinstance(self.manifest, TrainManifest), "only training jobs are opened"
        found = Found(self.job.id, self.manifest, self.manifest_data, self.paths)
        return replace(found.open_job(start, worker), private=private, key=self.key or b"")

    def _read(self, data: bytes) -> None:
        try:
            manifest: Manifest = decode(Manifest, data, SMALL_BYTES_MAX)
        except PeerFault as error:
            self.fault = f"bad-manifest: {error}"
            return
        if not _agrees(manifest, self.job.propose):
            self.fault = "bad-manifest: it is not what the job was proposed with"
            return
        try:
            named = named_blobs(manifest)
        except Misuse as error:
            self.fault = f"bad-manifest: {error}"[:FAULT_CHARS_MAX]
            return
        told, takes = self.job.propose.disk_bytes, disk_bytes(manifest)
        if told != takes:
            self.fault = f"bad-manifest: it takes {takes} bytes of a disk, and says {told}"
            return
        self.needed |= named
        self.manifest, self.manifest_data = manifest, data


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a training job, all of them here."""

    job: JobId
    manifest: TrainManifest
    data: bytes  # of the manifest
    paths: Mapping[BlobId, str]

    def open_job(self, start: tuple[Round, str], folder: str) -> OpenJob:
        """The command that loads it, from the checkpoint of a round; `folder` is the worker's."""
        weights, tokenizer = blobs_of(self.manifest.model)
        return OpenJob(
            job=self.job,
            manifest=self.data,
            shards=tuple(self.paths[shard] for shard in self.manifest.shards),
            holdout=self.paths[self.manifest.holdout],
            checkpoint=start[1],
            round=start[0],
            folder=folder,
            weights=self.paths.get(weights, ""),
            tokenizer=self.paths.get(tokenizer, ""),
        )


def _agrees(manifest: Manifest, propose: Propose) -> bool:
    """Whether what the ledger was told about the job is what its manifest says."""
    if (manifest.fingerprint, manifest.state_hash) != (propose.fingerprint, propose.state_hash):
        return False
    match manifest:
        case TrainManifest():
            told = (propose.kind, propose.seats, propose.rounds, propose.steps, propose.windows)
            said = (manifest.seats, manifest.rounds, manifest.inner.steps, manifest.windows)
            # Verifiers would find no state, no data or no code, and the provider would pay for it.
            if propose.verifiers and not is_replayable(manifest):
                return False
            kind = EVAL if manifest.outer.rule == EVALUATE else TRAIN
            return told == (kind, *said)
        case InferManifest():
            return (propose.kind, propose.steps) == (INFER, manifest.tokens)
