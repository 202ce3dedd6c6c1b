"""Four validators under load: what is sent, how it is followed, and what must hold at the end."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from time import monotonic_ns
from typing import Final, Self

import psutil
import trio

from benchmarks.local import VALIDATORS, Running, quantile
from benchmarks.payer import Payer, Payment, Purse
from dpin.base.crypto import SigningKey
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.ledger.genesis import chain_id
from dpin.ledger.money import MAX_SUPPLY
from dpin.node.home import read_key, read_network
from dpin.node.status import NodeView

GRANT_RATE: Final = 400  # a second
SETTLE_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.1
SELDOM_SECONDS: Final = 1.0
EAGER_SECONDS: Final = 0.25  # in which fewer are applied than are under way
NANOS: Final = 1_000_000_000


@dataclass(slots=True)
class Notes:
    """What one validator saw."""

    applied: dict[bytes, int] = field(default_factory=dict)  # id -> when, in ns
    sizes: list[tuple[int, int]] = field(default_factory=list)  # when, and how many, each commit
    balances: dict[bytes, int] = field(default_factory=dict)


def read_notes(path: Path) -> Notes:
    """What `watched_node` wrote."""
    notes = Notes()
    for line in path.read_text().splitlines():
        first, second, *rest = line.split()
        if not rest:
            notes.balances[bytes.fromhex(first)] = int(second)
            continue
        notes.sizes.append((int(first), int(rest[0])))
        notes.applied.update((bytes.fromhex(name), int(first)) for name in rest[1:])
    return notes


@dataclass(slots=True)
class Phase:
    """One measurement: its payments, and the CPU time of each validator."""

    payments: Sequence[Payment]
    cpu_seconds: list[float] = field(default_factory=list)
    operations: int = 1  # in each payment

    def cpu_micros(self) -> float:
        """CPU time a payment and validator."""
        return 1e6 * sum(self.cpu_seconds) / len(self.cpu_seconds) / len(self.payments)

    def rate(self, sent: dict[bytes, int], notes: Sequence[Notes]) -> float:
        """Payments a second, from the first one sent to the last one applied anywhere."""
        names = [payment.id for payment in self.payments]
        began = min(sent[name] for name in names)
        return (
            len(names) * NANOS / (max(one.applied[name] for one in notes for name in names) - began)
        )

    def latencies(self, sent: dict[bytes, int], notes: Sequence[Notes]) -> list[float]:
        """Milliseconds from sending to applied, at the validator after the one it went to."""
        return [
            (notes[(payment.validator + 1) % len(notes)].applied[payment.id] - sent[payment.id])
            / (NANOS / 1_000)
            for payment in self.payments
        ]


class Lookout:
    """Asks the validators again and again how far they are; `views` is the newest answer."""

    def __init__(self, nodes: Sequence[Running]) -> None:
        self._stack = ExitStack()
        self._clients = [self._stack.enter_context(Client(node.home)) for node in nodes]
        self._stop = Event()
        self.seconds = LOOK_SECONDS  # from one look to the next
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
        while not self._stop.wait(self.seconds):
            with suppress(ClientError):  # It answers late under load.
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
    """What is sent to one network, and followed by those of its validators that `nodes` names."""

    def __init__(self, nodes: Sequence[Running], lookout: Lookout, payer: Payer) -> None:
        self._nodes = nodes
        self._lookout = lookout
        self._payer = payer
        self.purse = Purse(chain_id(read_network(nodes[0].home).genesis))
        self.phases: list[Phase] = []

    def follow(self, nodes: Sequence[Running], lookout: Lookout) -> None:
        """From now on, only these."""
        self._nodes, self._lookout = nodes, lookout

    async def grants(self) -> None:
        """Fund the accounts."""
        founders = [SigningKey(read_key(node.home)) for node in self._nodes]
        await self._phase(Phase(self.purse.grants(founders)), GRANT_RATE)

    async def steadily(self, count: int, rate: int) -> Phase:
        """So many transfers, so many a second."""
        return await self._phase(Phase(self.purse.payments(count, len(self._nodes))), rate)

    async def eagerly(self, count: int, open_max: int, transfers: int = 1) -> Phase:
        """So many payments, as fast as they are applied."""
        payments = self.purse.payments(count, len(self._nodes), transfers)
        return await self._phase(Phase(payments, operations=transfers), open_max=open_max)

    async def _phase(self, phase: Phase, rate: int = 0, open_max: int = 0) -> Phase:
        """Send these, and wait until every validator has applied them."""
        goal = self._lookout.applied + len(phase.payments)
        before = cpu(self._nodes)
        # An answer costs a validator two milliseconds, which are none of the payments'.
        self._lookout.seconds = SELDOM_SECONDS if rate else EAGER_SECONDS
        if rate:
            await self._payer.steadily(phase.payments, rate)
        else:
            await self._payer.eagerly(phase.payments, open_max, lambda: self._lookout.applied)
        self._lookout.seconds = LOOK_SECONDS
        await self._lookout.until("all is applied", lambda _: self._lookout.applied >= goal)
        phase.cpu_seconds = [b - a for a, b in zip(before, cpu(self._nodes), strict=True)]
        self.phases.append(phase)
        return phase

    async def agree(self) -> list[NodeView]:
        """Go on, with single transfers, until a state root covers what was measured."""
        height = max(view.ledger.height for view in self._lookout.views)
        while min(view.ledger.root_height for view in self._lookout.views) < height:
            await self.steadily(1, GRANT_RATE)
            await trio.sleep(2 * LOOK_SECONDS)
        await self._lookout.until("the state roots are equal", agreed)
        return list(self._lookout.views)


def agreed(views: Sequence[NodeView]) -> bool:
    """Whether all have the same state root of the same commit."""
    return len({(view.ledger.root_height, view.ledger.root) for view in views}) == 1


def cpu(nodes: Sequence[Running]) -> list[float]:
    """CPU seconds that each process has used."""
    times = [psutil.Process(node.process.pid).cpu_times() for node in nodes]
    return [each.user + each.system for each in times]


def check(trial: Trial, notes: Sequence[Notes], views: Sequence[NodeView]) -> None:
    """End the program unless all was applied everywhere, and everybody has what is due to them."""
    for one in notes:
        lost = [it for phase in trial.phases for it in phase.payments if it.id not in one.applied]
        if lost:
            raise SystemExit(f"{len(lost)} payments were not applied")
        wrong = [it for it, free in trial.purse.expected().items() if one.balances.get(it) != free]
        if wrong:
            raise SystemExit(f"{len(wrong)} accounts have not what they should")
    for view in views:
        ledger = view.ledger
        pools = ledger.in_bonds + ledger.in_escrow + ledger.treasury + ledger.reserve
        if ledger.in_accounts + pools != MAX_SUPPLY:
            raise SystemExit(f"{view.name} has {ledger.in_accounts + pools}, not {MAX_SUPPLY}")
    if not agreed(views):
        raise SystemExit("the state roots differ")


def halves(waits: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    return quantile(waits, 0.5), quantile(waits, 0.99)


def seconds_since(start: int) -> float:
    """Of CLOCK_MONOTONIC."""
    return (monotonic_ns() - start) / NANOS


assert VALIDATORS >= 4, "three can go on without one"  # noqa: PLR2004
