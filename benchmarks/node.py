"""A node at rest: how soon it is ready, and what it costs while nothing happens.

    python -m benchmarks.node [--short]

Start to ready: from the start of the process until its API answers, for a founded node with its
keys made. At rest: four validators, connected to each other and with nothing to do. It takes about
a minute and a half; with --short, half a minute and figures of no weight.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from benchmarks.local import Running, full_mesh, load, network, plain_words, show, start, stop
from dpin.cli.swarm import make_homes
from dpin.client.client import Client

MIB: Final = 1 << 20
SETTLE_SECONDS: Final = 15.0  # after the last connection: registrations, a look at the devices
HELP: Final = (sys.executable, "-m", "dpin", "--help")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How often, and how long."""

    starts: int
    idle_seconds: float


FULL: Final = Sizes(starts=5, idle_seconds=30.0)
SHORT: Final = Sizes(starts=1, idle_seconds=3.0)


def starts(folder: Path, count: int) -> list[float]:
    """Seconds from the start of a node process until its API has answered."""
    [home] = make_homes(folder, 1)
    found = []
    for _ in range(count):
        began = time.monotonic()
        node = start(home, plain_words)
        with Client(home) as client:
            client.node()
        found.append(time.monotonic() - began)
        stop(node)
    return found


def help_seconds(count: int) -> list[float]:
    """Seconds that `dpin --help` takes."""
    found = []
    for _ in range(count):
        began = time.monotonic()
        subprocess.run(HELP, check=True, stdout=subprocess.DEVNULL)
        found.append(time.monotonic() - began)
    return found


def idle(nodes: Sequence[Running], seconds: float) -> list[float]:
    """Per cent of a core that each process uses while nothing is asked of it."""
    time.sleep(SETTLE_SECONDS)
    processes = [psutil.Process(node.process.pid) for node in nodes]
    before = [process.cpu_times() for process in processes]
    time.sleep(seconds)
    after = [process.cpu_times() for process in processes]
    return [
        100 * (b.user + b.system - a.user - a.system) / seconds
        for a, b in zip(before, after, strict=True)
    ]


def resident(nodes: Sequence[Running]) -> list[float]:
    """MiB of memory that each process holds, its children apart."""
    return [psutil.Process(node.process.pid).memory_info().rss / MIB for node in nodes]


def with_torch(nodes: Sequence[Running]) -> int:
    """How many processes have a file of torch mapped."""
    maps = (psutil.Process(node.process.pid).memory_maps() for node in nodes)
    return sum(any("/torch/" in file.path for file in files) for files in maps)


def spread(values: Sequence[float], unit: str) -> str:
    """The median, and the least and the most."""
    return f"{median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Start, measure, stop, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="half a minute, for tests")
    sizes = SHORT if parser.parse_args().short else FULL
    with tempfile.TemporaryDirectory(prefix="dpin-bench-") as name:
        folder = Path(name)
        rows = [("load before", load())]
        rows.append(("start to ready", spread(starts(folder / "one", sizes.starts), "s")))
        rows.append(("dpin --help", spread(help_seconds(sizes.starts), "s")))
        with network(folder / "four", plain_words) as nodes:
            rows.append(("load before the rest", load()))
            rows.append(("at rest, of a core", spread(idle(nodes, sizes.idle_seconds), "%")))
            rows.append(("resident memory", spread(resident(nodes), "MiB")))
            rows.append(("processes with torch", str(with_torch(nodes))))
            if not full_mesh([node.home for node in nodes]):
                raise SystemExit("the validators have lost each other")
    show("One node's start; four connected validators at rest", rows)


if __name__ == "__main__":
    main()
