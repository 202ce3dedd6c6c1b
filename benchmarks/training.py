"""Three seats train in turn and merge, beside the same steps alone: loss, bytes and time.

All goes through what a worker runs.

    python -m benchmarks.training [--corpus FOLDER] [--short]

It takes about a minute on one core; with --short, one round, ten seconds and figures of no weight.
"""

import argparse
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.local import load, show
from dpin.base.codec import encode
from dpin.base.ids import NO_BLOB, Digest, JobId, Round
from dpin.base.units import MILLION
from dpin.compute import presets
from dpin.compute.alone import Measure, Measured
from dpin.compute.door import Door
from dpin.compute.executor import Disk
from dpin.compute.probe import settle
from dpin.compute.session import Session
from dpin.compute.task import (
    Command,
    Contribution,
    Evaluate,
    Evaluated,
    Failed,
    Merged,
    MergeRound,
    Opened,
    OpenJob,
    Prepare,
    Prepared,
    Report,
    Trained,
    TrainManifest,
    TrainUnit,
)

JOB: Final = JobId(b"benchmark".ljust(32, b"\0"))
FLOAT_BYTES: Final = 4

R = TypeVar("R")


class Bench:
    """A worker's session in this process."""

    def __init__(self) -> None:
        self._reports: list[Report] = []
        door = Door(Disk(), lambda: time.monotonic_ns() // MILLION, self._reports.append, _nothing)
        self._session = Session(door)

    def do(self, command: Command, kind: type[R]) -> R:
        """Run a command; answers with its report."""
        self._reports.clear()
        self._session.run(command)
        report = self._reports[-1]
        if isinstance(report, Failed):
            raise SystemExit(f"{report.command}: {report.reason}")
        assert isinstance(report, kind), report
        return report


def _nothing() -> None:
    """Nobody interrupts a benchmark."""


def prepare(bench: Bench, corpus: str, folder: str) -> Prepared:
    """Shards and the initial checkpoint of the demonstration."""
    command = Prepare(
        corpus=corpus,
        suffixes=(".py",),
        bytes_max=presets.DEMO_CORPUS_BYTES,
        shards=presets.DEMO_SHARDS,
        holdout_ppm=presets.DEMO_HOLDOUT_PPM,
        model=presets.DEMO_MODEL,
        seed=b"demo",
        folder=folder,
    )
    return bench.do(command, Prepared)


def open_job(bench: Bench, prepared: Prepared, folder: str, rounds: int) -> None:
    """Load the demonstration's job, over so many rounds."""
    manifest = TrainManifest(
        model=presets.DEMO_MODEL,
        inner=presets.DEMO_INNER,
        outer=presets.outer_preset(rounds),
        seats=presets.DEMO_SEATS,
        rounds=rounds,
        windows=presets.DEMO_WINDOWS,
        shards=(NO_BLOB,) * len(prepared.shards),
        holdout=NO_BLOB,
        initial=NO_BLOB,
        state_hash=prepared.state_hash,
        fingerprint=prepared.fingerprint,
    )
    command = OpenJob(
        job=JOB,
        manifest=encode(manifest),
        shards=prepared.shards,
        holdout=prepared.holdout,
        checkpoint=prepared.initial,
        round=Round(0),
        folder=folder,
    )
    bench.do(command, Opened)


def train_round(bench: Bench, round_: Round) -> Sequence[Trained]:
    """A unit of every seat, then the merge."""
    units = [
        bench.do(TrainUnit(Digest(bytes([seat]) * 32), seat, round_, round_ == 0, 0, ""), Trained)
        for seat in range(presets.DEMO_SEATS)
    ]
    parts = tuple(Contribution(unit.update, unit.leaves[-1].step) for unit in units)
    bench.do(MergeRound(round_, parts), Merged)
    return units


def steps_of(rounds: int) -> int:
    """Steps of one seat."""
    return rounds * presets.DEMO_INNER.steps


def losses(bench: Bench, rounds: int) -> tuple[dict[str, int], list[Trained]]:
    """Held-out losses in micro-nats per byte, and all units trained."""
    before = bench.do(Evaluate(), Evaluated).loss_micronats
    units: list[Trained] = []
    for index in range(rounds):
        units += train_round(bench, Round(index))
    found = {"before": before, "three seats": bench.do(Evaluate(), Evaluated).loss_micronats}
    for name, joint in (("one seat alone", False), ("joint batch", True)):
        found[name] = bench.do(Measure(steps_of(rounds), joint), Measured).loss_micronats
    return found, units


def facts(parameters: int, sent: int, units: Sequence[Trained]) -> dict[str, str]:
    """Sizes and times. Each seat sends its updates to the other seats and to the requester."""
    seats = presets.DEMO_SEATS
    rounds = len(units) // seats
    steps = steps_of(rounds)
    ring = 2 * (seats - 1) * FLOAT_BYTES * parameters * steps // seats
    busy_ms = sum(unit.milliseconds for unit in units) / (steps * seats)
    return {
        "parameters": f"{parameters:,}",
        "steps per seat": f"{steps} in {rounds} rounds",
        "time per step": f"{busy_ms:.1f} ms",
        "bytes sent per seat": f"{sent:,}",
        "fp32 data-parallel ring": f"{ring:,} ({ring / sent:.1f} times as many)",
    }


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", default=sysconfig.get_paths()["stdlib"])
    parser.add_argument("--short", action="store_true", help="one round, for tests")
    options = parser.parse_args()
    rounds = 1 if options.short else presets.DEMO_ROUNDS
    rows = [("load before", load())]
    settle()
    bench = Bench()
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(bench, options.corpus, folder)
        open_job(bench, prepared, folder, rounds)
        found, units = losses(bench, rounds)
        # Over all seats: what all wrote is what one sends to as many receivers.
        sent = sum(Path(unit.update).stat().st_size for unit in units)
    for name, loss in found.items():
        rows.append((f"held-out loss, {name}", f"{loss / MILLION:.4f} nats per byte"))
    excess = found["three seats"] / found["joint batch"] - 1
    rows.append(("three seats over the joint batch", f"{100 * excess:.1f} %"))
    show(
        "Training: three seats, merged every round",
        [*rows, *facts(prepared.parameters, sent, units).items()],
    )


if __name__ == "__main__":
    main()
