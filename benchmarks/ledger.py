"""The ledger on four local node processes: throughput, time to finality, CPU per transaction.

    python -m benchmarks.ledger [--short] [--profile FOLDER]

Four validators as `dpin node start` runs them: libp2p over loopback, signatures checked, the log
synced before a block is sent. A fifth process pays. When a transfer counts as applied is noted in
the validators (benchmarks/watched_node.py). Everything is checked at the end: each transfer applied
on every validator, equal state roots, the supply conserved. It takes about a minute and a half.
"""

import argparse
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Final, Self

import psutil
import trio

from benchmarks.local import VALIDATORS, WATCHED, Running, load, network, quantile, show
from benchmarks.payer import Payer, Payment, Purse, connected
from dpin.base.crypto import SigningKey
from dpin.client.client import Client
from dpin.ledger.genesis import chain_id
from dpin.ledger.money import MAX_SUPPLY
from dpin.node.home import Home, read_key, read_network
from dpin.node.status import NodeView

GRANT_RATE: Final = 400  # transfers a second
STEADY_RATE: Final = 100
OPEN_MAX: Final = 3_000  # transfers under way when paying eagerly
SETTLE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.1
NANOS: Final = 1_000_000_000

Pay = Callable[[Sequence[Payment]], Awaitable[None]]
Notes = list[dict[bytes, int]]  # by validator: transaction id -> when it was applied, in ns


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many transfers are measured."""

    steady: int
    eager: int


FULL: Final = Sizes(steady=1_500, eager=36_000)
SHORT: Final = Sizes(steady=200, eager=1_000)


@dataclass(slots=True)
class Phase:
    """One measurement: its transfers, and the CPU time of each validator."""

    payments: Sequence[Payment]
    load: str = field(default_factory=load)
    cpu_seconds: list[float] = field(default_factory=list)


class Lookout:
    """Asks the validators again and again how far they are; `views` is the newest answer."""

    def __init__(self, nodes: Sequence[Running]) -> None:
        self._stack = ExitStack()
        self._clients = [self._stack.enter_context(Client(node.home)) for node in nodes]
        self._stop = Event()
        self._thread = Thread(target=self._look, daemon=True)
        self.views = [client.node() for client in self._clients]

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join()
        self._stack.close()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.views = [client.node() for client in self._clients]

    @property
    def applied(self) -> int:
        """Transactions applied by the validator that is furthest behind."""
        return min(view.ledger.transactions for view in self.views)

    async def until(self, what: str, holds: Callable[[Sequence[NodeView]], bool]) -> None:
        """Wait; ends the program when it takes too long."""
        for _ in range(int(SETTLE_SECONDS / LOOK_SECONDS)):
            if holds(self.views):
                return
            await trio.sleep(LOOK_SECONDS)
        raise SystemExit(f"waited {SETTLE_SECONDS:.0f} s in vain: {what}")


class Trial:
    """The measurements on one network."""

    def __init__(self, nodes: Sequence[Running], lookout: Lookout, payer: Payer) -> None:
        self._nodes = nodes
        self._lookout = lookout
        self._payer = payer
        self._purse = Purse(chain_id(read_network(nodes[0].home).genesis))

    async def measure(self, sizes: Sizes) -> list[Phase]:
        """Fund the accounts; pay steadily, then eagerly; agree on a root over all of it."""
        founders = [SigningKey(read_key(node.home)) for node in self._nodes]
        await self._phase(self._purse.grants(founders), self._granting)
        steady = await self._phase(self._payments(sizes.steady), self._steadily)
        eager = await self._phase(self._payments(sizes.eager), self._eagerly)
        await self._agree()
        return [steady, eager]

    def _payments(self, count: int) -> list[Payment]:
        return self._purse.payments(count, VALIDATORS)

    async def _granting(self, payments: Sequence[Payment]) -> None:
        await self._payer.steadily(payments, GRANT_RATE)

    async def _steadily(self, payments: Sequence[Payment]) -> None:
        await self._payer.steadily(payments, STEADY_RATE)

    async def _eagerly(self, payments: Sequence[Payment]) -> None:
        await self._payer.eagerly(payments, OPEN_MAX, lambda: self._lookout.applied)

    async def _phase(self, payments: Sequence[Payment], pay: Pay) -> Phase:
        """Send these, and wait until every validator has applied them."""
        phase, goal = Phase(payments), self._lookout.applied + len(payments)
        before = cpu(self._nodes)
        await pay(payments)
        await self._lookout.until("all is applied", lambda _: self._lookout.applied >= goal)
        phase.cpu_seconds = [b - a for a, b in zip(before, cpu(self._nodes), strict=True)]
        return phase

    async def _agree(self) -> None:
        """Go on, with single transfers, until a state root covers what was measured."""
        height = max(view.ledger.height for view in self._lookout.views)
        while min(view.ledger.root_height for view in self._lookout.views) < height:
            await self._payer.steadily(self._payments(1), STEADY_RATE)
            await trio.sleep(2 * LOOK_SECONDS)
        await self._lookout.until("the state roots are equal", agreed)


def agreed(views: Sequence[NodeView]) -> bool:
    """Whether all are equally far and have the same state."""
    return (
        len({(view.ledger.height, view.ledger.root, view.ledger.transactions) for view in views})
        == 1
    )


def cpu(nodes: Sequence[Running]) -> list[float]:
    """CPU seconds that each process has used."""
    times = [psutil.Process(node.process.pid).cpu_times() for node in nodes]
    return [each.user + each.system for each in times]


@dataclass(slots=True)
class Found:
    """What was measured, and what the validators showed at the end."""

    phases: list[Phase] = field(default_factory=list)
    sent: dict[bytes, int] = field(default_factory=dict)
    views: list[NodeView] = field(default_factory=list)


async def run(nodes: Sequence[Running], sizes: Sizes) -> Found:
    """All measurements on a running network."""
    found = Found()
    with Lookout(nodes) as lookout:
        addresses = [view.addresses[0] for view in lookout.views]
        async with connected(addresses) as payer:
            found.phases = await Trial(nodes, lookout, payer).measure(sizes)
            found.sent = {**payer.sent}
            found.views = lookout.views
    return found


def read_notes(path: Path) -> dict[bytes, int]:
    """When a validator applied each transaction."""
    at: dict[bytes, int] = {}
    for line in path.read_text().splitlines():
        time, *names = line.split()
        at.update((bytes.fromhex(name), int(time)) for name in names)
    return at


def check(found: Found, notes: Notes) -> None:
    """End the program unless everything was applied everywhere and the sum is conserved."""
    for at in notes:
        lost = [
            payment for phase in found.phases for payment in phase.payments if payment.id not in at
        ]
        if lost:
            raise SystemExit(f"{len(lost)} transfers were not applied")
    for view in found.views:
        ledger = view.ledger
        held = ledger.in_accounts + ledger.in_escrow + ledger.treasury + ledger.reserve
        if held != MAX_SUPPLY:
            raise SystemExit(f"{view.name} has {held} instead of {MAX_SUPPLY}")
    if not agreed(found.views):
        raise SystemExit("the state roots differ")


def latencies(phase: Phase, found: Found, notes: Notes, away: int) -> list[float]:
    """Milliseconds from sending to applied, at the `away`th validator after the one it went to."""
    waits = []
    for payment in phase.payments:
        applied = notes[(payment.validator + away) % VALIDATORS][payment.id]
        waits.append((applied - found.sent[payment.id]) / (NANOS / 1_000))
    return waits


def rate(phase: Phase, found: Found, notes: Notes) -> float:
    """Transfers a second, from the first one sent to the last one applied anywhere."""
    names = [payment.id for payment in phase.payments]
    began = min(found.sent[name] for name in names)
    ended = max(at[name] for at in notes for name in names)
    return len(names) * NANOS / (ended - began)


def halves(waits: Sequence[float]) -> str:
    """The median and the 99th percentile."""
    return f"p50 {quantile(waits, 0.5):.0f} ms, p99 {quantile(waits, 0.99):.0f} ms"


def report(found: Found, notes: Notes) -> None:
    """Print the tables."""
    for title, phase in zip(("100 tx/s", "as fast as applied"), found.phases, strict=True):
        count = len(phase.payments)
        each = [f"{1e6 * seconds / count:.0f}" for seconds in phase.cpu_seconds]
        rows = [
            ("transfers, all applied on all four", f"{count:,}"),
            ("throughput, first sent to last applied", f"{rate(phase, found, notes):,.0f} tx/s"),
            ("to applied, same validator", halves(latencies(phase, found, notes, 0))),
            ("to applied, another validator", halves(latencies(phase, found, notes, 1))),
            ("CPU per transfer, by validator", f"{', '.join(each)} us"),
            ("load before", phase.load),
        ]
        show(f"Ledger, four local processes: {title}", rows)
    ledger = found.views[0].ledger
    print(f"state root {ledger.root} at commit {ledger.root_height} on all four")  # noqa: T201


def main() -> None:
    """Start, measure, stop, check, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="a few seconds, for tests")
    parser.add_argument("--profile", type=Path, help="a folder for cProfile's figures")
    options = parser.parse_args()
    sizes = SHORT if options.short else FULL
    if options.profile:
        options.profile.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dpin-bench-") as name:
        folder = Path(name)

        def words(home: Home) -> list[str]:
            notes = str(home.root / "notes")
            profile = [str(options.profile / home.root.name)] if options.profile else []
            return [sys.executable, str(WATCHED), str(home.root), notes, *profile]

        with network(folder, words) as nodes:
            found = trio.run(run, nodes, sizes)
        notes = [read_notes(node.home.root / "notes") for node in nodes]
    check(found, notes)
    report(found, notes)


if __name__ == "__main__":
    main()
