"""B8 and B9: what a federated round takes beside training.

    python -m benchmarks.federated [--flower PYTHON] [--short]

Whole: four nodes as processes on loopback, one that asks and three that own data; rounds of a
federated job, everything included: market, ledger, commits, transfers, merges at every node. A
round is the time from one round's start to the next one's, less what its steps of training take
three processes that do nothing else, at once on the same cores; hashing and encoding what was
trained are not taken off. A round counts where every owner's update is in it, which the
ledger takes only from those who began with the same state. Isolation: every node keeps one warm
worker process a job, which starts once; Flower starts one for each task of a client.

Protocol: whole rounds in the simulator, whose processors cost no time: what a round waits for
(finality of the commits, of what everybody says it holds, messages of 1 to 10 ms).

Least: the same number of worker processes on the same cores, which do what a round makes every node
compute, and nothing else (federated_least.py): units, less their steps as above, and merges. That
much is out of reach as long as every node merges for itself.

Simulated: a hundred clients in one process, one after the other (`dpin sim clients`): batches,
updates, screening and the merge, less the steps of training; no ledger, no network, nothing that
only others would check. In seconds of CPU of the one thread; Flower's are the clock's. Isolation:
none. With proofs: whatever a node computes for a unit besides (commitments, states of windows,
files), with the same result.

--flower names a Python that has flwr 1.41: its deployment engine with as many SuperNodes as there
are owners (a fresh process for every task of a client), and its simulation engine (Ray's workers);
a client's training is one addition, and its time is taken off.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import torch
from msgspec.structs import asdict, replace

from benchmarks.federated_least import least, steps_at_once
from benchmarks.local import load, show
from dpin.base.codec import encode
from dpin.base.ids import NO_BLOB, Digest, Round
from dpin.base.units import seconds
from dpin.client.client import Client as NodeClient
from dpin.compute.checkpoint import Start, decode_global
from dpin.compute.course import Course
from dpin.compute.examples import examples_of
from dpin.compute.population import Client, Population
from dpin.compute.probe import settle
from dpin.compute.session import Session
from dpin.compute.state import initial_state
from dpin.compute.task import (
    Contribution,
    Merged,
    MergeRound,
    ModelSpec,
    OpenJob,
    Prepared,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.compute.train import Trainer
from dpin.sim.jobs import JOB as SIMULATED_JOB
from dpin.sim.jobs import Works, training
from dpin.sim.stage import since
from dpin.sim.workers import QUICK, TRAIN
from tests.support.network import OWN_WORDS, ended, town
from tests.support.training import (
    CORPUS,
    JOB,
    TINY_INNER,
    Desk,
    MemoryFiles,
    manifest_for,
    prepare,
)

FLOWER: Final = Path(__file__).with_name("federated_flower.py")
OWNERS: Final = 3
MODELS: Final = {  # kilofloats -> about as many parameters
    5: ModelSpec(1, 1, 8, 8),  # the smallest that a job may name
    10_000: ModelSpec(3, 8, 512, 8),
}
STEPS: Final = 4  # of a unit: a window each, the fewest there may be
GOALS: Final = {5: 100, 10_000: 30}
INNER: Final = replace(TINY_INNER, steps=1, batch=1)
SIMULATED: Final = ModelSpec(1, 1, 2, 8)
SIMULATED_GOAL: Final = 10
SEEDS: Final = 3


def whole(kilofloats: int, rounds: int) -> list[float]:
    """Seconds of each round but the first and the last, less its steps."""
    model = MODELS[kilofloats]
    sizes = ", ".join(f"{name}: {size}" for name, size in asdict(model).items())
    steps = steps_at_once(model, OWNERS, STEPS)
    with tempfile.TemporaryDirectory(prefix="dpin-bench-") as folder:
        place = Path(folder)
        (place / "eval.txt").write_text("".join(OWN_WORDS) * 20)
        job = place / "job.yaml"
        job.write_text(
            "type: federated\n"
            f"model: {{{sizes}}}\n"
            "data: {dataset: letters, eval: eval.txt}\n"
            f"args: {{rounds: {rounds}, max_steps: {STEPS * rounds},"
            " per_device_train_batch_size: 1}\n"
            f"resources: {{nodes: {OWNERS}, memory: 500MB}}\n"
            "limits: {cost: 100}\n"
        )
        with town(place) as network:
            with NodeClient(network.ada.home) as client:
                submitted = client.submit(job)
            detail = ended(network.ada, submitted.id)
    assert detail.job.state == "done", detail.job.reason
    spans = pairwise(detail.rounds)
    found = [
        (later.started_ms - sooner.started_ms) / 1000 - steps
        for sooner, later in [*spans][1:]
        if sooner.included == later.included == OWNERS and later.state_hash != sooner.state_hash
    ]
    assert found, f"no round has all updates: {[one.included for one in detail.rounds]}"
    print(f"{len(found)} rounds; {steps:.3f} s of steps", file=sys.stderr)  # noqa: T201
    return found


def computed(kilofloats: int, rounds: int) -> list[float]:
    """Seconds of each round in which workers do nothing but compute, less its steps."""
    model = MODELS[kilofloats]
    steps = steps_at_once(model, OWNERS, STEPS)
    with tempfile.TemporaryDirectory(prefix="dpin-bench-") as folder:
        return [spent - steps for spent in least(Path(folder), model, OWNERS, STEPS, rounds)]


class Simulated(NamedTuple):
    """A job of many clients that train in this process, and what its steps alone take."""

    session: Session
    desk: Desk
    prepared: Prepared
    manifest: TrainManifest

    def steps(self, clients: int) -> float:
        """Seconds of CPU of the steps of one round."""
        trainer = Trainer(SIMULATED, Course(INNER, self.manifest.rounds), "cpu")
        trainer.load(Start(initial_state(SIMULATED, b"seed"), None))
        batch = torch.zeros(1, SIMULATED.context + 1, dtype=torch.int64)
        return timed(lambda: [trainer.step(batch, 0) for _ in range(clients)])


def job_of(clients: int, rounds: int) -> Simulated:
    """One whose clients are about as many numbers as Flower's."""
    settle()
    desk = Desk(MemoryFiles({"corpus.txt": CORPUS * 4}))
    session = Session(desk.door())
    session.run(replace(prepare("made"), shards=clients, model=SIMULATED))
    prepared = desk.reports[-1]
    assert isinstance(prepared, Prepared), prepared
    manifest = replace(
        manifest_for(prepared),
        model=SIMULATED,
        seats=clients,
        windows=1,
        inner=INNER,
        rounds=rounds,
        shards=(NO_BLOB,) * clients,
    )
    return Simulated(session, desk, prepared, manifest)


