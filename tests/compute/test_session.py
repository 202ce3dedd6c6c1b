"""A worker's session without a process: prepare, train, merge, check, measure, export, generate."""

import dataclasses as statics
import errno
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from typing_extensions import override

from dpin.base.blob import blob_id, manifest_of
from dpin.base.codec import decode, encode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_BLOB, NO_DIGEST, Digest, Round
from dpin.base.leaf import leaf_digest
from dpin.compute.alone import Measure, Measured
from dpin.compute.checkpoint import (
    decode_global,
    decode_later,
    decode_model,
    decode_start,
    encode_global,
    float_root,
    optimizer_root,
    parameters_root,
)
from dpin.compute.child import WorkerOptions
from dpin.compute.doing import told, unwritten
from dpin.compute.generation import Generate, Generated, Tokens
from dpin.compute.presets import QUICK, SHORT
from dpin.compute.probe import settle
from dpin.compute.reporting import Progress
from dpin.compute.session import Session, reason_of
from dpin.compute.shelf import Checkpoints, Shelf
from dpin.compute.task import (
    CheckUpdate,
    CheckWindow,
    Command,
    Contribution,
    Evaluate,
    Evaluated,
    Export,
    Exported,
    Failed,
    InferManifest,
    Merged,
    MergeRound,
    Opened,
    OpenJob,
    OuterSpec,
    Prepared,
    Trained,
    TrainManifest,
    TrainUnit,
    UpdateChecked,
    WindowChecked,
)
from dpin.compute.worker import open_worker
from dpin.verify.bench import CHECKPOINTS_MAX
from tests.support.training import (
    CORPUS,
    JOB,
    SEATS,
    TINY,
    TINY_INNER,
    Desk,
    MemoryFiles,
    lease,
    open_job,
    prepare,
)

R = TypeVar("R")
STEPS = TINY_INNER.steps


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle()


def order(seat: int, round_: int, limit_ms: int, fault: str = "") -> TrainUnit:
    return TrainUnit(
        lease=lease(seat),
        seat=seat,
        round=Round(round_),
        fresh_optimizer=False,
        limit_ms=limit_ms,
        fault=fault,
    )


class Bench:
    """A session with a prepared and opened job."""

    def __init__(self, outer: OuterSpec | None = None, files: MemoryFiles | None = None) -> None:
        self.desk = Desk(files or MemoryFiles())
        self.desk.files.held["corpus.txt"] = CORPUS
        self.session = Session(self.desk.door())
        self.prepared = self.do(prepare("made"), Prepared)
        opening = open_job(self.prepared, "work")
        self.opening = open_job(self.prepared, "work", outer) if outer else opening
        self.do(self.opening, Opened)

    def do(self, command: Command, kind: type[R]) -> R:
        self.session.run(command)
        report = self.desk.reports[-1]
        assert isinstance(report, kind), report
        return report

    def fail(self, command: Command) -> str:
        return self.do(command, Failed).reason

    def unit(self, seat: int = 0, fault: str = "", limit_ms: int = 0, round_: int = 0) -> Trained:
        command = order(seat, round_, limit_ms, fault)
        return self.do(replace(command, fresh_optimizer=round_ == 0), Trained)

    def merge(self, units: Sequence[Trained], round_: int = 0) -> Merged:
        parts = tuple(Contribution(unit.update, unit.leaves[-1].step) for unit in units)
        return self.do(MergeRound(Round(round_), parts), Merged)

    def check(self, unit: Trained, window: int, seat: int = 0) -> WindowChecked:
        return self.do(CheckWindow(unit.leaves[window], seat, unit.states[window]), WindowChecked)

    def check_update(self, unit: Trained) -> UpdateChecked:
        command = CheckUpdate(unit.leaves[0], unit.leaves[-1], unit.base, unit.states[-1])
        return self.do(command, UpdateChecked)

    def blob(self, path: str) -> bytes:
        return blob_id(manifest_of(self.desk.files.held[path]))


def test_a_corpus_is_cut_into_shards_and_a_held_out_end() -> None:
    bench = Bench()
    held, made = bench.desk.files.held, bench.prepared
    shards = [held[path] for path in made.shards]
    assert len(shards) == 2 * SEATS
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert b"".join(shards) + held[made.holdout] == CORPUS
    assert 0 <= len(held[made.holdout]) - len(CORPUS) // 10 <= 1


