"""A training job and a generation as machines meet them: manifests, files that arrive, reports."""

from collections.abc import Iterable
from typing import TypeVar

from msgspec.structs import replace

from dpin.base.blob import blob_id, manifest_of
from dpin.base.codec import encode
from dpin.base.ids import BlobId, JobId
from dpin.base.units import Instant, seconds
from dpin.compute.task import (
    Device,
    InferManifest,
    InnerSpec,
    Manifest,
    ModelSpec,
    OuterSpec,
    Probed,
    TrainManifest,
)
from dpin.ledger.transactions import INFER
from dpin.storage.wanted import Fetched, Oversized
from dpin.verify.defender import Produced
from dpin.verify.naming import disk_bytes
from dpin.verify.naming import files_of as named_files
from tests.support.ledgers import (
    FINGERPRINT,
    JOB,
    START,
    Ledger,
    Work,
    peopled,
    propose,
    running,
)

MODEL = ModelSpec(layers=1, heads=1, width=8, context=8)
INNER = InnerSpec(learning_rate_ppm=3_000, weight_decay_ppm=0, warmup_steps=0, batch=2, steps=40)
OUTER = OuterSpec(learning_rate_ppm=1_000_000, momentum_ppm=0, nesterov=False)
PROBED = Probed((Device("cpu", "cpu", 1 << 30),), FINGERPRINT, "cpu", "")
TOKENS = 8
LENGTH = 1_000  # of every file

T = TypeVar("T")


def at(moment: float) -> Instant:
    """So many seconds after the tests begin; long after the epoch, as in life."""
    return Instant(1_700_000_000_000_000 + seconds(moment))


def only(kind: type[T], effects: Iterable[object]) -> list[T]:
    """The effects of one kind, in order."""
    return [effect for effect in effects if isinstance(effect, kind)]


def file_id(text: str) -> BlobId:
    """The blob of a file with this content."""
    return blob_id(manifest_of(text.encode()))


def path_of(blob: BlobId) -> str:
    """Where a blob lies once it is here."""
    return f"/blobs/{blob.hex()[:16]}"


def here(blob: BlobId, data: bytes = b"", length: int = LENGTH) -> Fetched:
    """The blob has arrived."""
    return Fetched(blob, path_of(blob), data, len(data) or length)


def too_large(blob: BlobId, length: int = 1 << 40) -> Oversized:
    """The blob would be larger than somebody's bound."""
    return Oversized(blob, length)


def train_manifest(*, seats: int = 1, rounds: int = 1) -> TrainManifest:
    """The manifest of a job like JOB."""
    return TrainManifest(
        model=MODEL,
        inner=INNER,
        outer=OUTER,
        seats=seats,
        rounds=rounds,
        windows=JOB.windows,
        shards=tuple(file_id(f"shard {index}") for index in range(seats)),
        holdout=file_id("holdout"),
        initial=file_id("initial"),
        state_hash=START,
        fingerprint=FINGERPRINT,
        lengths=(LENGTH,) * (seats + 2),
    )


def infer_manifest() -> InferManifest:
    """One short generation."""
    return InferManifest(
        model=file_id("model"),
        config=MODEL,
        state_hash=START,
        prompt=b"hello",
        tokens=TOKENS,
        temperature_ppm=0,
        seed=b"",
        fingerprint=FINGERPRINT,
        lengths=(LENGTH,),
    )


def sized(manifest: TrainManifest) -> TrainManifest:
    """The manifest with a length for each file that it names."""
    return replace(manifest, lengths=(LENGTH,) * len(named_files(manifest)))


def manifest_blob(manifest: Manifest) -> BlobId:
    """The manifest's own id."""
    return blob_id(manifest_of(encode(manifest)))


def files_of(manifest: Manifest) -> list[Fetched]:
    """Everything a job needs, in the order in which it can be asked for."""
    first = here(manifest_blob(manifest), encode(manifest))
    if isinstance(manifest, InferManifest):
        return [first, here(manifest.model)]
    rest = (*manifest.shards, manifest.holdout, manifest.initial)
    return [first, *[here(blob) for blob in rest]]


def training(ledger: Ledger, requester: str, *names: str, rounds: int = 1) -> JobId:
    """A job of these seats in round 0, with the manifest of `train_manifest`."""
    manifest = train_manifest(seats=len(names), rounds=rounds)
    return training_with(ledger, requester, *names, manifest=manifest)


def training_with(ledger: Ledger, requester: str, *names: str, manifest: TrainManifest) -> JobId:
    """A job of these seats in round 0, with this manifest."""
    return running(
        ledger,
        requester,
        *names,
        manifest=manifest_blob(manifest),
        rounds=manifest.rounds,
        disk_bytes=disk_bytes(manifest),
    )


def proposed(ledger: Ledger, requester: str, *, seats: int = 1, rounds: int = 1) -> JobId:
    """The same job while nobody works on it."""
    manifest = train_manifest(seats=seats, rounds=rounds)
    return propose(
        ledger,
        requester,
        manifest=manifest_blob(manifest),
        seats=seats,
        rounds=rounds,
        disk_bytes=disk_bytes(manifest),
    )


def generating(ledger: Ledger, requester: str, provider: str) -> JobId:
    """A generation under way at a provider."""
    return running(
        ledger,
        requester,
        provider,
        kind=INFER,
        manifest=manifest_blob(infer_manifest()),
        disk_bytes=disk_bytes(infer_manifest()),
        steps=TOKENS,
        windows=1,
        verifiers=1,
    )


def produced(done: Work) -> Produced:
    """A finished unit as its worker reports it: a state file behind each leaf."""
    states = tuple(f"/states/{leaf.round}-{leaf.window}" for leaf in done.leaves)
    return Produced(done.leaves, states, "/states/base")


def market(*more: str) -> Ledger:
    """A ledger with a buyer, a maker, and two others who may check or make as well."""
    return peopled("buyer", "maker", "one", "two", *more)
