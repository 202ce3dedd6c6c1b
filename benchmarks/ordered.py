"""Consensus alone in four node processes: how much they order of what nobody reads.

    python -m benchmarks.ordered [--short]

Four validators over libp2p on loopback, as `benchmarks.unread_node` runs them: all of a node, but
that transactions are bytes which nobody checks or executes. What counts is ordered by all four, and
in their durable logs. At the end all must have the same commits, by their chained digests.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.local import Running, load, network, show
from benchmarks.rounds import SETTLE_SECONDS, cpu_ms, with_short_chains
from dpin.node.home import Home

NANOS: Final = 1_000_000_000
GOAL: Final = "20,000"
FULL_SECONDS: Final = 20.0
SHORT_SECONDS: Final = 2.0
TITLE: Final = "Consensus alone, four processes: no transaction is read"


class Commit(NamedTuple):
    """A line of a validator's notes."""

    at: int  # ns
    height: int
    transactions: int
    digest: str


class Ordered(NamedTuple):
    """What four validators did in some seconds."""

    rate: float  # transactions a second, of the validator that ordered least
    cpu_micros: float  # a transaction and validator
    block: float  # transactions of a block, in the mean


def words(home: Home) -> list[str]:
    """The command of one validator."""
    node = [sys.executable, "-m", "benchmarks.unread_node"]
    return [*node, str(home.root), str(home.root / "notes")]


def read_notes(path: Path) -> list[Commit]:
    """What one validator wrote."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [Commit(int(at), int(height), int(size), name) for at, height, size, name in lines]


def check(notes: Sequence[Sequence[Commit]]) -> None:
    """End the program unless all have ordered the same."""
    heights = [{commit.height: commit.digest for commit in one} for one in notes]
    shared = min(max(one) for one in heights)
    if shared == 0 or len({one[shared] for one in heights}) != 1:
        raise SystemExit("the validators have ordered different things")


def measure(folder: Path, seconds: float) -> Ordered:
    """Start four, let them order for a while, stop them, check."""
    with_short_chains(folder)
    with network(folder, words) as nodes:
        time.sleep(SETTLE_SECONDS)
        before, began = _spent(nodes), time.monotonic_ns()
        time.sleep(seconds)
        after, ended = _spent(nodes), time.monotonic_ns()
    notes = [read_notes(node.home.root / "notes") for node in nodes]
    check(notes)
    counted = [
        sum(commit.transactions for commit in one if began < commit.at <= ended) for one in notes
    ]
    blocks = sum(1 for commit in notes[0] if began < commit.at <= ended) * len(nodes)
    spent = sum(after) - sum(before)
    rate = min(counted) * NANOS / (ended - began)
    return Ordered(rate, 1_000 * spent / sum(counted), counted[0] / blocks)


def _spent(nodes: Sequence[Running]) -> list[float]:
    return [cpu_ms(node) for node in nodes]


def rows(found: Ordered) -> list[tuple[str, str, str]]:
    """What is printed."""
    return [
        ("transactions a second, by all four", f"{found.rate:,.0f}", GOAL),
        ("- CPU a transaction and validator", f"{found.cpu_micros:.1f} us", ""),
        ("- transactions a block, about", f"{found.block:,.0f}", ""),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="a few seconds, for tests")
    seconds = SHORT_SECONDS if parser.parse_args().short else FULL_SECONDS
    before = load()
    with tempfile.TemporaryDirectory(prefix="dpin-bench-") as name:
        found = measure(Path(name), seconds)
    show(TITLE, [("load before", before, ""), *rows(found)])


if __name__ == "__main__":
    main()