def test_the_time_of_a_step_is_measured_where_it_is_asked_for() -> None:
    bench = Bench()
    assert bench.prepared.step_us == 0
    assert bench.do(replace(prepare("made"), timed_batch=2), Prepared).step_us > 0


def test_a_unit_has_a_leaf_and_a_state_for_each_window() -> None:
    bench = Bench()
    unit = bench.unit()
    assert [leaf.window for leaf in unit.leaves] == [0, 1, 2, 3, 4]
    assert [leaf.step for leaf in unit.leaves] == [0, 2, 4, 6, 8]
    assert [leaf.cursor for leaf in unit.leaves] == [0, 2, 4, 6, 8]
    assert unit.leaves[0].parameters == bench.prepared.state_hash
    assert unit.leaves[0].optimizer == NO_DIGEST
    assert len({leaf.parameters for leaf in unit.leaves}) == 5
    assert len(unit.states) == 5
    assert unit.tokens == STEPS * TINY_INNER.batch * TINY.context
    assert bench.desk.steps == STEPS


def test_digests_that_are_remembered_are_those_of_what_is_held() -> None:
    bench = Bench()
    bench.merge([bench.unit(seat) for seat in range(SEATS)])
    unit = bench.unit(round_=1)
    read = decode_start(bench.desk.files.held[unit.states[0]], TINY)
    assert unit.leaves[0].parameters == parameters_root(read)
    assert unit.leaves[0].optimizer == optimizer_root(TINY, read.moments) != NO_DIGEST


def test_a_model_is_hashed_when_the_last_round_is_merged() -> None:
    bench = Bench()
    rounds = decode(TrainManifest, bench.opening.manifest).rounds
    roots = [bench.merge([], number).model_root for number in range(rounds)]
    assert roots[:-1] == [NO_DIGEST] * (rounds - 1) != roots
    exported = bench.do(Export("out", "{}"), Exported)
    assert exported.files
    assert (
        float_root(TINY, decode_model(bench.desk.files.held["out/model.safetensors"], TINY))
        == roots[-1]
    )


def test_training_lowers_the_held_out_loss() -> None:
    bench = Bench()
    before = bench.do(Evaluate(), Evaluated)
    for index in range(4):
        bench.merge([bench.unit(seat, round_=index) for seat in range(SEATS)], index)
    after = bench.do(Evaluate(), Evaluated)
    assert (before.round, after.round) == (0, 4)
    assert before.loss_micronats > 5_500_000
    assert after.loss_micronats < before.loss_micronats - 100_000


@pytest.mark.parametrize("outer", [QUICK, SHORT])
def test_memory_that_is_used_again_holds_nothing_of_what_it_held(outer: OuterSpec) -> None:
    worn = Bench(outer)
    start = worn.opening.checkpoint
    for number in range(3):
        units = [worn.unit(seat, round_=number) for seat in (0, 1, 0)[: 3 - number]]
        merged = worn.merge(units, number)
        again = Bench(outer, files=worn.desk.files)  # Has held one state in its life.
        again.do(replace(worn.opening, checkpoint=start, round=Round(number)), Opened)
        assert again.merge(units, number).state_hash == merged.state_hash
        start = merged.checkpoint


def test_moments_of_leases_are_kept_apart() -> None:
    both, alone = Bench(), Bench()
    for number in range(3):
        found = [both.unit(seat, round_=number) for seat in (0, 1)]
        own = alone.unit(round_=number)
        assert found[0].leaves == own.leaves
        for bench in (both, alone):
            bench.merge([own] if bench is alone else found[:1], number)


@pytest.mark.parametrize("window", range(4))
def test_every_window_replays_to_the_same_leaf(window: int) -> None:
    bench = Bench()
    bench.merge([bench.unit(seat) for seat in range(SEATS)])
    unit = bench.unit(round_=1)
    assert unit.leaves[0].optimizer != NO_DIGEST  # moments are kept from the lease's last unit
    checked = bench.check(unit, window)
    assert checked.opened_ok
    assert checked.found == leaf_digest(unit.leaves[window + 1])


