"""What a dry run finds out by doing the job's own preparation, and what it leaves alone."""

import pytest
import trio
from msgspec.structs import replace

from dpin.base.codec import decode
from dpin.base.errors import Misuse
from dpin.compute.generation import Generate, Tokens
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.task import Command, Failed, InferManifest, Prepare, Report
from dpin.market.evaluating import EVALUATION
from dpin.market.orders import Order, TrainOrder, TuneSpec
from dpin.node.planning import plan_of
from dpin.node.trying import Trials, Tried, known
from tests.support.alone import Alone
from tests.support.market import PREPARED, infer_order, train_order


class Worker:
    """Answers every question alike, and notes how many are asked at one time."""

    def __init__(self, answer: Report) -> None:
        self.answer = answer
        self.asked: list[Command] = []
        self.busy = self.busiest = 0

    async def ask(self, command: Command) -> Report:
        self.asked.append(command)
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        await trio.lowlevel.checkpoint()
        self.busy -= 1
        return self.answer

    async def tried(self, order: Order) -> Tried:
        return await Trials(self.ask).of(order)


async def test_a_dry_run_prepares_the_job_and_writes_nothing() -> None:
    worker = Worker(PREPARED)
    tried = await worker.tried(replace(train_order(), parameters=7))
    [command] = worker.asked
    assert isinstance(command, Prepare)
    assert (command.corpus, command.folder) == ("/corpus", "")
    assert isinstance(tried.order, TrainOrder)
    assert (tried.order.parameters, tried.warnings) == (PREPARED.parameters, ())


async def test_a_dry_run_refuses_what_the_job_would_be_refused_for() -> None:
    worker = Worker(Failed("Prepare", "t.csv has no column 'text'", "data.text: one of body"))
    with pytest.raises(Misuse, match=r"would be refused: t\.csv has no column 'text'") as refused:
        await worker.tried(train_order())
    assert refused.value.fix == "data.text: one of body"


@pytest.mark.parametrize(
    ("order", "fix"),
    [
        (train_order(), "see docs/job-file.md"),
        (replace(train_order(), model=ModuleSpec("build", 8)), "see docs/own-modules.md"),
        (infer_order(), "copy the model's folder again: dpin fetch JOB"),
    ],
)
async def test_what_comes_without_a_fix_is_given_one(order: Order, fix: str) -> None:
    with pytest.raises(Misuse) as refused:
        await Worker(Failed("Prepare", "it is odd")).tried(order)
    assert refused.value.fix == fix


async def test_a_generation_is_tried_with_its_first_token() -> None:
    worker, order = Worker(Tokens(b"a")), infer_order()
    assert (await worker.tried(order)).order == order
    [command] = worker.asked
    assert isinstance(command, Generate)
    manifest: InferManifest = decode(InferManifest, command.manifest)
    assert (command.model, manifest.tokens) == (order.model_file, 1)
    assert (manifest.prompt, manifest.state_hash) == (order.prompt, order.state_hash)


async def test_dry_runs_are_tried_one_at_a_time() -> None:
    worker = Worker(PREPARED)
    trials = Trials(worker.ask)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(trials.of, train_order())
    assert (len(worker.asked), worker.busiest) == (5, 1)


def test_a_plan_says_how_large_a_module_of_ones_own_is() -> None:
    order = replace(train_order(), model=ModuleSpec("build", 8))
    plan = plan_of(known(order, PREPARED), Alone().peer, [])
    assert plan.parameters == PREPARED.parameters


def test_a_plan_says_what_was_chosen_for_auto() -> None:
    free = TuneSpec(2_500_000, 12_500_000, encoding=True, outer=True)
    prepared = replace(PREPARED, parameters=10**7, step_us=100_000, dense_us=10, sparse_us=10)
    order = replace(train_order(rounds=6), tune=free)
    tried = known(order, prepared)
    assert isinstance(tried.order, TrainOrder)
    assert tried.order.tune is None
    assert tried.order.inner.steps != order.inner.steps
    assert tried.chosen.startswith("a merge every ")
    assert plan_of(tried, Alone().peer, []).chosen == tried.chosen


def test_a_plan_of_an_evaluation_counts_the_batches_of_its_longest_part() -> None:
    order = replace(train_order(), outer=EVALUATION)
    plan = plan_of(known(order, replace(PREPARED, examples=100)), Alone().peer, [])
    assert (plan.kind, plan.steps) == ("eval", 100 // order.inner.batch)