def protocol(seeds: int) -> list[float]:
    """Seconds of fake time of whole rounds but the first, less units and merges.

    Four production nodes in the simulator, 1 to 10 ms apart, on processors that cost no time: what
    is left is what the protocol waits for.
    """
    found = []
    for seed in range(seeds):
        works = Works("rounds", seed, training(OWNERS))
        report = works.finish(since(30))
        assert not report.problems, report.problems
        rounds = works.node(0).peer.requester.jobs[SIMULATED_JOB].rounds
        began = [rounds[number].began for number in sorted(rounds)]
        spans = [later - sooner for sooner, later in pairwise(began)]
        found += [(span - TRAIN - QUICK) / seconds(1) for span in spans[1:]]
    return found


def simulated(clients: int, rounds: int) -> list[float]:
    """Seconds of CPU of each round but the first, less those of its steps: no proofs."""
    job = job_of(clients, rounds)
    shards = [job.desk.files.read(path) for path in job.prepared.shards]
    many = Population(
        JOB,
        job.manifest,
        decode_global(job.desk.files.read(job.prepared.initial), SIMULATED),
        [Client(lease_of(at), examples_of(SIMULATED, [shards[at]])) for at in range(clients)],
    )
    found = []
    for _ in range(rounds):
        before = many.state.parameters
        found.append(timed(many.round) - job.steps(clients))
        assert not torch.equal(many.state.parameters, before), "the round moved nothing"
    return found[1:]