async def test_every_window_replays_to_the_same_leaf_in_another_process(tmp_path: Path) -> None:
    bench = Bench()
    unit = bench.unit()
    for path, data in bench.desk.files.held.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    async with open_worker(WorkerOptions(tmp_path)) as worker:
        await worker.send(bench.opening)
        assert isinstance(await worker.reports.receive(), Opened)
        for window in range(4):
            await worker.send(CheckWindow(unit.leaves[window], 0, unit.states[window]))
            checked = await worker.reports.receive()
            while isinstance(checked, Progress):  # A slow machine has time to tell of it.
                checked = await worker.reports.receive()
            assert isinstance(checked, WindowChecked)
            assert checked.opened_ok
            assert checked.found == leaf_digest(unit.leaves[window + 1])


def test_a_replay_with_other_data_finds_another_leaf() -> None:
    bench = Bench()
    unit = bench.unit(seat=0)
    checked = bench.check(unit, 1, seat=1)
    assert checked.opened_ok
    assert checked.found != leaf_digest(unit.leaves[2])


def test_a_state_that_is_not_the_opened_leafs_is_told() -> None:
    bench = Bench()
    unit = bench.unit()
    held = bench.desk.files.held
    held[unit.states[1]] = held[unit.states[2]]
    held[unit.states[3]] = b"junk"
    for window in (1, 3):
        checked = bench.check(unit, window)
        assert not checked.opened_ok
        assert checked.found == NO_DIGEST


def test_the_last_leaf_opens_no_window() -> None:
    bench = Bench()
    checked = bench.check(bench.unit(), 4)
    assert not checked.opened_ok


def test_an_honest_update_is_encoded_again_to_the_same_blob() -> None:
    bench = Bench()
    unit = bench.unit()
    checked = bench.check_update(unit)
    assert checked.states_ok
    assert checked.update == bench.blob(unit.update)


def test_states_of_other_leaves_encode_nothing() -> None:
    bench = Bench()
    unit = bench.unit()
    for final in (unit.states[2], unit.base):
        command = CheckUpdate(unit.leaves[0], unit.leaves[-1], unit.base, final)
        assert bench.do(command, UpdateChecked) == UpdateChecked(
            unit.leaves[-1], states_ok=False, update=NO_BLOB
        )


def test_skipped_work_looks_like_work_until_a_window_is_done_again() -> None:
    bench = Bench()
    unit = bench.unit(fault="skip-work")
    assert bench.desk.steps == 4  # one a window, none of them a step of training
    assert unit.leaves[-1].step == STEPS
    assert len({leaf.parameters for leaf in unit.leaves}) == 5
    for window in range(4):
        checked = bench.check(unit, window)
        assert checked.opened_ok
        assert checked.found != leaf_digest(unit.leaves[window + 1])
    assert bench.check_update(unit).update == bench.blob(unit.update)


def test_wrong_weights_have_honest_leaves_and_another_update() -> None:
    honest, wrong = Bench(), Bench()
    true, false = honest.unit(), wrong.unit(fault="wrong-weights")
    assert true.leaves == false.leaves
    assert honest.blob(true.update) != wrong.blob(false.update)
    checked = wrong.check_update(false)
    assert checked.states_ok
    assert checked.update == honest.blob(true.update)


def test_a_time_box_ends_a_unit_at_a_window() -> None:
    bench = Bench()
    bench.desk.tick_ms = 10
    unit = bench.unit(limit_ms=80)
    assert unit.leaves[-1].window == 2
    assert unit.leaves[-1].step == 4
    assert len(unit.states) == len(unit.leaves)
    assert unit.tokens == 4 * TINY_INNER.batch * TINY.context
    assert bench.check_update(unit).update == bench.blob(unit.update)
    assert bench.unit(limit_ms=1).leaves[-1].window == 1  # one window is always done


def test_progress_is_told_a_few_times_a_second() -> None:
    bench = Bench()
    bench.desk.tick_ms = 100
    bench.unit()
    told = [report for report in bench.desk.reports if isinstance(report, Progress)]
    assert 2 <= len(told) < STEPS
    assert all(report.steps == STEPS and report.loss_micronats > 0 for report in told)


