"""Workers that are programs of their own, and workers that are forked: time, CPU and memory.

    python -m benchmarks.workers [--short]

A worker is ready when it has answered its first question. CPU is that of the worker alone until
then. Memory is what it shares with no other process (USS). All have to be of one numeric class.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psutil
import trio

from benchmarks.local import load, show
from dpin.compute.child import WorkerOptions
from dpin.compute.forkserver import Forkserver
from dpin.compute.task import Evaluate, Failed, Probe, Probed
from dpin.compute.worker import open_worker

MIB: Final = 1 << 20
WORKERS: Final = {"full": 9, "short": 2}


@dataclass(frozen=True, slots=True)
class Measured:
    """One worker."""

    seconds: float
    cpu: float
    unique: int
    probed: Probed


async def one(options: WorkerOptions, forkserver: Forkserver | None) -> Measured:
    """Make a worker, and let it answer."""
    begun = time.perf_counter()
    async with open_worker(options, forkserver) as worker:
        await worker.send(Evaluate())
        assert await worker.reports.receive() == Failed("Evaluate", "no job is open")
        seconds = time.perf_counter() - begun
        process = psutil.Process(worker.pid)
        times, memory = process.cpu_times(), process.memory_full_info()
        await worker.send(Probe())
        probed = await worker.reports.receive()
        assert isinstance(probed, Probed)
    return Measured(seconds, times.user + times.system, memory.uss, probed)


async def measured(count: int, folder: Path) -> list[tuple[str, str]]:
    """The rows of the table."""
    options = WorkerOptions(folder, nice=0)
    programs = [await one(options, None) for _ in range(count)]
    async with trio.open_nursery() as nursery:
        forkserver = Forkserver(nursery)
        first = await one(options, forkserver)
        forks = [await one(options, forkserver) for _ in range(count)]
        nursery.cancel_scope.cancel()
    assert {it.probed.fingerprint for it in [*programs, first, *forks]} == {
        first.probed.fingerprint
    }
    return [
        ("a program of its own: ready", _spread([it.seconds for it in programs])),
        ("- CPU until then", f"{median(it.cpu for it in programs):.2f} s"),
        ("- memory of its own", f"{median(it.unique for it in programs) / MIB:.0f} MiB"),
        ("the first fork, with what forks: ready", f"{first.seconds:.2f} s"),
        ("each one after: ready", _spread([it.seconds for it in forks])),
        ("- CPU until then, its own", f"{median(it.cpu for it in forks):.2f} s, in steps of 0.01"),
        ("- memory of its own", f"{median(it.unique for it in forks) / MIB:.0f} MiB"),
    ]


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    count = WORKERS["short" if parser.parse_args().short else "full"]
    before = load()
    with tempfile.TemporaryDirectory() as folder:
        rows = trio.run(measured, count, Path(folder))
    show("Workers, ready to compute", [("load before", before), *rows])


if __name__ == "__main__":
    main()
