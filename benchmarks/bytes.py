"""Loss against bytes: what rare and short updates cost beside synchronous data-parallel training.

    python -m benchmarks.bytes [--run NAME ...] [--seed N] [--steps N] [--short]

Four workers train the model of charlm.py on the same 1.02 million characters, in one process on
one thread. A run takes two to five minutes of CPU; names are those of RUNS. Bytes are what one
worker sends. The updates are written by dpin's own encodings (`dpin.compute.updates`), and rounds
grow by dpin's own rule (`dpin.compute.course`).
"""

import argparse
import math
import time
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from benchmarks import charlm
from benchmarks.local import load, show
from dpin.base.ids import NO_BLOB, NO_DIGEST, Round
from dpin.base.units import MILLION
from dpin.compute.checkpoint import Start
from dpin.compute.course import Course, course_of, steps_before
from dpin.compute.fragments import fragment
from dpin.compute.outer import write_fragment, write_trained
from dpin.compute.presets import DEMO_MODEL, FEEDBACK_PPM, MULOCO, TERNARY_FEEDBACK_PPM
from dpin.compute.state import GlobalState
from dpin.compute.task import (
    COSINE,
    INT4,
    INT8,
    SPARSE,
    TERNARY,
    EncodingSpec,
    InnerSpec,
    TrainManifest,
)
from dpin.compute.tensors import as_float, as_units
from dpin.compute.unit import begun
from dpin.compute.updates import encode_update
from dpin.ledger.jobs import WINDOWS_MAX

WORKERS: Final = 4
BATCH: Final = 8
STEPS: Final = 500
WARM_UP: Final = 50
FLOOR: Final = 0.1
PEAK: Final = 1.0  # of a course of MILLION ppm
FLOAT_BYTES: Final = 4
NEWTON: Final = (3.4445, -4.7750, 2.0315)  # coefficients of Muon's iteration (Jordan et al. 2024)
NEWTON_STEPS: Final = 5
MUON_MEAN: Final = 0.95
MUON_SIZE: Final = 0.2  # times the root of the longer side: the size of AdamW's steps
FIRST, SECOND, EPSILON, DECAY = 0.9, 0.95, 1e-8, 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """One way to train. `every` 0: one model, the mean gradient of all workers at every step."""

    rate: float
    muon: float = 0.0  # rate of the matrices; 0: AdamW for all
    every: int = 0  # inner steps between two merges
    encoding: EncodingSpec | None = None  # None: float32; fragments: a merge is of one of them
    outer_rate: float = 1.0
    momentum: float = 0.0  # Nesterov
    batch: int = BATCH  # of a worker; half as many, twice as many steps
    rounds: int = 0  # then their steps go by the rate, as a job's do, and `every` is the longest's


SIXTEENTH: Final = EncodingSpec(SPARSE, 256, FEEDBACK_PPM)
THIRTIETH: Final = EncodingSpec(SPARSE, 300, MILLION)  # of the bytes of float32, and a little less
NOT_ENCODED: Final = EncodingSpec(INT8)  # what is sent as it is goes whole
QUARTERS: Final = EncodingSpec(INT4, 0, MILLION, 4)
TRITS: Final = EncodingSpec(TERNARY, 0, TERNARY_FEEDBACK_PPM)
RUNS: Final = {
    "data-parallel, untuned": Run(1.5e-3),
    "data-parallel": Run(4e-3),
    "data-parallel, faster": Run(8e-3),
    "data-parallel, Muon": Run(4e-3, 1e-2),
    "data-parallel, Muon, faster": Run(4e-3, 2e-2),
    "FedAvg H=20 fp32": Run(4e-3, 0, 20),
    "DiLoCo H=20 fp32": Run(4e-3, 0, 20, None, 0.7, 0.6),
    "DiLoCo H=20 int8": Run(4e-3, 0, 20, EncodingSpec(INT8), 0.7, 0.6),
    "DiLoCo H=20 int4": Run(4e-3, 0, 20, EncodingSpec(INT4), 0.7, 0.6),
    "DiLoCo H=5 fp32, Muon": Run(4e-3, 1e-2, 5),
    "DiLoCo H=5 int8, Muon": Run(4e-3, 1e-2, 5, EncodingSpec(INT8)),
    "DiLoCo H=5 int4, Muon": Run(4e-3, 1e-2, 5, EncodingSpec(INT4)),
    "DiLoCo H=20 int4, Muon": Run(4e-3, 1e-2, 20, EncodingSpec(INT4)),
    "the same in four fragments": Run(4e-3, 1e-2, 5, QUARTERS),
    "SparseLoCo H=20": Run(4e-3, 0, 20, SIXTEENTH),
    "SparseLoCo H=5": Run(4e-3, 0, 5, SIXTEENTH),
    "SparseLoCo H=5, Muon": Run(4e-3, 1e-2, 5, SIXTEENTH),
    "MuLoCo H=5 fp32": Run(4e-3, 2e-2, 5, None, 1.0, 0.3),
    "MuLoCo H=6, ternary": Run(4e-3, 2e-2, 6, TRITS, 1.0, 0.3),
    "MuLoCo H=12, ternary, batch 4": Run(4e-3, 2e-2, 12, TRITS, 1.0, 0.3, 4),
    "MuLoCo by rate, ternary, batch 4": Run(4e-3, 2e-2, 23, TRITS, 1.0, 0.3, 4, 95),
    "MuLoCo by rate, fp32, batch 4": Run(4e-3, 2e-2, 23, None, 1.0, 0.3, 4, 95),
    "MuLoCo by rate, sparse, batch 4": Run(4e-3, 2e-2, 23, THIRTIETH, 1.0, 0.3, 4, 95),
    "data-parallel, Muon, batch 4": Run(4e-3, 2e-2, batch=4),
    "SparseLoCo H=20, Muon": Run(4e-3, 1e-2, 20, SIXTEENTH),
}


