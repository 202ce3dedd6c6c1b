"""The manifest comes first and must be what the job was proposed with; then what it names."""

import msgspec
import pytest

from dpin.base.blob import BLOB_BYTES_MAX
from dpin.base.codec import encode
from dpin.base.ids import Round
from dpin.compute import sizes
from dpin.compute.hubspec import DataFormat, HubSpec, PrivateSpec
from dpin.compute.modulespec import ModuleSpec, TensorShape
from dpin.compute.safety import PrivacySpec
from dpin.compute.task import Manifest, TrainManifest
from dpin.compute.work import WorkerId
from dpin.ledger.accounts import Job
from dpin.storage.wanted import SMALL_BYTES_MAX, Purpose
from dpin.verify.jobfiles import FAULT_CHARS_MAX, JobFiles
from dpin.verify.naming import disk_bytes
from tests.support.jobs import (
    LENGTH,
    MODEL,
    file_id,
    files_of,
    generating,
    here,
    infer_manifest,
    manifest_blob,
    market,
    path_of,
    proposed,
    too_large,
    train_manifest,
    training,
)
from tests.support.ledgers import OTHER, Ledger, propose


def proposed_job(ledger: Ledger) -> Job:
    return ledger.state.jobs[proposed(ledger, "buyer")]


def test_the_manifest_is_asked_for_first_and_then_what_it_names() -> None:
    ledger = market()
    job = ledger.state.jobs[training(ledger, "buyer", "maker")]
    files, manifest = JobFiles(job), train_manifest()
    [first] = files.missing(ledger.state)
    assert first.blob == manifest_blob(manifest)
    assert first.sources == (ledger.id("buyer"), ledger.id("maker"))
    files.arrived(here(first.blob, encode(manifest)))
    wanted = {fetch.blob: fetch.purpose for fetch in files.missing(ledger.state)}
    assert wanted == {
        file_id("shard 0"): Purpose.SHARD,
        file_id("holdout"): Purpose.SHARD,
        file_id("initial"): Purpose.MODEL,
    }


def test_it_is_ready_when_the_last_file_is_here_and_not_before() -> None:
    ledger = market()
    files = JobFiles(proposed_job(ledger))
    for event in files_of(train_manifest()):
        assert not files.ready
        files.arrived(event)
    assert files.ready
    assert not files.missing(ledger.state)


def test_the_open_command_names_the_files_in_the_order_of_the_manifest() -> None:
    ledger = market()
    job = ledger.state.jobs[proposed(ledger, "buyer", seats=3)]
    files, manifest = JobFiles(job), train_manifest(seats=3)
    for event in reversed(files_of(manifest)[1:]):
        files.arrived(event)  # Nobody asked for these yet.
    assert not files.paths
    for event in files_of(manifest):
        files.arrived(event)
    command = files.open_job((Round(0), "/start"), WorkerId("w"))
    assert command.shards == tuple(path_of(shard) for shard in manifest.shards)
    assert (command.holdout, command.checkpoint) == (path_of(manifest.holdout), "/start")


def test_a_generation_needs_its_model_alone() -> None:
    ledger = market()
    files = JobFiles(ledger.state.jobs[generating(ledger, "buyer", "maker")])
    for event in files_of(infer_manifest()):
        files.arrived(event)
    assert files.ready
    assert not files.fault


@pytest.mark.parametrize(
    "manifest",
    [
        msgspec.structs.replace(train_manifest(), fingerprint=OTHER),
        msgspec.structs.replace(train_manifest(), state_hash=OTHER),
        msgspec.structs.replace(train_manifest(), windows=5),
        train_manifest(seats=2),
        train_manifest(rounds=2),
        # Proposed with verifiers, who could do none of these again.
        msgspec.structs.replace(
            train_manifest(), private=PrivateSpec("letters", DataFormat("text")), shards=()
        ),
        msgspec.structs.replace(train_manifest(), privacy=PrivacySpec("secagg")),
        infer_manifest(),
    ],
)
def test_a_manifest_that_disagrees_with_its_proposal_is_refused(manifest: Manifest) -> None:
    ledger = market()
    job = ledger.state.jobs[propose(ledger, "buyer", manifest=manifest_blob(manifest))]
    files = JobFiles(job)
    for event in files_of(manifest):
        files.arrived(event)
    assert not files.ready
    assert files.fault == "bad-manifest: it is not what the job was proposed with"