def test_all_nodes_merge_to_the_same_state_in_any_order() -> None:
    files = MemoryFiles()
    first = Bench(SHORT, files)
    units = [first.unit(seat) for seat in range(SEATS)]
    merged = first.merge(units)
    second = Bench(SHORT, files)
    again = second.merge(units[::-1])
    assert (merged.round, merged.state_hash) == (again.round, again.state_hash)
    assert merged.checkpoint == "work/checkpoint-1.safetensors"
    # A third opens the checkpoint of round 1 and goes on from there, momentum included.
    opening = OpenJob(
        job=JOB,
        manifest=first.opening.manifest,
        shards=first.opening.shards,
        holdout=first.opening.holdout,
        checkpoint=merged.checkpoint,
        round=Round(1),
        folder="third",
    )
    third = Session((desk := Desk(files)).door())
    third.run(opening)
    assert desk.reports == [Opened(Round(1), merged.state_hash)]
    third.run(MergeRound(Round(1), ()))
    own = first.merge([], 1)
    assert desk.reports[1] == replace(own, checkpoint="third/checkpoint-2.safetensors")


def test_a_malformed_update_counts_for_nothing() -> None:
    bench, other = Bench(), Bench()
    good, bad = bench.unit(0), bench.unit(1)
    bench.desk.files.held[bad.update] = b"junk"
    merged = bench.merge([bad, good])
    assert merged.state_hash == other.merge([other.unit(0)]).state_hash
    assert len(merged.refused) == 1
    assert bad.update in merged.refused[0]


def test_an_update_that_was_too_large_to_be_fetched_counts_for_nothing() -> None:
    bench, other = Bench(), Bench()
    good = bench.unit(0)
    parts = (Contribution("", STEPS), Contribution(good.update, good.leaves[-1].step))
    merged = bench.do(MergeRound(Round(0), parts), Merged)
    assert merged.state_hash == other.merge([other.unit(0)]).state_hash
    assert len(merged.refused) == 1


def test_a_replacement_starts_with_zero_moments() -> None:
    bench = Bench()
    bench.unit()
    assert bench.unit(round_=0).leaves[0].optimizer == NO_DIGEST
    command = order(0, 0, 0)
    assert bench.do(command, Trained).leaves[0].optimizer != NO_DIGEST


def test_measuring_alone_changes_nothing_and_the_joint_batch_learns_more() -> None:
    bench = Bench()
    before = bench.do(Evaluate(), Evaluated)
    alone = bench.do(Measure(24, joint=False), Measured)
    joint = bench.do(Measure(24, joint=True), Measured)
    assert joint.loss_micronats < alone.loss_micronats < before.loss_micronats
    assert bench.do(Evaluate(), Evaluated) == before
    assert bench.do(Measure(24, joint=True), Measured).loss_micronats == joint.loss_micronats


def test_what_cannot_be_done_is_reported_and_the_session_lives_on() -> None:
    bench = Bench()
    assert "round 0" in bench.fail(order(0, 1, 0))
    assert "round 0" in bench.fail(MergeRound(Round(3), ()))
    assert "seat 3" in bench.fail(order(3, 0, 0))
    assert "no such fault" in bench.fail(order(0, 0, 0, "sleep"))
    assert "FileNotFoundError" in bench.fail(MergeRound(Round(0), (Contribution("none", 1),)))
    assert "there is no" in bench.fail(prepare("made", corpus="none"))
    bench.desk.files.held["short.txt"] = b"too short"
    assert "too few" in bench.fail(prepare("made", corpus="short.txt"))
    bench.desk.files.held["empty.txt"] = b""
    said = bench.fail(prepare("made", corpus="empty.txt"))
    assert "empty.txt is empty, or holds no file that ends in " in said
    bench.unit()


def test_a_bug_in_one_command_does_not_cost_the_others() -> None:
    bench = Bench()
    del bench.session._held._trainer  # type: ignore[union-attr]
    assert "AttributeError" in bench.fail(Evaluate())
    bench.do(bench.opening, Opened)
    bench.do(Evaluate(), Evaluated)


def test_a_corrupt_checkpoint_or_manifest_opens_no_job() -> None:
    bench = Bench()
    held = bench.desk.files.held
    held[bench.opening.checkpoint] = held[bench.opening.checkpoint][:-1]
    assert "corrupt checkpoint" in bench.fail(bench.opening)
    assert "no job is open" in bench.fail(Evaluate())
    broken = OpenJob(JOB, b"junk", (), "", "", Round(0), "work")
    assert "not a TrainManifest" in bench.fail(broken)