SHORT_RUNS: Final = ("data-parallel", "SparseLoCo H=5, Muon", "MuLoCo by rate, ternary, batch 4")


class Learner:
    """W workers' parameters, (W, P), and their optimizers' memory."""

    def __init__(self, flat: Tensor, run: Run) -> None:
        self.flat = flat
        self._run = run
        self._weights = charlm.views(flat)
        self._gradient = torch.zeros_like(flat)
        self._first, self._second = torch.zeros_like(flat), torch.zeros_like(flat)
        self._taken = 0
        for name, part in charlm.views(self._gradient).items():
            self._weights[name].requires_grad_()
            self._weights[name].grad = part

    def step(self, batch: Tensor, size: float) -> None:
        """One step of each worker on (W, B, T + 1), at `size` times the peak of the rates."""
        self._gradient.zero_()
        torch.autograd.backward(charlm.loss(self._weights, batch).sum())
        with torch.no_grad():
            norm = self._gradient.norm(dim=1, keepdim=True)
            self._gradient.mul_((1 / (norm + EPSILON)).clamp(max=1))
            self._taken += 1
            self._second.mul_(SECOND).addcmul_(self._gradient, self._gradient, value=1 - SECOND)
            for name in self._weights:
                if self._run.muon and name in charlm.MATRICES:
                    self._muon(name, self._run.muon * size)
                else:
                    self._adam(name, self._run.rate * size)

    def _adam(self, name: str, rate: float) -> None:
        part, gradient, first, second = self._parts(name)
        first.lerp_(gradient, 1 - FIRST)
        deviation = (second / (1 - SECOND**self._taken)).sqrt_().add_(EPSILON)
        part.mul_(1 - rate * DECAY)
        part.addcdiv_(first, deviation, value=-rate / (1 - FIRST**self._taken))

    def _muon(self, name: str, rate: float) -> None:
        part, gradient, first, _ = self._parts(name)
        first.lerp_(gradient, 1 - MUON_MEAN)
        turn = orthogonal(gradient.lerp(first, MUON_MEAN))
        size = MUON_SIZE * math.sqrt(max(turn.shape[-2:]))
        part.mul_(1 - rate * DECAY).add_(turn, alpha=-rate * size)

    def _parts(self, name: str) -> tuple[Tensor, ...]:
        held = (self.flat, self._gradient, self._first, self._second)
        return tuple(charlm.views(vector)[name].detach() for vector in held)


def orthogonal(matrices: Tensor) -> Tensor:
    """(..., rows, columns) with all singular values near one: five Newton-Schulz steps."""
    wide = matrices.shape[-2] <= matrices.shape[-1]
    found: Tensor = matrices if wide else matrices.transpose(-1, -2)
    found = found / (found.norm(dim=(-2, -1), keepdim=True) + EPSILON)
    linear, cubic, quintic = NEWTON
    for _ in range(NEWTON_STEPS):
        square = found @ found.transpose(-1, -2)
        step = square.mul(cubic) + (square @ square).mul(quintic)
        found = found.mul(linear) + step @ found
    return found if wide else found.transpose(-1, -2)


@dataclass(frozen=True, slots=True)
class Plan:
    """When a run merges, and how large its steps are over the peak of its rates."""

    total: int
    warm_up: int
    merges: frozenset[int]  # after so many steps
    course: Course | None  # of a job whose steps go by the rate; None: as the reference runs

    def size(self, step: int) -> float:
        """Of that step."""
        if self.course is not None:
            return self.course.rate(step) / PEAK
        fall = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * step / self.total))
        return min((step + 1) / self.warm_up, fall)


