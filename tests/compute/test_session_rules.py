"""What workers do under each outer rule and encoding, without a process."""

from collections.abc import Sequence
from typing import TypeVar

import pytest
from msgspec.structs import replace

from dpin.base.blob import blob_id, manifest_of
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.base.leaf import leaf_digest
from dpin.compute.presets import DATA_PARALLEL, QUICK, SPARSELOCO
from dpin.compute.probe import settle
from dpin.compute.session import Session
from dpin.compute.task import (
    FP16,
    INT4,
    INT8,
    SPARSE,
    CheckUpdate,
    CheckWindow,
    Command,
    Contribution,
    EncodingSpec,
    Evaluate,
    Evaluated,
    InnerSpec,
    Merged,
    MergeRound,
    Opened,
    OuterSpec,
    Prepared,
    Trained,
    TrainUnit,
    UpdateChecked,
    WindowChecked,
)
from tests.support.training import (
    CORPUS,
    SEATS,
    TINY_INNER,
    Desk,
    MemoryFiles,
    lease,
    open_job,
    prepare,
)

R = TypeVar("R")

FED = EncodingSpec(SPARSE, 256, 950_000)


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle()


class Bench:
    """One worker of a job; workers share their files."""

    def __init__(
        self,
        outer: OuterSpec,
        encoding: EncodingSpec,
        files: MemoryFiles,
        inner: InnerSpec = TINY_INNER,
    ) -> None:
        files.held["corpus.txt"] = CORPUS
        self.files = files
        self.desk = Desk(files)
        self.session = Session(self.desk.door())
        prepared = self.do(prepare("made"), Prepared)
        self.do(open_job(prepared, f"work-{id(self)}", outer, encoding, inner), Opened)

    def do(self, command: Command, kind: type[R]) -> R:
        self.session.run(command)
        report = self.desk.reports[-1]
        assert isinstance(report, kind), report
        return report

    def unit(self, seat: int, round_: int, left: Digest = NO_DIGEST) -> Trained:
        fresh = round_ == 0
        return self.do(TrainUnit(lease(seat), seat, Round(round_), fresh, 0, "", left), Trained)

    def merge(self, units: Sequence[Trained]) -> Digest:
        return self.merged(units).state_hash

    def merged(self, units: Sequence[Trained]) -> Merged:
        parts = tuple(Contribution(unit.update, unit.leaves[-1].step) for unit in units)
        return self.do(MergeRound(units[0].round, parts), Merged)

    def check_update(self, unit: Trained, **changes: object) -> UpdateChecked:
        first, last = unit.leaves[0], unit.leaves[-1]
        command = CheckUpdate(first, last, unit.base, unit.states[-1], unit.error_buffer)
        return self.do(replace(command, **changes), UpdateChecked)


def with_a_late_update(age: int, *, first: bool) -> Digest:
    """The state after two rounds; the second also takes what one seat did in the first."""
    bench = Bench(OuterSpec(1_000_000, 0, nesterov=False), EncodingSpec(INT8), MemoryFiles())
    late, quick = bench.unit(1, 0), bench.unit(0, 0)
    bench.merge([quick])
    parts = [
        Contribution(late.update, late.leaves[-1].step, age),
        Contribution(bench.unit(0, 1).update, late.leaves[-1].step),
    ]
    order = MergeRound(Round(1), tuple(parts if first else parts[::-1]))
    return bench.do(order, Merged).state_hash


def test_a_late_update_is_weighed_by_its_age_and_alike_everywhere() -> None:
    assert with_a_late_update(1, first=True) == with_a_late_update(1, first=False)
    assert len({with_a_late_update(age, first=True) for age in (0, 1, 2)}) == 3


def played(outer: OuterSpec, encoding: EncodingSpec, rounds: int) -> tuple[int, int, Digest]:
    """Held-out loss in micro-nats, bytes of all updates, and the state, after so many rounds."""
    bench = Bench(outer, encoding, MemoryFiles())
    left, sent, state = dict.fromkeys(range(SEATS), NO_DIGEST), 0, NO_DIGEST
    for round_ in range(rounds):
        units = [bench.unit(seat, round_, left[seat]) for seat in range(SEATS)]
        left = {seat: unit.error_buffer for seat, unit in enumerate(units)}
        sent += sum(len(bench.files.held[unit.update]) for unit in units)
        state = bench.merge(units)
    return bench.do(Evaluate(), Evaluated).loss_micronats, sent, state