def test_old_window_states_leave_the_disk_when_the_quota_is_full() -> None:
    files = MemoryFiles()
    shelf = Shelf(files, limit=250)
    for unit in range(3):
        shelf.open_unit()
        for window in range(2):
            shelf.put("f", f"{unit}-{window}", bytes(60))
    assert sorted(files.held) == ["f/1-0", "f/1-1", "f/2-0", "f/2-1"]
    shelf.put("f", "2-2", bytes(600))  # The newest two stay, however large: they are checked.
    assert sorted(files.held) == ["f/1-0", "f/1-1", "f/2-0", "f/2-1", "f/2-2"]
    shelf.open_unit()
    shelf.put("f", "3-0", bytes(60))
    assert sorted(files.held) == ["f/2-0", "f/2-1", "f/2-2", "f/3-0"]


@pytest.mark.parametrize(("checked", "kept"), [(True, CHECKPOINTS_MAX), (False, 2)])
def test_states_of_old_rounds_leave_the_disk(*, checked: bool, kept: int) -> None:
    files = MemoryFiles()
    checkpoints = Checkpoints(files, checked=checked)
    paths = [checkpoints.put("f", f"{number:02}", b"1", memoryview(b"2")) for number in range(30)]
    assert sorted(files.held) == paths[-kept:]
    assert files.read(paths[-1]) == b"12"


def infer(
    bench: Bench, model: str, temperature_ppm: int, seed: bytes = b""
) -> tuple[bytes, Digest]:
    config = json.loads(bench.desk.files.held["out/config.json"])
    manifest = InferManifest(
        model=NO_BLOB,
        config=TINY,
        state_hash=Digest(bytes.fromhex(config["state_hash"])),
        prompt=b"def ",
        tokens=40,
        temperature_ppm=temperature_ppm,
        seed=seed,
        fingerprint=NO_DIGEST,
    )
    bench.desk.reports.clear()
    done = bench.do(Generate(encode(manifest), model), Generated)
    parts = [report.data for report in bench.desk.reports if isinstance(report, Tokens)]
    assert done.tokens == len(b"".join(parts)) == 40
    return b"".join(parts), done.output


def test_a_generation_is_the_same_again_and_another_for_another_seed() -> None:
    bench = Bench()
    bench.merge([bench.unit()])
    exported = bench.do(Export("out", '{"job": "test"}'), Exported)
    model = exported.files[0]
    greedy, warm, other = (
        infer(bench, model, 0),
        infer(bench, model, 10**6),
        infer(bench, model, 10**6, b"x"),
    )
    assert greedy == infer(bench, model, 0)
    assert warm == infer(bench, model, 10**6)
    assert len({greedy, warm, other}) == 3


def test_a_model_that_is_not_the_manifests_is_refused() -> None:
    bench = Bench()
    bench.do(Export("out", "{}"), Exported)
    config = json.loads(bench.desk.files.held["out/config.json"])
    config["state_hash"] = "11" * 32
    bench.desk.files.held["out/config.json"] = json.dumps(config).encode()
    with pytest.raises(AssertionError, match="not the one the manifest names"):
        infer(bench, "out/model.safetensors", 0)


def test_an_exported_folder_loads_in_plain_torch_as_its_readme_says(tmp_path: Path) -> None:
    bench = Bench()
    bench.merge([bench.unit()])
    bench.do(Export("out", '{"job": "test"}'), Exported)
    for path, data in bench.desk.files.held.items():
        if path.startswith("out/"):
            (tmp_path / Path(path).name).write_bytes(data)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model.safetensors", "config.json", "model.py", "provenance.json", "README.md"}
    snippet = (tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    program = "import sys; sys.modules['dpin'] = None\n" + snippet
    done = subprocess.run(  # noqa: S603  # Our own interpreter and snippet.
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout) > 50


def test_a_provenance_that_is_not_json_is_refused() -> None:
    assert "not JSON" in Bench().fail(Export("out", "job: test"))


def test_a_window_state_of_the_disk_is_the_state_of_its_leaf() -> None:
    bench = Bench()
    unit = bench.unit()
    later = decode_later(bench.desk.files.held[unit.states[-1]], TINY)
    assert later.moments.steps == STEPS


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        BaseException("PyObject pointer is null"),
    ],
)
def test_a_machine_that_is_too_small_says_so(error: BaseException) -> None:
    assert reason_of(error)[0].startswith("out of memory on this machine: ")
    assert reason_of(ValueError("x")) == ("ValueError: x", "")