def plan_of(run: Run, steps: int) -> Plan:
    """`steps` are those with batches of BATCH sequences."""
    total, warm_up = steps * BATCH // run.batch, WARM_UP * BATCH // run.batch
    if not run.rounds:
        merges = range(run.every, total + 1, run.every) if run.every else ()
        return Plan(total, warm_up, frozenset(merges), None)
    rounds = max(1, run.rounds * steps // STEPS)
    job = _job(
        InnerSpec(MILLION, 0, warm_up, run.batch, run.every, schedule=COSINE, steps_by_rate=True),
        rounds,
    )
    ends = [steps_before(job, Round(number)) for number in range(rounds + 1)]
    return Plan(ends[-1], warm_up, frozenset(ends[1:]), course_of(job))


def _job(inner: InnerSpec, rounds: int) -> TrainManifest:
    """A job as far as its steps go."""
    return TrainManifest(
        model=DEMO_MODEL,
        inner=inner,
        outer=MULOCO,
        seats=WORKERS,
        rounds=rounds,
        windows=min(WINDOWS_MAX, inner.steps),
        shards=(),
        holdout=NO_BLOB,
        initial=NO_BLOB,
        state_hash=NO_DIGEST,
        fingerprint=NO_DIGEST,
    )


class Merger:
    """The outer step over what workers send."""

    def __init__(self, start: Tensor, run: Run) -> None:
        self.state = start
        self.sent = 0
        self._run = run
        self._rounds = 0
        self._momentum = torch.zeros_like(start)
        self._errors: list[Tensor | None] = [None] * WORKERS

    @property
    def starts(self) -> Tensor:
        """Where workers go on: (W, P)."""
        spec, units = self._run.encoding, as_units(self.state[0])
        starts = [
            begun(spec, Start(GlobalState(DEMO_MODEL, Round(0), units), None, error))
            for error in self._errors
            if spec is not None and spec.fragments > 1
        ]
        own = [as_float(start.state.parameters) for start in starts if isinstance(start, Start)]
        return torch.stack(own) if own else self.state.expand(WORKERS, -1)

    def merge(self, trained: Tensor) -> None:
        """Take (W, P) trained parameters."""
        run, spec = self._run, self._run.encoding or NOT_ENCODED
        here = fragment(spec, self._rounds, trained.shape[1])
        moved = [self._said(worker, part) for worker, part in enumerate(trained.detach())]
        mean = torch.stack(moved).mean(0, keepdim=True)
        self._momentum[:, here] = run.momentum * self._momentum[:, here] + mean
        step = mean + run.momentum * self._momentum[:, here] if run.momentum else mean
        self.state = self.state.clone()
        self.state[:, here] += run.outer_rate * step
        self._rounds += 1

    def _said(self, worker: int, trained: Tensor) -> Tensor:
        spec = self._run.encoding
        if spec is None:
            self.sent += FLOAT_BYTES * len(trained) if worker == 0 else 0
            return trained - self.state[0]
        base = GlobalState(DEMO_MODEL, Round(self._rounds), as_units(self.state[0]))
        if spec.fragments > 1:
            found = write_fragment(spec, trained, base)
        else:
            found = write_trained(spec, trained, base, self._errors[worker])
        self._errors[worker] = found.error
        self.sent += len(encode_update(found.update)) if worker == 0 else 0
        return as_float(found.update.dense())


def trained(run: Run, seed: int, steps: int) -> tuple[float, int]:
    """Validation loss, and bytes that a worker has sent."""
    text, held_out = charlm.corpus()
    dice = [torch.Generator().manual_seed(100 + 1000 * seed + worker) for worker in range(WORKERS)]
    start = charlm.first_weights(seed)
    workers = WORKERS if run.every else 1
    learner, merger = Learner(start.repeat(workers, 1), run), Merger(start, run)
    plan = plan_of(run, steps)
    for step in range(plan.total):
        batch = torch.stack([charlm.draw(text, run.batch, one) for one in dice])
        learner.step(batch.view(workers, -1, batch.shape[-1]), plan.size(step))
        if not run.every:
            merger.sent += FLOAT_BYTES * charlm.count()
        elif step + 1 in plan.merges:
            merger.merge(learner.flat)
            with torch.no_grad():
                learner.flat.copy_(merger.starts)
    final = merger.state if run.every else learner.flat.detach()
    return charlm.validation_loss(final, held_out), merger.sent


def main() -> None:
    """Train, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", nargs="*", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--short", action="store_true", help="a few steps of three runs, for tests")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = SHORT_RUNS if options.short else options.run
    steps = 5 if options.short else options.steps
    rows = [("load before", load())]
    dense = FLOAT_BYTES * charlm.count() * steps
    for name in names:
        began = time.process_time()
        loss, sent = trained(RUNS[name], options.seed, steps)
        assert loss < math.log(charlm.VOCABULARY) * 1.1, "worse than a guess"
        spent = time.process_time() - began
        text = f"{loss:.4f} nats, {sent / 1e6:.2f} MB: {dense / sent:.0f} times fewer bytes"
        rows.append((name, f"{text} ({spent:.0f} s)"))
    show(f"Loss against bytes, seed {options.seed}, {steps} steps", rows)


if __name__ == "__main__":
    main()