@pytest.mark.parametrize("encoding", [EncodingSpec(FP16), EncodingSpec(INT4)], ids=["fp16", "int4"])
def test_data_parallel_over_many_nodes_is_the_same_shards_in_one_process_bit_for_bit(
    encoding: EncodingSpec,
) -> None:
    files = MemoryFiles()
    nodes = [Bench(DATA_PARALLEL, encoding, files) for _ in range(SEATS)]
    hashes = set()
    for round_ in range(3):
        units = [node.unit(seat, round_) for seat, node in enumerate(nodes)]
        hashes = {node.merge(units) for node in nodes}
        assert len(hashes) == 1
    assert hashes == {played(DATA_PARALLEL, encoding, 3)[2]}


def test_data_parallel_training_lowers_the_loss() -> None:
    before, _, _ = played(DATA_PARALLEL, EncodingSpec(FP16), 0)
    after, _, _ = played(DATA_PARALLEL, EncodingSpec(FP16), 4)
    assert after < before


def test_dense_encodings_lose_less_than_a_hundredth_against_fp16() -> None:
    exact, most, _ = played(QUICK, EncodingSpec(FP16), 3)
    for name in (INT8, INT4):
        loss, sent, _ = played(QUICK, EncodingSpec(name), 3)
        assert abs(loss - exact) < exact / 100
        assert sent < most * (0.52 if name == INT8 else 0.27)


@pytest.mark.parametrize("window", range(4))
def test_windows_of_a_data_parallel_unit_replay_to_the_same_leaf(window: int) -> None:
    bench = Bench(DATA_PARALLEL, FED, MemoryFiles())
    first = bench.unit(0, 0)
    bench.merge([first])
    unit = bench.unit(0, 1, first.error_buffer)
    assert unit.leaves[0].optimizer == NO_DIGEST
    found = bench.do(CheckWindow(unit.leaves[window], 0, unit.states[window]), WindowChecked)
    assert found.found == leaf_digest(unit.leaves[window + 1])


def test_windows_of_muon_replay_to_the_same_leaf_with_the_momentum_that_a_lease_keeps() -> None:
    bench = Bench(QUICK, FED, MemoryFiles(), replace(TINY_INNER, muon_rate_ppm=7_500))
    first = bench.unit(0, 0)
    bench.merge([first])
    unit = bench.unit(0, 1, first.error_buffer)
    assert unit.leaves[0].optimizer == first.leaves[-1].optimizer
    assert unit.loss_micronats < first.loss_micronats
    for window in range(4):
        found = bench.do(CheckWindow(unit.leaves[window], 0, unit.states[window]), WindowChecked)
        assert found.found == leaf_digest(unit.leaves[window + 1])


def test_what_an_update_leaves_over_is_bound_and_checked() -> None:
    bench = Bench(SPARSELOCO, FED, MemoryFiles())
    first = bench.unit(0, 0)
    assert {leaf.error_buffer for leaf in first.leaves} == {NO_DIGEST}
    assert first.error_buffer != NO_DIGEST
    bench.merge([first])
    second = bench.unit(0, 1, first.error_buffer)
    assert {leaf.error_buffer for leaf in second.leaves} == {first.error_buffer}
    for unit in (first, second):
        found = bench.check_update(unit)
        assert found.states_ok
        assert found.update == blob_id(manifest_of(bench.files.held[unit.update]))
    again = bench.do(CheckWindow(second.leaves[0], 0, second.states[0]), WindowChecked)
    assert again.found == leaf_digest(second.leaves[1])
    # Another buffer afterwards, another age, or a base without the buffer: not what was committed.
    assert not bench.check_update(second, error_buffer=first.error_buffer).states_ok
    assert not bench.check_update(second, error_age=2).states_ok
    assert not bench.check_update(second, base=first.base).states_ok


def test_a_worker_that_no_longer_holds_a_buffer_starts_with_none() -> None:
    files = MemoryFiles()
    bench, other = Bench(SPARSELOCO, FED, files), Bench(SPARSELOCO, FED, files)
    first = bench.unit(0, 0)
    for node in (bench, other):
        node.merge([first])
    assert other.unit(0, 1, first.error_buffer).leaves[0].error_buffer == NO_DIGEST
