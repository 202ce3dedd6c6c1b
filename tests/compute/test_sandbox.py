"""A user's own module: trained as any model is, and locked up whatever it tries."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load

from dpin.base.codec import decode, encode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import Round
from dpin.compute import confine
from dpin.compute.child import WorkerOptions
from dpin.compute.door import Door
from dpin.compute.foreign import trial
from dpin.compute.hubspec import DataFormat
from dpin.compute.limits import check_train
from dpin.compute.modulespec import ModuleSpec, TensorShape, check_module
from dpin.compute.probe import settle
from dpin.compute.sandbox import Sandbox
from dpin.compute.session import Session
from dpin.compute.task import (
    Command,
    Contribution,
    Evaluate,
    Evaluated,
    Export,
    Exported,
    Failed,
    Merged,
    MergeRound,
    Opened,
    OuterSpec,
    Prepare,
    Prepared,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.compute.worker import open_worker
from tests.compute.test_worker import answer, gone
from tests.support.own_module import at_home
from tests.support.training import CORPUS, Desk, lease, manifest_for, open_job, prepare

R = TypeVar("R")
SPEC = ModuleSpec("build", 16)
ROWS = torch.arange(4 * 17).reshape(4, 17)
MEMORY = 1 << 30
TEXT = replace(prepare("made"), model=SPEC, base="net.py", batch=4)
TABLE = b"a,b,c\n" + b"".join(b"%d.5,%d.25,%d\n" % (n % 7, n % 5, n % 11) for n in range(200))

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(bool(confine.missing()), reason=confine.missing()),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "secret").write_text("a key")
    return folder


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One process for all that does not end it."""
    settle()
    made = Sandbox(lambda: None, memory_bytes=MEMORY)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("calls_out", "PermissionError"),
        ("calls_the_node", "PermissionError"),
        ("reads_home", "PermissionError"),
        ("lists_home", "PermissionError"),
        ("reads_the_node", "PermissionError"),
        ("writes", "PermissionError"),
        ("forks", "PermissionError"),
        ("runs_programs", "PermissionError"),
        ("kills_the_node", "PermissionError"),
        ("grows_the_shared_memory", "PermissionError"),
        ("fills_memory", "can't allocate memory"),
        ("nothing", "gives no torch.nn.Module"),
        ("unheard_of", "no function unheard_of"),
    ],
)
def test_what_code_must_not_do_fails_with_a_reason(
    sandbox: Sandbox, home: Path, entry: str, said: str
) -> None:
    with pytest.raises(PeerFault, match=said):
        sandbox.open(at_home(str(home)), entry, 1)
    assert not (home / "left").exists()


def test_code_that_dies_or_never_ends_is_stopped_and_other_code_runs(home: Path) -> None:
    sandbox = Sandbox(lambda: None, answer_seconds=6.0, memory_bytes=MEMORY)
    code = at_home(str(home))
    cell = sandbox.open(code, "build", 1)
    before = cell.loss(cell.built(), ROWS)
    with pytest.raises(PeerFault, match="no answer in 6 seconds"):
        sandbox.open(code, "never_ends", 1)
    assert cell.loss(cell.built(), ROWS) == before
    with pytest.raises(PeerFault, match="exit code 3"):
        sandbox.open(code, "dies", 1)
    sandbox.close()


def test_a_loss_of_ones_own_counts_and_chance_is_refused(sandbox: Sandbox, home: Path) -> None:
    code = at_home(str(home))
    plain, own = sandbox.open(code, "build", 1), sandbox.open(code, "own_loss", 1)
    assert torch.equal(plain.built(), own.built())
    assert plain.loss(plain.built(), ROWS) != own.loss(own.built(), ROWS)
    assert torch.equal(trial(own, ROWS), own.built())
    for entry, said in (("noisy", "something else each time"), ("poison", "not finite")):
        with pytest.raises(PeerFault, match=said):
            trial(sandbox.open(code, entry, 1), ROWS)


class Bench:
    """A session whose job trains the module."""

    def __init__(self, sandbox: Sandbox, code: bytes, wanted: Prepare = TEXT) -> None:
        self.desk = Desk()
        self.held = self.desk.files.held
        self.held |= {"corpus.txt": CORPUS, "table.csv": TABLE, "net.py": code}
        plain = self.desk.door()
        self.session = Session(
            Door(plain.files, plain.clock_ms, plain.report, plain.pulse, sandbox)
        )
        self.prepared = self.do(wanted, Prepared)
        opening = open_job(self.prepared, "work")
        assert isinstance(self.prepared.model, ModuleSpec)
        manifest = replace(decode(TrainManifest, opening.manifest), model=self.prepared.model)
        self.do(replace(opening, manifest=encode(manifest), weights=self.prepared.weights), Opened)

    def do(self, command: Command, kind: type[R]) -> R:
        self.session.run(command)
        report = self.desk.reports[-1]
        assert isinstance(report, kind), report
        return report


