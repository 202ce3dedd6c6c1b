"""What workers must compute in a federated round, and nothing else.

Real worker processes, one a node, driven over their pipes: those who own data train a unit each, at
once, and then all of them merge all updates, at once. No node, no ledger, no network; updates are
read where they were written.
"""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final, Self, TypeVar

import torch
from msgspec.structs import replace

from dpin.base.codec import decode, encode
from dpin.base.ids import Digest, Round
from dpin.compute.checkpoint import Start
from dpin.compute.course import Course
from dpin.compute.frames import Unframer, framed
from dpin.compute.hubspec import DataFormat, PrivatePlace, PrivateSpec
from dpin.compute.probe import settle
from dpin.compute.state import initial_state
from dpin.compute.task import (
    Command,
    Contribution,
    Failed,
    Merged,
    MergeRound,
    ModelSpec,
    OpenJob,
    Prepared,
    Report,
    Trained,
    TrainUnit,
)
from dpin.compute.train import Trainer
from tests.support.training import CORPUS, JOB, TINY_INNER, manifest_for, prepare

PATIENCE_SECONDS: Final = 300
READ_BYTES: Final = 1 << 16
Kind = TypeVar("Kind", bound=Report)
INNER: Final = replace(TINY_INNER, batch=1)
WORKER: Final = (sys.executable, "-P", "-m", "dpin.compute.executor")


class Worker:
    """A worker process, as a node starts it."""

    def __init__(self) -> None:
        """Ends with the block that it is used in."""
        self.process = subprocess.Popen(
            WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._unframer = Unframer()

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(self, *error: object) -> None:
        """It ends once nobody orders any more."""
        self.process.communicate()

    def order(self, command: Command) -> None:
        """Returns at once."""
        assert self.process.stdin is not None
        self.process.stdin.write(framed(command))

    def answer(self, kind: type[Kind]) -> Kind:
        """Waits for a report of this kind; what is only progress is passed over."""
        assert self.process.stdout is not None
        while data := self.process.stdout.read(READ_BYTES):
            for frame in self._unframer.feed(data):
                report: Report = decode(Report, frame)
                assert not isinstance(report, Failed), report
                if isinstance(report, kind):
                    return report
        raise RuntimeError("a worker ended")


def least(folder: Path, model: ModelSpec, owners: int, steps: int, rounds: int) -> list[float]:
    """Seconds of each round but the first: the longest unit, and the longest merge."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker()) for _ in range(owners + 1)]
        _open(workers, folder, model, steps)
        found = [_round(workers, Round(number), steps) for number in range(rounds)]
    return found[1:]


def steps_at_once(model: ModelSpec, owners: int, steps: int) -> float:
    """Seconds that the steps of a unit alone take, where as many processes take them at once."""
    spawn = multiprocessing.get_context("spawn")
    start, found = spawn.Barrier(owners), spawn.Queue()
    parts = [spawn.Process(target=_steps, args=(model, steps, start, found)) for _ in range(owners)]
    for part in parts:
        part.start()
    longest: float = max(found.get(timeout=PATIENCE_SECONDS) for _ in parts)
    for part in parts:
        part.join()
    return longest


def _steps(model: ModelSpec, steps: int, start: Barrier, found: "Queue[float]") -> None:
    """One process of them; the first turn warms up."""
    settle()
    trainer = Trainer(model, Course(INNER, 1), "cpu")
    trainer.load(Start(initial_state(model, b"seed"), None))
    batch = torch.zeros(1, model.context + 1, dtype=torch.int64)
    spent = 0.0
    for _ in range(2):
        start.wait()
        began = time.perf_counter()
        for _ in range(steps):
            trainer.step(batch, 0)
        spent = time.perf_counter() - began
    found.put(spent)


def _open(workers: Sequence[Worker], folder: Path, model: ModelSpec, steps: int) -> None:
    """The first makes the model; then each holds the job, the last without data."""
    first, owners = workers[0], len(workers) - 1
    corpus = folder / "corpus.txt"
    corpus.write_bytes(CORPUS)
    first.order(replace(prepare(str(folder / "made"), str(corpus)), model=model))
    made = first.answer(Prepared)
    manifest = replace(
        manifest_for(made, inner=replace(INNER, steps=steps)),
        model=model,
        seats=owners,
        windows=steps,
        rounds=1 << 10,
        shards=(),
        private=PrivateSpec("corpus", DataFormat("text")),
    )
    files = (made.holdout, made.initial)
    for at, worker in enumerate(workers):
        opened = OpenJob(JOB, encode(manifest), (), *files, Round(0), str(folder / f"work-{at}"))
        place = PrivatePlace(str(corpus), (".txt",), 1 << 20)
        worker.order(replace(opened, private=place if at < owners else None))


def _round(workers: Sequence[Worker], number: Round, steps: int) -> float:
    """Seconds of the units and of the merges."""
    began = time.perf_counter()
    for seat, worker in enumerate(workers[:-1]):
        lease = Digest(seat.to_bytes(32))
        worker.order(TrainUnit(lease, seat, number, fresh_optimizer=False, limit_ms=0, fault=""))
    updates = [worker.answer(Trained).update for worker in workers[:-1]]
    for worker in workers:
        worker.order(MergeRound(number, tuple(Contribution(update, steps) for update in updates)))
    states = {worker.answer(Merged).state_hash for worker in workers}
    assert len(states) == 1, "workers came to different states"
    return time.perf_counter() - began