def test_what_dpin_says_itself_comes_with_its_fix_and_without_the_name_of_a_class() -> None:
    assert reason_of(Misuse("no room", "make some")) == ("no room", "make some")
    assert reason_of(PeerFault("corrupt weights")) == ("corrupt weights", "")
    assert (
        told(Failed("Prepare", "no room", "make some")) == "preparing the job: no room; make some"
    )
    assert told(Failed("Prepare", "no room")) == "preparing the job: no room"


def test_what_the_disk_refuses_is_told_with_its_place_and_a_fix() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    said = "the disk refused: No space left on device; make room on that disk, then do it again"
    assert reason_of(full) == (said, "")
    theirs, _ = reason_of(PermissionError(errno.EACCES, "Permission denied", "/out"))
    assert theirs.startswith("the disk refused: Permission denied (/out); ")
    assert unwritten(Failed("Export", theirs))
    assert not unwritten(Failed("Prepare", theirs))
    assert reason_of(OSError("no such model")) == ("OSError: no such model", "")


class Panicking(Desk):
    """In the middle of a unit a library in Rust panics: a BaseException of its own."""

    @override
    def pulse(self) -> None:
        tokenizer = Tokenizer(WordLevel({"a": 0}, "a"))
        tokenizer.encode("a").pad(1 << 63)


def test_a_library_that_panics_ends_its_command_and_not_the_worker() -> None:
    bench = Bench()
    session = Session(Panicking(bench.desk.files, bench.desk.reports).door())
    for command in (bench.opening, order(0, 0, 0), Evaluate()):
        session.run(command)
    opened, failed, measured = bench.desk.reports[-3:]
    assert isinstance(opened, Opened)
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("PanicException: ")
    assert isinstance(measured, Evaluated)


def test_a_worker_whose_node_has_gone_ends_in_the_middle_of_a_unit() -> None:
    class Gone(BaseException):
        """As executor.ParentGone."""

    class Hangup(Desk):
        @override
        def pulse(self) -> None:
            raise Gone

    bench = Bench()
    session = Session(Hangup(bench.desk.files).door())
    session.run(bench.opening)
    with pytest.raises(Gone):
        session.run(order(0, 0, 0))


def test_whoever_opens_the_state_after_the_last_round_is_told_the_models_root() -> None:
    files = MemoryFiles()
    bench = Bench(SHORT, files)
    rounds = decode(TrainManifest, bench.opening.manifest).rounds
    last = [bench.merge([], number) for number in range(rounds)][-1]
    again = Session((desk := Desk(files)).door())
    again.run(replace(bench.opening, checkpoint=last.checkpoint, round=Round(rounds)))
    assert last.model_root != NO_DIGEST
    assert desk.reports == [Opened(last.round, last.state_hash, last.model_root)]


def test_a_base_that_the_unit_did_not_begin_with_encodes_nothing() -> None:
    bench = Bench()
    unit = bench.unit()
    bench.merge([unit])
    other = bench.unit(round_=1).base  # A true state of the job, of another round.
    command = CheckUpdate(unit.leaves[0], unit.leaves[-1], other, unit.states[-1])
    assert not bench.do(command, UpdateChecked).states_ok
    state = decode_global(bench.desk.files.held[unit.base], TINY)
    moved = statics.replace(state, parameters=state.parameters + 1)
    bench.desk.files.held["moved"] = encode_global(moved)
    command = CheckUpdate(unit.leaves[0], unit.leaves[-1], "moved", unit.states[-1])
    assert not bench.do(command, UpdateChecked).states_ok


def test_a_checkpoint_of_another_round_than_was_said_is_not_opened() -> None:
    bench = Bench()
    assert "of round 0, not 3" in bench.fail(replace(bench.opening, round=Round(3)))
