"""The files that a job needs before anybody can compute on it: what is here, what to fetch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from msgspec.structs import replace

from dpin.base.codec import decode
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_BLOB, BlobId, JobId, NodeId, Round
from dpin.compute.hubspec import HubSpec, PrivatePlace
from dpin.compute.limits import is_replayable
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.task import (
    EVALUATE,
    Architecture,
    InferManifest,
    Manifest,
    OpenJob,
    TrainManifest,
)
from dpin.compute.work import WorkerId
from dpin.ledger.accounts import Job, State
from dpin.ledger.transactions import EVAL, INFER, TRAIN, Propose
from dpin.storage.wanted import SMALL_BYTES_MAX, Fetch, Fetched, Purpose
from dpin.verify.jobkeys import JobKeys


class JobFiles:
    """Manifest first, then what it names. `fault` says why the job can never be computed."""

    def __init__(self, job: Job, keys: JobKeys | None = None) -> None:
        self.job = job
        self._keys = keys
        self.manifest: TrainManifest | InferManifest | None = None
        self.manifest_data = b""
        self.paths: dict[BlobId, str] = {}
        self.fault = ""

    def sources(self, state: State) -> tuple[NodeId, ...]:
        """Who may have them: the requester, then the job's providers."""
        providers = sorted({state.leases[lease].provider for lease in self.job.leases})
        return (self.job.requester, *providers)

    def missing(self, state: State) -> list[Fetch]:
        """What to ask the store for now."""
        sources = self.sources(state)
        return [
            Fetch(blob, sources, purpose)
            for blob, purpose in self._needed().items()
            if blob not in self.paths
        ]

    def arrived(self, event: Fetched) -> None:
        """A blob is here; harmless when it is none of ours."""
        if event.blob in self._needed():
            self.paths[event.blob] = event.path
        if event.blob == self.job.propose.manifest and self.manifest is None:
            self._read(event.data)

    @property
    def ready(self) -> bool:
        """Whether everything is here, and can be read."""
        if self.manifest is None or not all(blob in self.paths for blob in self._needed()):
            return False
        return self.key is not None

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

    def _needed(self) -> Mapping[BlobId, Purpose]:
        needed = {self.job.propose.manifest: Purpose.SHARD}
        return needed if self.manifest is None else needed | named_blobs(self.manifest)

    def _read(self, data: bytes) -> None:
        try:
            manifest: Manifest = decode(Manifest, data, SMALL_BYTES_MAX)
        except PeerFault as error:
            self.fault = f"bad-manifest: {error}"
            return
        if not _agrees(manifest, self.job.propose):
            self.fault = "bad-manifest: it is not what the job was proposed with"
            return
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
        weights, tokenizer = _blobs_of(self.manifest.model)
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


def named_blobs(manifest: Manifest) -> dict[BlobId, Purpose]:
    """What a manifest names: all that one needs beside it to compute on the job."""
    match manifest:
        case TrainManifest(model=model, shards=shards, holdout=holdout, initial=initial):
            needed = dict.fromkeys((*shards, holdout), Purpose.SHARD)
            needed[initial] = Purpose.MODEL
            named = {*_blobs_of(model)} - {NO_BLOB}
            return needed | dict.fromkeys(sorted(named), Purpose.MODEL)
        case InferManifest(model=model):
            return {model: Purpose.MODEL}
        case _:
            assert_never(manifest)


def _blobs_of(model: Architecture) -> tuple[BlobId, BlobId]:
    """Of a model, what is not trained (or the code), and its tokenizer."""
    match model:
        case HubSpec(weights=weights, tokenizer=tokenizer):
            return weights, tokenizer
        case ModuleSpec(code=code):
            return code, NO_BLOB
        case _:
            return NO_BLOB, NO_BLOB


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
