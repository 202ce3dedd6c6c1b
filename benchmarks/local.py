"""What the benchmarks share: local networks made from nothing, and tables that name the load."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

from dpin.base.codec import encode
from dpin.cli.process import spawn, wait_until_up
from dpin.cli.swarm import make_homes
from dpin.client.client import Client
from dpin.ledger.params import Params
from dpin.node.home import Home, read_network, write_network
from dpin.node.invite import Invite

WATCHED: Final = Path(__file__).with_name("watched_node.py")
VALIDATORS: Final = 4
EPOCH_MS: Final = 86_400_000
STOP_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.1

T = TypeVar("T")
Rules = Callable[[Params], Params]
Words = Callable[[Home], Sequence[str]]  # the command that runs the node of a home


class Running(NamedTuple):
    """One node of this benchmark."""

    home: Home
    process: "subprocess.Popen[bytes]"


def plain_words(home: Home) -> list[str]:
    """The node as `dpin node start` runs it: it provides."""
    log = ["--set", "log.format=json"]
    return [sys.executable, "-m", "dpin", "_node", "--home", str(home.root), *log]


def lengthen_epochs(home: Home, rules: Rules) -> None:
    """Let the network's first epoch outlast any benchmark: transactions signed before hold on."""
    genesis = read_network(home).genesis
    params = rules(msgspec.structs.replace(genesis.params, epoch_ms=EPOCH_MS))
    home.genesis.write_bytes(encode(msgspec.structs.replace(genesis, params=params)))


@contextmanager
def network(
    folder: Path, words: Words, rules: Rules = lambda params: params
) -> Iterator[list[Running]]:
    """Four validators on loopback, each connected to all others; stopped at the end."""
    homes = make_homes(folder, VALIDATORS)
    lengthen_epochs(homes[0], rules)
    nodes: list[Running] = []
    try:
        nodes.append(start(homes[0], words))
        with Client(homes[0]) as first:
            addresses = tuple(first.node().addresses)
        for home in homes[1:]:
            write_network(home, Invite(read_network(homes[0]).genesis, addresses))
            nodes.append(start(home, words))
        wait_for("all are connected", lambda: full_mesh(homes) or None)
        yield nodes
    finally:
        for node in nodes:
            stop(node)


def start(home: Home, words: Words) -> Running:
    """Start a node and wait until it answers."""
    process = spawn(home, words(home))
    wait_until_up(home, process)
    return Running(home, process)


def stop(node: Running) -> None:
    """End a node by its id, and wait until it has ended."""
    node.process.terminate()
    try:
        node.process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        node.process.kill()
        node.process.wait()


def full_mesh(homes: Sequence[Home]) -> bool:
    """Whether every validator sees the three others."""
    for home in homes:
        with Client(home) as node:
            if node.node().peers < VALIDATORS - 1:
                return False
    return True


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """Ask until there is an answer; ends the program when it takes too long."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(POLL_SECONDS)
    return found


def load() -> str:
    """Who else is busy on this machine: the load averages before a measurement."""
    one, five, _ = os.getloadavg()
    return f"{one:.2f} (1 min), {five:.2f} (5 min), {os.cpu_count()} cores"


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def show(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table: what, the figure and, where there is a third column, the goal."""
    table = Table(*("what", "figure", "goal")[: len(rows[0])], title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)
