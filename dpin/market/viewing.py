"""Manifests read before a bid: of jobs that nobody checks, whose wishes only the manifest names."""

from collections.abc import Iterator
from typing import Final

from dpin.base.codec import decode
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId, JobId
from dpin.base.machine import Wake
from dpin.base.units import Instant, after, seconds
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.task import Manifest, TrainManifest
from dpin.ledger.accounts import Job
from dpin.market.messages import DETAIL_CHARS_MAX, Reason
from dpin.market.offers import Refusal
from dpin.market.privacy import OwnDataset, misfit, place_for
from dpin.storage.wanted import SMALL_BYTES_MAX, Fetch, Fetched, Oversized, Purpose

RETRY: Final = seconds(2)
JOBS_MAX: Final = 256  # looked at in one time; the oldest go first


class Viewing:
    """What the manifests of jobs say that this node may bid on."""

    def __init__(self, datasets: tuple[OwnDataset, ...], *, custom_code: bool = False) -> None:
        self._datasets = datasets
        self._custom_code = custom_code  # whether its operator lets others' code run
        self.sandbox = ""  # why that is impossible all the same
        self._wanted: dict[BlobId, JobId] = {}
        self._found: dict[JobId, Refusal | None] = {}  # None: it may bid

    def seen(self, job: Job) -> bool:
        """Whether the manifest has come."""
        return job.id in self._found

    def look(self, job: Job, now: Instant) -> Iterator[Fetch | Wake]:
        """Ask for the manifest."""
        while len(self._wanted) >= JOBS_MAX:
            del self._wanted[next(iter(self._wanted))]
        self._wanted[job.propose.manifest] = job.id
        yield Fetch(job.propose.manifest, (job.requester,), Purpose.SHARD, SMALL_BYTES_MAX)
        yield Wake(after(now, RETRY))

    def arrived(self, event: Fetched | Oversized) -> None:
        """A blob is here, or too large; harmless when it is no manifest that was asked for."""
        job = self._wanted.pop(event.blob, None)
        if job is not None:  # No data, where it is larger than a manifest may be.
            self._found[job] = self._answer(event.data if isinstance(event, Fetched) else b"")

    def _answer(self, data: bytes) -> Refusal | None:
        try:
            manifest: Manifest = decode(Manifest, data, SMALL_BYTES_MAX)
        except PeerFault as error:
            return Refusal(Reason.DATASET, f"its manifest cannot be read: {error}")
        if not isinstance(manifest, TrainManifest):
            return None
        if isinstance(manifest.model, ModuleSpec):
            return self._about_code()
        if manifest.private is None:
            return None
        if place_for(self._datasets, manifest.private) is None:
            said = misfit(self._datasets, manifest.private)
            return Refusal(Reason.DATASET, said[:DETAIL_CHARS_MAX])
        return None

    def _about_code(self) -> Refusal | None:
        if not self._custom_code:
            return Refusal(Reason.CODE, "runs no code of others")
        return Refusal(Reason.CODE, f"cannot: {self.sandbox}") if self.sandbox else None

    def refusal(self, job: Job) -> Refusal | None:
        """Why this node cannot train on the job."""
        return self._found.get(job.id)

    def forget(self, job: JobId) -> None:
        """The job has ended: what it was asked for may still come."""
        self._found.pop(job, None)
        for blob in [blob for blob, wanted in self._wanted.items() if wanted == job]:
            del self._wanted[blob]