@pytest.mark.parametrize("data", [b"", b"\xc1", b"garbage", bytes(SMALL_BYTES_MAX + 1)])
def test_bytes_that_are_no_manifest_are_a_fault_of_the_job(data: bytes) -> None:
    files = JobFiles(proposed_job(market()))
    files.arrived(here(manifest_blob(train_manifest()), data))
    assert files.fault.startswith("bad-manifest: ")
    assert not files.ready


def test_blobs_of_other_jobs_change_nothing() -> None:
    files = JobFiles(proposed_job(market()))
    files.arrived(here(file_id("something else"), b"x"))
    assert not files.paths


def test_a_manifest_is_fetched_only_if_it_is_small() -> None:
    ledger = market()
    files = JobFiles(proposed_job(ledger))
    [first] = files.missing(ledger.state)
    assert first.bytes_max == SMALL_BYTES_MAX
    files.arrived(too_large(first.blob, SMALL_BYTES_MAX + 1))
    assert files.fault == "bad-manifest: a file of 65537 bytes, where 65536 are the most"
    assert files.missing(ledger.state) == []


def read(manifest: TrainManifest, disk: int) -> JobFiles:
    """What comes of a manifest whose proposal states so much disk."""
    ledger, blob = market(), manifest_blob(manifest)
    job = propose(ledger, "buyer", manifest=blob, seats=manifest.seats, disk_bytes=disk)
    files = JobFiles(ledger.state.jobs[job])
    files.arrived(here(blob, encode(manifest)))
    return files


def test_each_file_has_the_length_that_is_stated_and_nobody_asks_for_more() -> None:
    ledger = market()
    files, manifest = JobFiles(proposed_job(ledger)), train_manifest()
    files.arrived(here(manifest_blob(manifest), encode(manifest)))
    assert {one.bytes_max for one in files.missing(ledger.state)} == {LENGTH}
    files.arrived(too_large(manifest.shards[0], LENGTH))
    assert not files.fault  # Somebody else's bound is smaller than this one.
    assert manifest.shards[0] not in files.paths


@pytest.mark.parametrize("length", [LENGTH - 1, LENGTH + 1, 1 << 40])
@pytest.mark.parametrize("name", ["shard 0", "holdout", "initial"])
def test_a_file_of_another_length_is_a_fault_of_the_job(name: str, length: int) -> None:
    files, manifest = JobFiles(proposed_job(market())), train_manifest()
    files.arrived(here(manifest_blob(manifest), encode(manifest)))
    files.arrived(too_large(file_id(name), length))
    assert files.fault == f"bad-manifest: a file of {length} bytes, where {LENGTH} are stated"
    assert not files.ready


@pytest.mark.parametrize(
    ("lengths", "why"),
    [
        ((), "it states 0 lengths for 3 files"),
        ((LENGTH,) * 4, "it states 4 lengths for 3 files"),
        ((0, LENGTH, LENGTH), "it states a file of 0 bytes, where 1 to"),
        ((LENGTH, -1, LENGTH), "it states a file of -1 bytes, where 1 to"),
        ((BLOB_BYTES_MAX + 1, LENGTH, LENGTH), f"bytes, where 1 to {BLOB_BYTES_MAX} can be"),
        ((LENGTH, LENGTH, 1 << 62), "it states a file of 4611686018427387904 bytes"),
    ],
)
def test_lengths_that_cannot_be_are_refused_before_anything_is_fetched(
    lengths: tuple[int, ...], why: str
) -> None:
    manifest = msgspec.structs.replace(train_manifest(), lengths=lengths)
    files = read(manifest, 1 << 20)
    assert files.fault.startswith("bad-manifest: ")
    assert why in files.fault
    assert list(files.needed) == [manifest_blob(manifest)]


