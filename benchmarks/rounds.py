"""What one round of consensus costs a validator: CPU time by part, in node processes.

    python -m benchmarks.rounds [--short]

Four validators over libp2p on loopback as `dpin node start` runs them, under rules by which they
make a round each 50 ms although nothing happens: no transactions, so all that is measured is what
a round costs whatever is in it. Two networks run, one after the other. In the first CPU time is
read from the system, without a profiler; in the second one validator runs under cProfile, which
says how that time divides; its own time makes everything look slower, so only shares are taken.
"""

import argparse
import pstats
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import psutil

from benchmarks.local import VALIDATORS, WATCHED, Running, load, network, plain_words, show
from dpin.cli.swarm import make_homes
from dpin.client.client import Client
from dpin.ledger.params import Params
from dpin.node.home import Home
from dpin.sim.ledgers import short_table

GOAL: Final = "2 ms"
ROUND_MS: Final = 50
SETTLE_SECONDS: Final = 8.0
PARTS: Final = (  # the first that a path holds
    ("signatures", ("nacl", "_sodium")),
    ("MessagePack", ("msgspec", "dpin/base/codec")),
    ("consensus", ("dpin/ledger",)),
    ("node: loop and machines", ("dpin/node", "dpin/market", "dpin/verify", "dpin/base")),
    ("log", ("dpin/storage", "fdatasync", "posix.write")),
    ("own network code", ("dpin/net",)),
    ("libp2p", ("libp2p", "noise", "cryptography", "multiaddr", "chacha", "ChaCha")),
    ("trio", ("trio", "outcome", "greenlet", "select.epoll", "anyio", "sniffio")),
    ("sockets", ("socket",)),
    ("logging", ("structlog", "logging")),
)


class Sizes(NamedTuple):
    """How long."""

    seconds: float


FULL: Final = Sizes(30.0)
SHORT: Final = Sizes(3.0)


class Cost(NamedTuple):
    """What was measured of one validator."""

    cpu_ms: float
    rounds: int

    @property
    def each(self) -> float:
        """Milliseconds of CPU a round."""
        return self.cpu_ms / self.rounds


def with_short_chains(folder: Path) -> None:
    """Homes whose chains of reveals have 8,192 real rounds: making all of them takes long."""
    for number in range(1, VALIDATORS + 1):
        home = folder / f"node-{number}"
        home.mkdir(mode=0o700, parents=True)
        (home / "beacon.table").write_bytes(short_table(number.to_bytes(32)))


def hurried(params: Params) -> Params:
    """Rounds as fast as they may be, whatever there is to do."""
    consensus = msgspec.structs.replace(params.consensus, idle_round_ms=ROUND_MS)
    return msgspec.structs.replace(params, consensus=consensus)


def round_of(node: Running) -> int:
    """The round that a node is in."""
    with Client(node.home) as client:
        return client.node().ledger.round


def cpu_ms(node: Running) -> float:
    """CPU time of a node process so far, its children apart."""
    times = psutil.Process(node.process.pid).cpu_times()
    return 1_000 * (times.user + times.system)


def costs(nodes: Sequence[Running], seconds: float) -> list[Cost]:
    """What each spends over some seconds in which nothing else happens."""
    time.sleep(SETTLE_SECONDS)
    rounds, before = [round_of(node) for node in nodes], [cpu_ms(node) for node in nodes]
    time.sleep(seconds)
    after, done = [cpu_ms(node) for node in nodes], [round_of(node) for node in nodes]
    return [
        Cost(later - earlier, end - begin)
        for earlier, later, begin, end in zip(before, after, rounds, done, strict=True)
    ]


def part_of(path: str, name: str) -> str:
    """Which part of a node a function belongs to."""
    place = f"{path} {name}"
    for part, marks in PARTS:
        if any(mark in place for mark in marks):
            return part
    return "built-in functions, and the rest"


def shares(profile: Path) -> dict[str, float]:
    """The share of each part in the time that one process was busy; waiting is left out."""
    spent: dict[str, float] = defaultdict(float)
    stats = pstats.Stats(str(profile))
    for (path, _, name), entry in stats.stats.items():  # type: ignore[attr-defined]
        if "epoll" not in name and "acquire" not in name:
            spent[part_of(path, name)] += entry[2]
    whole = sum(spent.values())
    return {part: spent[part] / whole for part in sorted(spent, key=lambda it: -spent[it])}


def main() -> None:
    """Measure, divide, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="half a minute, for tests")
    sizes = SHORT if parser.parse_args().short else FULL
    rows: list[tuple[str, ...]] = [("load before", load(), "")]
    with tempfile.TemporaryDirectory(prefix="dpin-bench-") as temporary:
        folder = Path(temporary)
        with_short_chains(folder / "made")
        make_homes(folder / "made", VALIDATORS)
        for name in ("plain", "profiled"):
            shutil.copytree(folder / "made", folder / name)
        with network(folder / "plain", plain_words, hurried) as nodes:
            measured = costs(nodes, sizes.seconds)
        each = sorted(cost.each for cost in measured)
        if min(cost.rounds for cost in measured) < sizes.seconds:
            raise SystemExit("the network made less than a round a second")
        middle = (each[1] + each[2]) / 2
        rows.append(("rounds a second", f"{measured[0].rounds / sizes.seconds:.1f}", ""))
        spread = f"{middle:.2f} ms ({each[0]:.2f} to {each[-1]:.2f})"
        rows.append(("CPU a round and validator", spread, GOAL))

        def words(home: Home) -> list[str]:
            watched = ["--profile", str(folder / f"{home.root.name}.profile")]
            plain = plain_words(home)[:1]
            return [*plain, str(WATCHED), str(home.root), str(home.root / "notes"), *watched]

        with network(folder / "profiled", words, hurried) as nodes:
            costs(nodes, sizes.seconds)
        divided = shares(folder / f"{nodes[-1].home.root.name}.profile")
        rows += [(f"- {part}", f"{middle * it:.2f} ms", "") for part, it in divided.items()]
    show("One round of consensus, empty, four validators", rows)


if __name__ == "__main__":
    main()
