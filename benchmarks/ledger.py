"""The ledger on four local node processes: throughput, finality, CPU time, a crash, a return.

    python -m benchmarks.ledger [--short] [--only ROW ...] [--made FOLDER] [--profile FOLDER]

Four validators as `dpin node start` runs them: libp2p over loopback, signatures checked by each in
its own process, the log synced before a block is sent. A fifth process pays. When a transfer counts
as applied is noted in the validators (benchmarks/watched_node.py). Everything is checked at the
end: each payment applied on every validator, every account's money, equal state roots, the supply
conserved. Only the rows "consensus alone" read no transactions. It takes about six minutes.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Final

import trio

from benchmarks import alone, delays, ordered
from benchmarks.local import VALIDATORS, WATCHED, Running, load, network, quantile, show, start
from benchmarks.payer import connected
from benchmarks.trial import (
    LOOK_SECONDS,
    Lookout,
    Notes,
    Trial,
    agreed,
    check,
    halves,
    read_notes,
    seconds_since,
)
from dpin.cli.swarm import make_homes
from dpin.client.client import Client
from dpin.node.home import Home
from dpin.node.status import NodeView

GUESSED_RATE: Final = 1_000  # payments a second, until it is known better
SPARE: Final = 1.25  # the first payments are slower: so that it lasts as long as it should
OPEN_MAX: Final = 4_000  # payments under way when paying eagerly
OPEN_LARGE: Final = 600  # of sixteen transfers
TRANSFERS: Final = 16
CORES: Final = 2
RETURN_SECONDS: Final = 120.0
STEADY_GOAL: Final = "200 and 600 ms at 500 tx/s"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    warm: int  # payments that show about how fast it goes
    seconds: float  # of sustained load
    steady_rate: int
    steady_seconds: int
    large: int  # payments of sixteen transfers
    hose_seconds: int  # of simulated time
    missed: int  # payments while one validator is away
    simulated: int
    unread: float  # seconds in which four processes order what nobody reads


FULL: Final = Sizes(4_000, 60.0, 500, 10, 2_000, 4, 100_000, 400, ordered.FULL_SECONDS)
SHORT: Final = Sizes(400, 1.0, 100, 2, 40, 1, 600, 60, ordered.SHORT_SECONDS)

Row = tuple[str, str, str]  # what, figure, goal


@dataclass(frozen=True, slots=True)
class Found:
    """What was sent to a network, and what its validators showed at the end."""

    trial: Trial
    sent: dict[bytes, int]
    views: Sequence[NodeView]


@dataclass(frozen=True, slots=True)
class Setup:
    """Where and how networks are made for one run of this program."""

    folder: Path
    made: Path  # homes that no node has run in
    profile: Path | None

    @contextmanager
    def nodes(self, name: str) -> Iterator[list[Running]]:
        """Four validators of a network of their own, that begins like the others."""
        folder = self.folder / name
        make_homes(self.made, VALIDATORS)  # Their hash chains take a while: once is enough.
        shutil.copytree(self.made, folder)
        with network(folder, self.words) as nodes:
            yield nodes

    def words(self, home: Home) -> list[str]:
        """The command of one validator."""
        words = [sys.executable, str(WATCHED), str(home.root), str(home.root / "notes")]
        if self.profile is None:
            return words
        return [
            *words,
            "--profile",
            str(self.profile / f"{home.root.parent.name}-{home.root.name}"),
        ]


def notes_of(nodes: Sequence[Running]) -> list[Notes]:
    """What each validator that was stopped in peace has written."""
    return [read_notes(node.home.root / "notes") for node in nodes]


# --- signatures checked, all four ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Whole:
    """What four validators do; what three do is compared with it."""

    rows: list[Row]
    rate: float
    p99: float


def whole(setup: Setup, sizes: Sizes) -> Whole:
    """Steady, sustained and large payments."""
    before = load()
    with setup.nodes("whole") as nodes:
        found = trio.run(_whole, nodes, sizes)
    notes = notes_of(nodes)
    check(found.trial, notes, found.views)
    _, steady, _, sustained, large = found.trial.phases[:5]
    rate = sustained.rate(found.sent, notes)
    steady_waits = halves(steady.latencies(found.sent, notes))
    waits = halves(sustained.latencies(found.sent, notes))
    operations = TRANSFERS * large.rate(found.sent, notes)
    rows = [
        ("load before", before, ""),
        (
            f"transfers a second, for {len(sustained.payments) / rate:.0f} s",
            f"{rate:,.0f}",
            "3,000 for 60 s",
        ),
        ("- CPU a transfer and validator", f"{sustained.cpu_micros():.0f} us", "90 us"),
        (f"- to applied, {OPEN_MAX:,} under way", both(waits), ""),
        (f"to applied elsewhere, {sizes.steady_rate} tx/s", both(steady_waits), STEADY_GOAL),
        ("- CPU a transfer and validator", f"{steady.cpu_micros():.0f} us", ""),
        (f"operations a second, {TRANSFERS} a payment", f"{operations:,.0f}", "12,000"),
        ("- CPU an operation and validator", f"{large.cpu_micros() / TRANSFERS:.0f} us", ""),
    ]
    return Whole(rows, rate, steady_waits[1])


def both(waits: tuple[float, float]) -> str:
    """Median and 99th percentile."""
    return f"p50 {waits[0]:.0f}, p99 {waits[1]:.0f} ms"


async def _whole(nodes: Sequence[Running], sizes: Sizes) -> Found:
    with Lookout(nodes) as lookout:
        async with connected([view.addresses[0] for view in lookout.views]) as payer:
            trial = Trial(nodes, lookout, payer)
            await trial.grants()
            await trial.steadily(sizes.steady_rate * sizes.steady_seconds, sizes.steady_rate)
            began = monotonic_ns()
            warm = await trial.eagerly(sizes.warm, OPEN_MAX)
            rate = SPARE * len(warm.payments) / seconds_since(began)
            await trial.eagerly(max(sizes.warm, round(rate * sizes.seconds)), OPEN_MAX)
            await trial.eagerly(sizes.large, OPEN_LARGE, TRANSFERS)
            return Found(trial, payer.sent, await trial.agree())


# --- one of four is away, and comes back ----------------------------------------------------------


@dataclass(slots=True)
class Away:
    """What happened without the last validator, and how long it took to come back."""

    found: Found
    seconds: float


def away(setup: Setup, sizes: Sizes, base: Whole | None) -> list[Row]:
    """`kill -9` of one; the others go on; then it starts again."""
    with setup.nodes("away") as nodes:
        happened = trio.run(_away, setup, nodes, sizes)
    notes, found = notes_of(nodes[:-1]), happened.found
    check(found.trial, notes, found.views)
    steady, missed = found.trial.phases[1:3]
    rate, waits = missed.rate(found.sent, notes), halves(steady.latencies(found.sent, notes))
    against = f" = {100 * rate / base.rate:.0f} %" if base else ""
    longer = f" = {waits[1] / base.p99:.1f} times" if base else ""
    return [
        ("one of four killed: transfers a second", f"{rate:,.0f}{against}", "70 % of four"),
        (f"- to applied, {sizes.steady_rate} tx/s", both(waits) + longer, "p99 at most 2 times"),
        (f"back after {len(missed.payments):,} missed", f"{happened.seconds:.1f} s", "20 s"),
    ]


async def _away(setup: Setup, nodes: list[Running], sizes: Sizes) -> Away:
    with Lookout(nodes) as all_four:
        addresses = [view.addresses[0] for view in all_four.views]
        async with connected(addresses) as payer:
            trial = Trial(nodes, all_four, payer)
            await trial.grants()
            nodes[-1].process.send_signal(signal.SIGKILL)
            nodes[-1].process.wait()
            with Lookout(nodes[:-1]) as three:
                trial.follow(nodes[:-1], three)
                await trial.steadily(sizes.steady_rate * sizes.steady_seconds, sizes.steady_rate)
                await trial.eagerly(sizes.missed, OPEN_MAX)
                height = max(view.ledger.height for view in three.views)
                began = monotonic_ns()
                nodes[-1] = start(nodes[-1].home, setup.words)
                seconds = await _caught_up(nodes[-1], height, began)
                await trial.agree()
            with Lookout(nodes) as again:
                await again.until("the state roots are equal", agreed)
                return Away(Found(trial, payer.sent, list(again.views)), seconds)


async def _caught_up(node: Running, height: int, began: int) -> float:
    """Seconds from the start of a process until it has all commits up to a height."""
    with Client(node.home) as client:
        while seconds_since(began) < RETURN_SECONDS:
            if client.node().ledger.height >= height:
                return seconds_since(began)
            await trio.sleep(LOOK_SECONDS)
    raise SystemExit(f"not back after {RETURN_SECONDS:.0f} s")


# --- all of it ------------------------------------------------------------------------------------


def simulated(sizes: Sizes) -> list[Row]:
    """Finality in message delays."""
    rows = []
    for members in (4, 7):
        waits = delays.measure(members, sizes.simulated)
        figure = f"p50 {quantile(waits, 0.5):.2f}, p99 {quantile(waits, 0.99):.2f}"
        rows.append((f"{members} validators, links of 100 ms: delays", figure, "p50 4.5"))
    return rows


def unread(folder: Path, sizes: Sizes) -> list[Row]:
    """Blocks of bytes that nobody reads, in four node processes."""
    before = load()
    return [("load before", before, ""), *ordered.rows(ordered.measure(folder, sizes.unread))]


def unread_here(sizes: Sizes) -> list[Row]:
    """Blocks of bytes that nobody reads, without processes."""
    micros = alone.measure(sizes.hose_seconds)
    rate = CORES * 1e6 / (micros * VALIDATORS)
    return [
        ("CPU a transaction and validator", f"{micros:.1f} us", ""),
        (f"that is, on {CORES} cores", f"{rate:,.0f} a second", ""),
    ]


ROWS: Final = ("whole", "ordered", "alone", "away", "simulated")


def main() -> None:
    """Start, measure, stop, check, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="a fraction, for tests")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS, help="some of the rows")
    parser.add_argument("--profile", type=Path, help="a folder for cProfile's figures")
    parser.add_argument(
        "--made", type=Path, help="a folder of homes to begin with, made if need be"
    )
    options = parser.parse_args()
    sizes = SHORT if options.short else FULL
    if options.profile:
        options.profile.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dpin-bench-") as name:
        setup = Setup(Path(name), options.made or Path(name) / "made", options.profile)
        base = whole(setup, sizes) if "whole" in options.only else None
        if base is not None:
            show("Four validators, signatures checked, on all four", base.rows)
        if "away" in options.only:
            show("One of four killed, and started again", away(setup, sizes, base))
        if "ordered" in options.only:
            show(ordered.TITLE, unread(Path(name) / "ordered", sizes))
    if "alone" in options.only:
        here = unread_here(sizes)
        show("Consensus alone: four machines in one process, no network, no disk", here)
    if "simulated" in options.only:
        show("Simulated: to applied, in message delays", simulated(sizes))


if __name__ == "__main__":
    main()
