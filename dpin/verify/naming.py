"""What a job's manifest names, how long each file is, and how much of a disk all of it takes.

The requester states the length of every file: so whoever bids knows beforehand what the job will
bring, and no blob that is longer, or shorter, is fetched.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, assert_never

from dpin.base.blob import BLOB_BYTES_MAX
from dpin.base.errors import Misuse
from dpin.base.ids import NO_BLOB, BlobId
from dpin.base.sealed import sealed_bytes_max
from dpin.compute import sizes
from dpin.compute.hubspec import HubSpec
from dpin.compute.limits import is_replayable
from dpin.compute.modulespec import CODE_BYTES_MAX, ModuleSpec
from dpin.compute.task import Architecture, InferManifest, Manifest, TrainManifest
from dpin.storage.wanted import SMALL_BYTES_MAX, Purpose

ROUNDS_HELD: Final = 2  # the one that is merged, and the one before, for whoever is behind
STATES_SHOWN: Final = 3  # of one unit: where its checked window begins, its end, its base


class Wanted(NamedTuple):
    """A blob that a job needs: what for, and how long it is, or at most may be."""

    purpose: Purpose
    bytes_max: int


def files_of(manifest: Manifest) -> tuple[BlobId, ...]:
    """The files that a manifest names, in the order of its `lengths`."""
    match manifest:
        case TrainManifest(shards=shards, holdout=holdout, initial=initial):
            extra = (blob for blob in blobs_of(manifest.model) if blob != NO_BLOB)
            return (*shards, holdout, initial, *extra)
        case InferManifest(model=model):
            return (model,)
        case _:
            assert_never(manifest)


def blobs_of(model: Architecture) -> tuple[BlobId, BlobId]:
    """Of a model, what is not trained (or the code), and its tokenizer."""
    match model:
        case HubSpec(weights=weights, tokenizer=tokenizer):
            return weights, tokenizer
        case ModuleSpec(code=code):
            return code, NO_BLOB
        case _:
            return NO_BLOB, NO_BLOB


def named_blobs(manifest: Manifest) -> dict[BlobId, Wanted]:
    """All that one needs beside a manifest to compute on the job, each with its exact length.

    Raises Misuse where its model cannot be, or a file of such a length.
    """
    files, most = files_of(manifest), dict(_bounds(manifest))
    if len(manifest.lengths) != len(files):
        raise Misuse(f"it states {len(manifest.lengths)} lengths for {len(files)} files")
    found: dict[BlobId, Wanted] = {}
    for blob, length in zip(files, manifest.lengths, strict=True):
        bound = most.get(blob, BLOB_BYTES_MAX)
        if not 1 <= length <= bound:
            raise Misuse(f"it states a file of {length} bytes, where 1 to {bound} can be")
        purpose = Purpose.MODEL if blob in most else Purpose.SHARD
        if found.setdefault(blob, Wanted(purpose, length)).bytes_max != length:
            raise Misuse(f"it states two lengths of one file, {length} bytes among them")
    return found


def _bounds(manifest: Manifest) -> Iterator[tuple[BlobId, int]]:
    """The most bytes that a file of the model can have."""
    if isinstance(manifest, InferManifest):
        yield manifest.model, sizes.model_bytes_max(manifest.config)
        return
    model, sealed = manifest.model, manifest.privacy.sealed
    first, second = blobs_of(model)
    code = isinstance(model, ModuleSpec)
    for blob, most in (
        (manifest.initial, sizes.first_state_bytes_max(model)),
        (first, CODE_BYTES_MAX if code else BLOB_BYTES_MAX),
        (second, sizes.TOKENIZER_BYTES_MAX),
    ):
        if blob != NO_BLOB:
            yield blob, min(BLOB_BYTES_MAX, sealed_bytes_max(most) if sealed else most)


def first_bytes(manifest: TrainManifest) -> int:
    """The stated length of the first state; 0 where none is."""
    place = len(manifest.shards) + 1
    return manifest.lengths[place] if place < len(manifest.lengths) else 0


def disk_bytes(manifest: Manifest) -> int:
    """What the job takes of the disk of whoever works on it: its files, and what rounds bring.

    Later states are reckoned as honest workers write them, twice as long as the first.
    """
    named = SMALL_BYTES_MAX + sum(manifest.lengths)
    if isinstance(manifest, InferManifest):
        return named
    first = first_bytes(manifest)
    state = 2 * first + sizes.SPARE_BYTES
    states = 1 + (STATES_SHOWN if is_replayable(manifest) else 0)  # One that a late joiner loads.
    updates = ROUNDS_HELD * manifest.seats * sizes.update_bytes_max(manifest, first)
    return named + states * state + updates
