"""Pretended workers and stores behave as real ones do, as far as machines can tell."""

import pytest

from dpin.base.blob import BLOB_BYTES_MAX, blob_id, manifest_of
from dpin.base.codec import encode
from dpin.base.ids import BlobId, Digest, JobId, NodeId, Round
from dpin.base.leaf import leaf_digest
from dpin.base.units import Micros, seconds
from dpin.compute import task
from dpin.sim.depot import Depot
from dpin.sim.timeline import dice
from dpin.sim.workers import FINGERPRINT, TRAIN, PretendWorker
from dpin.storage.wanted import Allow, Discard, Fetch, Fetched, Keep, KeepData, Missing, Purpose
from tests.support.toys import node

JOB, LEASE = JobId(bytes(32)), Digest(bytes([7]) * 32)
A, B, C = node(0), node(1), node(2)


class Bench:
    """A worker with an open job of two rounds."""

    def __init__(self, name: str, unit: Micros = TRAIN) -> None:
        self.files: dict[str, bytes] = {}
        self.worker = PretendWorker(name, self.files, unit)
        model = task.ModelSpec(1, 1, 16, 32)
        prepared = self.ask(task.Prepare("corpus", (), 1, 2, 0, model, bytes(32), "folder"))
        assert isinstance(prepared, task.Prepared)
        blob = BlobId(bytes(32))
        manifest = task.TrainManifest(
            model=model,
            inner=task.InnerSpec(1, 0, 0, 1, 10),
            outer=task.OuterSpec(1_000_000, 0, nesterov=False),
            seats=2,
            rounds=2,
            windows=4,
            shards=(blob, blob),
            holdout=blob,
            initial=blob,
            state_hash=prepared.state_hash,
            fingerprint=FINGERPRINT,
        )
        path = prepared.initial
        opened = self.ask(
            task.OpenJob(JOB, encode(manifest), (path, path), path, path, Round(0), "folder")
        )
        assert opened == task.Opened(Round(0), prepared.state_hash)

    def ask(self, command: task.Command) -> task.Report:
        return self.worker.perform(command)[1]

    def train(self, round_: int, fault: str = "") -> task.Trained:
        fresh = round_ == 0
        report = self.ask(task.TrainUnit(LEASE, 0, Round(round_), fresh, 0, fault))
        assert isinstance(report, task.Trained)
        return report

    def merge(self, update: str) -> task.Merged:
        report = self.ask(task.MergeRound(Round(0), (task.Contribution(update, 10),)))
        assert isinstance(report, task.Merged)
        return report

    def checked(self, trained: task.Trained, window: int) -> bool:
        """Whether a check of one window finds the leaf that was claimed."""
        leaf, path = trained.leaves[window - 1], trained.states[window - 1]
        report = self.ask(task.CheckWindow(leaf, 0, path))
        assert isinstance(report, task.WindowChecked)
        return report.opened_ok and report.found == leaf_digest(trained.leaves[window])

    def encoded(self, trained: task.Trained) -> bool:
        """Whether a check of the update finds the one that was sent."""
        first, last = trained.leaves[0], trained.leaves[-1]
        report = self.ask(task.CheckUpdate(first, last, trained.base, trained.states[-1]))
        assert isinstance(report, task.UpdateChecked)
        return report.states_ok and report.update == blob_id(
            manifest_of(self.files[trained.update])
        )


@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_honest_work_passes_every_check(window: int) -> None:
    bench = Bench("a")
    trained = bench.train(0)
    assert bench.checked(trained, window)
    assert bench.encoded(trained)


def test_work_that_was_skipped_fails_the_check_of_any_window() -> None:
    bench = Bench("a")
    trained = bench.train(0, "skip-work")
    assert not any(bench.checked(trained, window) for window in (1, 2, 3, 4))


def test_wrong_weights_fail_the_check_of_the_update() -> None:
    bench = Bench("a")
    trained = bench.train(0, "wrong-weights")
    assert bench.checked(trained, 1)
    assert not bench.encoded(trained)


def test_workers_that_merge_the_same_updates_hold_the_same_state() -> None:
    one, two = Bench("a"), Bench("b")
    update = one.train(0).update
    two.files["copy"] = one.files[update]
    merged = one.merge(update)
    assert merged.state_hash == two.merge("copy").state_hash
    assert one.train(1).leaves[0].parameters == merged.state_hash


def test_a_slow_worker_does_as_many_windows_as_fit_and_takes_their_time() -> None:
    bench = Bench("a", seconds(8))
    for limit_ms, windows in ((0, 4), (9_000, 4), (5_000, 2), (1, 1)):
        order = task.TrainUnit(
            LEASE, 0, Round(0), fresh_optimizer=True, limit_ms=limit_ms, fault=""
        )
        took, report = bench.worker.perform(order)
        assert isinstance(report, task.Trained)
        assert (took, len(report.leaves)) == (windows * seconds(2), windows + 1)


def test_a_command_without_a_job_fails_and_the_worker_lives() -> None:
    report = PretendWorker("a", {}).perform(task.Evaluate())[1]
    assert isinstance(report, task.Failed)


def depot(*cut: NodeId) -> Depot:
    return Depot(lambda source, _target: source not in cut, dice(1, "depot"))


def fetched(store: Depot, who: NodeId, blob: BlobId, *sources: NodeId) -> bool:
    [(_, event)] = store.perform(who, Fetch(blob, sources, Purpose.UPDATE, BLOB_BYTES_MAX))
    assert isinstance(event, Fetched | Missing)
    return isinstance(event, Fetched)


def test_a_blob_is_read_by_those_who_may() -> None:
    store = depot()
    store.shelf(A).files["file"] = b"update"
    store.perform(A, Keep("file", Purpose.UPDATE, frozenset({B})))
    blob = blob_id(manifest_of(b"update"))
    assert fetched(store, B, blob, A)
    assert not fetched(store, C, blob, A)
    store.perform(A, Allow(blob, None))
    assert fetched(store, C, blob, A)


def test_a_blob_comes_from_a_source_that_can_be_reached() -> None:
    store = depot(A)
    store.perform(A, KeepData(b"manifest", Purpose.SHARD))
    blob = blob_id(manifest_of(b"manifest"))
    assert not fetched(store, C, blob, A)
    store.perform(B, KeepData(b"manifest", Purpose.SHARD))
    assert fetched(store, C, blob, A, B)


def test_discarded_files_are_gone() -> None:
    store = depot()
    store.shelf(A).files["file"] = b"state"
    store.perform(A, Discard(("file", "never there")))
    assert store.shelf(A).files == {}