def proven(clients: int, rounds: int) -> list[float]:
    """The same with all that a provider computes for others to check: leaves, states, files."""
    job = job_of(clients, rounds)
    files = (job.prepared.shards, job.prepared.holdout, job.prepared.initial)
    job.session.run(OpenJob(JOB, encode(job.manifest), *files, Round(0), "work"))
    found = []
    for number in range(rounds):
        spent = timed(partial(_round, job.session, job.desk, clients, number))
        found.append(spent - job.steps(clients))
    return found[1:]


def lease_of(client: int) -> Digest:
    """What names a client."""
    return Digest(client.to_bytes(4) + bytes(28))


def timed(work: Callable[[], object]) -> float:
    """Seconds of CPU that something takes: of one thread, so the clock's on a core of its own."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _round(session: Session, desk: Desk, clients: int, number: int) -> None:
    """Every client's unit, and the merge."""
    parts = []
    for seat in range(clients):
        unit = TrainUnit(
            lease=lease_of(seat),
            seat=seat,
            round=Round(number),
            fresh_optimizer=False,
            limit_ms=0,
            fault="",
        )
        session.run(unit)
        trained = desk.reports[-1]
        assert isinstance(trained, Trained), trained
        parts.append(Contribution(trained.update, 1))
    session.run(MergeRound(Round(number), tuple(parts)))
    merged = desk.reports[-1]
    assert isinstance(merged, Merged), merged  # steps that small may look like copies


def flower(python: str, *words: str) -> list[float]:
    """Seconds of each round but the first, less its clients' training, of Flower."""
    done = subprocess.run(
        [python, str(FLOWER), *words], capture_output=True, text=True, check=True, timeout=580
    )
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def said(seconds: Sequence[float]) -> str:
    """The median, the least and the most."""
    middle = statistics.median(seconds)
    return f"{middle:.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"


def row(name: str, ours: list[float], theirs: list[float], goal: int) -> tuple[str, str, str]:
    """One line of the table."""
    if not theirs:
        return name, said(ours), f"{goal} times"
    ratio = statistics.median(theirs) / statistics.median(ours)
    verdict = "met" if ratio >= goal else "missed"
    figure = f"{said(ours)}; Flower {said(theirs)}: {ratio:.1f} times"
    return name, figure, f"{goal} times: {verdict}"


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--flower", default="", help="a Python that has flwr")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", choices=["whole", "simulated", "protocol"])
    parser.add_argument("--kilofloats", type=int, nargs="*", choices=list(GOALS), default=[*GOALS])
    parser.add_argument("--short", action="store_true", help="ten simulated clients, for tests")
    options = parser.parse_args()
    clients, rounds = (10, 3) if options.short else (options.clients, options.rounds)
    rows = [("load before", load(), "")]
    if options.only in {None, "whole"} and not options.short:
        for kilofloats in options.kilofloats:
            goal = GOALS[kilofloats]
            words = ("deploy", str(OWNERS), str(kilofloats), str(rounds))
            theirs = flower(options.flower, *words) if options.flower else []
            name = f"whole, {4 * kilofloats:,} KB"
            rows.append(row(name, whole(kilofloats, rounds), theirs, goal))
            rows.append(row(f"{name}: least", computed(kilofloats, rounds), theirs, goal))
    if options.only in {None, "protocol"}:
        rows.append(row("whole, protocol alone", protocol(SEEDS), [], GOALS[5]))
    if options.only in {None, "simulated"}:
        words = ("simulate", str(clients), "1", str(rounds))
        theirs = flower(options.flower, *words) if options.flower else []
        name = f"{clients} simulated clients, 4 KB"
        rows.append(row(name, simulated(clients, rounds), theirs, SIMULATED_GOAL))
        name = "the same with proofs"
        rows.append(row(name, proven(clients, rounds), theirs, SIMULATED_GOAL))
    show("A federated round without its training", rows)


if __name__ == "__main__":
    main()
