"""A model in fragments: a round merges one of them, and units go on from their own others."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dpin.base.blob import blob_id, manifest_of
from dpin.base.errors import Misuse
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.base.leaf import leaf_digest
from dpin.base.units import MILLION
from dpin.compute.checkpoint import decode_global, decode_later, decode_start, encode_window
from dpin.compute.fragments import GRAIN, fragment, longest
from dpin.compute.limits import FRAGMENTS_MAX, check_train
from dpin.compute.population import Population
from dpin.compute.presets import DATA_PARALLEL, QUICK, SHORT
from dpin.compute.probe import settle
from dpin.compute.safety import PrivacySpec
from dpin.compute.scores import Judged, Scored, ScoreRound
from dpin.compute.state import initial_state
from dpin.compute.task import (
    FP16,
    INT4,
    INT8,
    SPARSE,
    CheckWindow,
    Contribution,
    EncodingSpec,
    Evaluate,
    Evaluated,
    Failed,
    Merged,
    MergeRound,
    Prepared,
    Trained,
    WindowChecked,
)
from dpin.compute.tensors import as_units
from dpin.compute.tuning import update_size
from dpin.compute.updates import HEADER
from tests.compute.test_session_rules import Bench
from tests.support.training import (
    JOB,
    SEATS,
    TINY,
    MemoryFiles,
    lease,
    manifest_for,
    open_job,
    prepare,
)

THIRDS = EncodingSpec(INT8, 0, MILLION, 3)
COUNTS = st.integers(1, 1 << 34)


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle()


@given(COUNTS, st.integers(1, FRAGMENTS_MAX), st.integers(0, 1 << 20))
def test_the_fragments_of_a_turn_are_the_model_once_in_whole_blocks(
    count: int, fragments: int, first: int
) -> None:
    spec = EncodingSpec(INT8, 0, MILLION, fragments)
    if count <= GRAIN * (fragments - 1):
        with pytest.raises(Misuse):
            fragment(spec, first, count)
        return
    parts = sorted(
        (part.start, part.stop)
        for part in (fragment(spec, first + at, count) for at in range(fragments))
    )
    assert (parts[0][0], parts[-1][1]) == (0, count)
    assert all(end == start and start % GRAIN == 0 for (_, end), (start, _) in pairwise(parts))
    lengths = [end - start for start, end in parts]
    assert min(lengths) > 0
    assert max(lengths) <= longest(spec, count) < max(lengths) + GRAIN


def test_a_model_that_is_merged_whole_is_one_fragment() -> None:
    assert fragment(EncodingSpec(INT8), 7, 5) == slice(0, 5)
    assert longest(EncodingSpec(INT8), 5) == 5


def state_of(bench: Bench, merged: Merged) -> torch.Tensor:
    return decode_global(bench.files.held[merged.checkpoint], TINY).parameters


def begun(spec: EncodingSpec) -> tuple[Bench, Trained, Merged, Trained]:
    """A worker, its first unit, the state that was merged from it, and its second unit."""
    bench = Bench(QUICK, spec, MemoryFiles())
    first = bench.unit(0, 0)
    merged = bench.merged([first])
    return bench, first, merged, bench.unit(0, 1, first.error_buffer)


@pytest.mark.parametrize(
    "spec",
    [THIRDS, EncodingSpec(SPARSE, 256, MILLION, 3), EncodingSpec(FP16, 0, MILLION, 2)],
    ids=["int8", "sparse", "fp16"],
)
def test_a_round_merges_its_fragment_and_leaves_the_others_as_they_are(spec: EncodingSpec) -> None:
    bench = Bench(SHORT, spec, MemoryFiles())
    held = decode_global(bench.files.held["made/checkpoint-0.safetensors"], TINY).parameters
    left = dict.fromkeys(range(SEATS), NO_DIGEST)
    for round_ in range(4):
        units = [bench.unit(seat, round_, left[seat]) for seat in range(SEATS)]
        left = {seat: unit.error_buffer for seat, unit in enumerate(units)}
        found, here = state_of(bench, bench.merged(units)), fragment(spec, round_, len(held))
        changed = (found != held).nonzero().flatten()
        assert len(changed) > 0
        assert here.start <= int(changed.min())
        assert int(changed.max()) < here.stop
        held = found


def test_momentum_moves_a_fragment_in_its_own_rounds_alone() -> None:
    spec = EncodingSpec(INT8, 0, MILLION, 2)
    bench = Bench(SHORT, spec, MemoryFiles())
    kept: list[torch.Tensor] = []
    left = NO_DIGEST
    for round_ in range(3):
        unit = bench.unit(0, round_, left)
        left = unit.error_buffer
        merged = bench.merged([unit])
        momentum = decode_global(bench.files.held[merged.checkpoint], TINY).momentum
        assert momentum is not None
        kept.append(momentum)
    first = fragment(spec, 0, len(kept[0]))
    assert not kept[0][first.stop :].any()
    assert torch.equal(kept[0][first], kept[1][first])
    assert kept[1][first.stop :].any()
    assert not torch.equal(kept[1][first], kept[2][first])
    assert torch.equal(kept[1][first.stop :], kept[2][first.stop :])


def test_an_update_has_the_numbers_of_its_fragment_and_the_rest_is_left_over() -> None:
    bench, first, merged, second = begun(THIRDS)
    other = Bench(QUICK, EncodingSpec(INT8), MemoryFiles())
    whole = other.unit(0, 0)
    assert whole.leaves[-1].parameters == first.leaves[-1].parameters
    assert len(data(bench, first)) < 0.36 * len(data(other, whole))
    last = decode_later(bench.files.held[first.states[-1]], TINY).parameters
    start = decode_start(bench.files.held[second.states[0]], TINY)
    assert start.error is not None
    base = decode_global(bench.files.held["made/checkpoint-0.safetensors"], TINY).parameters
    here = fragment(THIRDS, 0, len(base))
    moved = as_units(last) - base
    assert torch.equal(start.error[here.stop :], moved[here.stop :])
    said = state_of(bench, merged)[here] - base[here]
    assert torch.equal(start.error[here], moved[here] - said)


def data(bench: Bench, unit: Trained) -> bytes:
    return bench.files.held[unit.update]


def test_no_update_is_longer_than_what_is_fetched_of_one() -> None:
    bench, first, _, second = begun(THIRDS)
    count = len(decode_later(bench.files.held[first.states[-1]], TINY).parameters)
    for unit in (first, second):
        assert len(data(bench, unit)) <= update_size(count, THIRDS) + HEADER.size + 8
    assert update_size(count, THIRDS) < update_size(count, EncodingSpec(INT8)) * 0.36


def test_a_unit_goes_on_from_what_its_lease_has_trained_of_the_other_fragments() -> None:
    bench, first, _, second = begun(THIRDS)
    assert {leaf.error_buffer for leaf in second.leaves} == {first.error_buffer} != {NO_DIGEST}
    assert second.loss_micronats < first.loss_micronats
    for window in range(4):
        command = CheckWindow(second.leaves[window], 0, second.states[window])
        found = bench.do(command, WindowChecked)
        assert found.opened_ok
        assert found.found == leaf_digest(second.leaves[window + 1])
    for unit in (first, second):
        checked = bench.check_update(unit)
        assert checked.states_ok
        assert checked.update == blob_id(manifest_of(data(bench, unit)))
    assert not bench.check_update(second, error_buffer=first.error_buffer).states_ok


def test_whoever_begins_with_more_than_was_left_over_is_found_out() -> None:
    bench, _, _, second = begun(THIRDS)
    start = decode_start(bench.files.held[second.states[0]], TINY)
    assert start.error is not None
    start.error[-1] += 1 << 20
    forged = bench.files.write("forged", "state", encode_window(start))
    found = bench.do(CheckWindow(second.leaves[0], 0, forged), WindowChecked)
    assert not found.opened_ok


def test_all_who_merge_the_same_fragments_hold_the_same_state() -> None:
    files = MemoryFiles()
    nodes = [Bench(SHORT, THIRDS, files) for _ in range(SEATS)]
    left: dict[int, Digest] = dict.fromkeys(range(SEATS), NO_DIGEST)
    for round_ in range(3):
        units = [node.unit(seat, round_, left[seat]) for seat, node in enumerate(nodes)]
        left = {seat: unit.error_buffer for seat, unit in enumerate(units)}
        assert len({node.merge(units) for node in nodes}) == 1


def test_fragments_train_as_well_as_the_whole() -> None:
    losses = []
    for spec in (EncodingSpec(INT4), EncodingSpec(INT4, 0, MILLION, 2)):
        bench = Bench(QUICK, spec, MemoryFiles())
        left: dict[int, Digest] = dict.fromkeys(range(SEATS), NO_DIGEST)
        for round_ in range(4):
            units = [bench.unit(seat, round_, left[seat]) for seat in range(SEATS)]
            left = {seat: unit.error_buffer for seat, unit in enumerate(units)}
            bench.merge(units)
        losses.append(bench.do(Evaluate(), Evaluated).loss_micronats)
    whole, parts = losses
    assert parts < whole * 1.1


@pytest.mark.parametrize(("age", "counts"), [(1, False), (2, True)])
def test_a_late_update_counts_where_its_round_had_the_same_fragment(
    age: int, *, counts: bool
) -> None:
    bench = Bench(QUICK, EncodingSpec(INT8, 0, MILLION, 2), MemoryFiles())
    late, quick = bench.unit(1, 0), bench.unit(0, 0)
    bench.merge([quick])
    if age > 1:
        bench.merge([bench.unit(0, 1, quick.error_buffer)])
    order = MergeRound(Round(age), (Contribution(late.update, late.leaves[-1].step, age),))
    merged = bench.do(order, Merged)
    assert merged.taken == int(counts)
    assert any("of another fragment" in one for one in merged.refused) != counts


def test_an_update_of_a_fragment_is_scored_where_it_belongs() -> None:
    bench, first, _, second = begun(THIRDS)
    judged = Judged(second.update, lease(0), 0, second.leaves[-1].step)
    scored = bench.do(ScoreRound(Round(1), lease(9), (judged,)), Scored)
    assert (scored.scores[0].assigned, scored.scores[0].other) != (0, 0)
    assert first.update != second.update


def test_a_job_of_more_fragments_than_the_model_has_blocks_is_not_opened() -> None:
    bench = Bench(QUICK, EncodingSpec(INT8), MemoryFiles())
    prepared = bench.do(prepare("again"), Prepared)
    many = EncodingSpec(INT8, 0, MILLION, FRAGMENTS_MAX)
    bench.session.run(open_job(prepared, "work", QUICK, many))
    report = bench.desk.reports[-1]
    assert isinstance(report, Failed)
    assert "64 fragments" in report.reason


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": EncodingSpec(INT8, 0, 0, 3)},
        {"encoding": EncodingSpec(INT8, 0, MILLION, 0)},
        {"encoding": EncodingSpec(INT8, 0, MILLION, FRAGMENTS_MAX + 1)},
        {"outer": DATA_PARALLEL},
        {"privacy": PrivacySpec("secagg")},
    ],
    ids=["without feedback", "none", "too many", "gradients", "masked"],
)
def test_fragments_that_cannot_be_merged_are_refused(change: dict[str, object]) -> None:
    prepared = Bench(QUICK, EncodingSpec(INT8), MemoryFiles()).do(prepare("again"), Prepared)
    job = manifest_for(prepared, QUICK, THIRDS)
    check_train(job)
    with pytest.raises(Misuse):
        check_train(replace(job, **change))


def test_many_clients_in_one_process_merge_all_of_a_model() -> None:
    prepared = Bench(QUICK, EncodingSpec(INT8), MemoryFiles()).do(prepare("again"), Prepared)
    job = manifest_for(prepared, QUICK, THIRDS)
    with pytest.raises(Misuse, match="all of the model"):
        Population(JOB, job, initial_state(TINY, b"seed"), [])