def test_two_lengths_of_one_file_are_refused() -> None:
    manifest = msgspec.structs.replace(
        train_manifest(seats=2),
        shards=(file_id("same"),) * 2,
        lengths=(LENGTH, LENGTH + 1, LENGTH, LENGTH),
    )
    assert "it states two lengths of one file" in read(manifest, disk_bytes(manifest)).fault


def test_a_first_state_that_its_model_cannot_fill_is_a_fault_of_the_job() -> None:
    most = sizes.first_state_bytes_max(MODEL)
    for length, good in ((most, True), (most + 1, False)):
        manifest = msgspec.structs.replace(train_manifest(), lengths=(LENGTH, LENGTH, length))
        assert (read(manifest, disk_bytes(manifest)).manifest is not None) == good


@pytest.mark.parametrize("more", [-1, 1, 1 << 40])
def test_a_proposal_that_states_another_room_than_its_manifest_is_refused(more: int) -> None:
    manifest = train_manifest()
    right = disk_bytes(manifest)
    assert read(manifest, right).manifest == manifest
    if more >= 1 - right:
        said = f"bad-manifest: it takes {right} bytes of a disk, and says {right + more}"
        assert read(manifest, right + more).fault == said


def test_the_room_of_a_job_grows_with_its_files_its_seats_and_its_checks() -> None:
    small = disk_bytes(train_manifest())
    longer = msgspec.structs.replace(train_manifest(), lengths=(5_000, LENGTH, LENGTH))
    assert disk_bytes(longer) == small + 4_000
    assert disk_bytes(train_manifest(seats=2)) > small
    unchecked = msgspec.structs.replace(train_manifest(), privacy=PrivacySpec("dp"))
    assert disk_bytes(unchecked) < small
    assert disk_bytes(infer_manifest()) == SMALL_BYTES_MAX + LENGTH


def test_a_model_that_cannot_be_is_a_fault_of_the_job() -> None:
    ledger = market()
    model = ModuleSpec("build", 8, (TensorShape("w", (1 << 62, 1 << 62)),), file_id("code"))
    manifest = msgspec.structs.replace(train_manifest(), model=model)
    job = propose(ledger, "buyer", manifest=manifest_blob(manifest), verifiers=0, quorum=1)
    files = JobFiles(ledger.state.jobs[job])
    files.arrived(here(manifest_blob(manifest), encode(manifest)))
    assert files.fault.startswith("bad-manifest: w has a shape")


def test_what_comes_after_the_first_state_is_bounded_by_its_length() -> None:
    files = JobFiles(proposed_job(market()))
    bounds = ("checkpoint_bytes_max", "window_state_bytes_max", "update_bytes_max")
    assert [getattr(files, name) for name in bounds] == [None, None, None]
    for event in files_of(train_manifest()):
        files.arrived(event)
    checkpoint, state, update = (getattr(files, name) for name in bounds)
    assert update < checkpoint < state < (1 << 25)


def test_a_model_with_a_long_name_has_a_short_fault() -> None:
    ledger = market()
    model = HubSpec("x" * 40_000, "{}", 8, masked=False)
    manifest = msgspec.structs.replace(train_manifest(), model=model)
    job = propose(ledger, "buyer", manifest=manifest_blob(manifest))
    files = JobFiles(ledger.state.jobs[job])
    files.arrived(here(manifest_blob(manifest), encode(manifest)))
    assert files.fault.startswith("bad-manifest: a model that ends in")
    assert len(files.fault) == FAULT_CHARS_MAX