def unit() -> TrainUnit:
    return TrainUnit(lease(0), 0, Round(0), fresh_optimizer=True, limit_ms=0, fault="")


def test_a_module_is_trained_trained_again_merged_and_exported(
    sandbox: Sandbox, home: Path
) -> None:
    code = at_home(str(home))
    bench = Bench(sandbox, code)
    before = bench.do(Evaluate(), Evaluated).loss_micronats
    trained = bench.do(unit(), Trained)
    assert trained.states == ()  # Nobody is asked to replay a window of it.
    again = bench.do(unit(), Trained)
    assert (again.leaves, again.update) == (trained.leaves, trained.update)
    bench.do(MergeRound(Round(0), (Contribution(trained.update, 8),)), Merged)
    assert bench.do(Evaluate(), Evaluated).loss_micronats < before
    bench.do(Export("out", "{}"), Exported)
    assert bench.held["out/module.py"] == code
    names = set(load(bench.held["out/model.safetensors"]))
    assert names == {"table.weight", "out.first.weight", "out.first.bias"}


def test_a_module_learns_from_the_rows_of_a_table(sandbox: Sandbox, home: Path) -> None:
    wanted = replace(
        TEXT, corpus="table.csv", model=ModuleSpec("line", 1), data=DataFormat("table")
    )
    bench = Bench(sandbox, at_home(str(home)), wanted)
    assert isinstance(bench.prepared.model, ModuleSpec)
    assert bench.prepared.model.width == 3
    before = bench.do(Evaluate(), Evaluated).loss_micronats
    trained = bench.do(unit(), Trained)
    assert bench.do(unit(), Trained).leaves == trained.leaves
    bench.do(MergeRound(Round(0), (Contribution(trained.update, 8),)), Merged)
    assert bench.do(Evaluate(), Evaluated).loss_micronats < before


def test_code_that_makes_another_module_than_the_job_names_is_refused(
    sandbox: Sandbox, home: Path
) -> None:
    bench = Bench(sandbox, at_home(str(home)))
    opening = open_job(bench.prepared, "work")
    assert isinstance(bench.prepared.model, ModuleSpec)
    other = (*bench.prepared.model.layout[:-1], TensorShape("z", (256, 8)))
    named = replace(bench.prepared.model, layout=other)
    manifest = encode(replace(decode(TrainManifest, opening.manifest), model=named))
    bench.session.run(replace(opening, manifest=manifest, weights=bench.prepared.weights))
    assert isinstance(bench.desk.reports[-1], Failed)


async def test_a_module_trains_in_a_real_worker_which_leaves_no_process_behind(
    tmp_path: Path, home: Path
) -> None:
    (tmp_path / "corpus.txt").write_bytes(CORPUS)
    (tmp_path / "net.py").write_bytes(at_home(str(home)))
    async with open_worker(WorkerOptions(tmp_path)) as worker:
        await worker.send(replace(prepare("made"), model=SPEC, base="net.py", batch=4))
        prepared = await answer(worker)
        assert isinstance(prepared, Prepared), prepared
        assert isinstance(prepared.model, ModuleSpec)
        opening = open_job(prepared, "work")
        manifest = encode(replace(decode(TrainManifest, opening.manifest), model=prepared.model))
        await worker.send(replace(opening, manifest=manifest, weights=prepared.weights))
        assert isinstance(await answer(worker), Opened)
        await worker.send(unit())
        trained = await answer(worker)
        assert isinstance(trained, Trained), trained
        [child] = psutil.Process(worker.pid).children()
    await gone(child.pid)  # Where its worker was killed with it, somebody else sees to its end.


@pytest.mark.parametrize(
    "spec",
    [
        replace(SPEC, entry="a b"),
        replace(SPEC, context=0),
        replace(SPEC, width=3),
        replace(SPEC, context=1, width=-1),
        replace(SPEC, layout=(TensorShape("b", (1,)), TensorShape("a", (1,)))),
        replace(SPEC, layout=(TensorShape("a", (1,)), TensorShape("a", (1,)))),
        replace(SPEC, layout=(TensorShape("a/b", (1,)),)),
        replace(SPEC, layout=(TensorShape("a", (0,)),)),
        replace(SPEC, layout=(TensorShape("a", (1 << 20, 1 << 20)),)),
    ],
)
def test_a_module_that_cannot_be_is_refused_before_any_code_runs(spec: ModuleSpec) -> None:
    with pytest.raises(Misuse):
        check_module(spec)


def test_a_module_is_neither_evaluated_nor_trained_before_its_tensors_are_named() -> None:
    made = Prepared((), "", "", lease(0), 1, lease(0))
    manifest = replace(manifest_for(made), model=replace(SPEC, layout=(TensorShape("a", (2,)),)))
    whole = OuterSpec(1, 0, nesterov=False, rule="evaluate")
    for bad in (replace(manifest, model=SPEC), replace(manifest, outer=whole)):
        with pytest.raises(Misuse, match="a module"):
            check_train(bad)
