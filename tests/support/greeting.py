"""Two nodes' worth of greeting over real libp2p: no ledger, no disk, clocks of our choice."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from dpin.base.ids import ChainId, NodeId
from dpin.base.units import Instant
from dpin.net.ask import PROTOCOL, Status
from dpin.net.host import Host, HostOptions, open_host
from dpin.node.clock import Clock
from dpin.node.health import Health
from dpin.node.inquirer import Around, Inquirer
from dpin.node.seen import Seen
from dpin.node.status import Check
from tests.support.hosts import seed

CHAIN = ChainId(b"one network".ljust(32, b"."))
OTHER_CHAIN = ChainId(b"another".ljust(32, b"."))
STATUS = Status(PROTOCOL, CHAIN, "town", "ada", "1.0", 7, 0, 5, b"r" * 32, 3, True, 9, 10)


@dataclass
class Greeter:
    """One host, its inquirer, and what it learnt."""

    host: Host
    inquirer: Inquirer
    seen: Seen
    chain: ChainId
    now: Callable[[], Instant]
    left: dict[NodeId, str] = field(default_factory=dict)

    def check(self, name: str, bootstrap: tuple[str, ...] = ()) -> Check:
        """One line of `dpin doctor`."""
        health = Health(self.chain, self.host, self.seen, self.now(), True, bootstrap)
        [check] = [check for check in health.checks() if check.name == name]
        return check


@asynccontextmanager
async def greeter(
    number: int, chain: ChainId = CHAIN, ahead_seconds: int = 0
) -> AsyncIterator[Greeter]:
    """A host that greets and answers; its clock is ahead."""
    clock = Clock()

    def now() -> Instant:
        return Instant(clock.now() + ahead_seconds * 1_000_000)

    left: dict[NodeId, str] = {}
    seen = Seen()
    async with open_host(HostOptions(seed(number))) as host, trio.open_nursery() as nursery:
        around = Around(chain, "1.0", host, seen, now, lambda: STATUS, left.__setitem__)
        inquirer = Inquirer(around, nursery)
        inquirer.serve()
        yield Greeter(host, inquirer, seen, chain, now, left)
        nursery.cancel_scope.cancel()
