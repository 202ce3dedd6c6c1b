"""Real nodes on loopback for the process tests: one small network, and what is asked of it."""

import json
import os
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Final

from dpin.base.codec import decode
from dpin.base.crypto import digest
from dpin.base.ids import Digest
from dpin.cli import app as cli
from dpin.client.client import Client
from dpin.ledger.annals import FOREIGN, OWN, Record
from dpin.ledger.blocks import Vertex, read_block
from dpin.ledger.money import MAX_SUPPLY
from dpin.node.home import Home
from dpin.node.ownrecords import Owner
from dpin.node.status import JobDetail, NodeView
from dpin.sim.ledgers import short_table
from dpin.storage.frames import scan
from scripts.demo_network import DPIN, DemoNode, found_network, make_nodes, wait_for

STRIDES: Final = 64  # of a node's hash chain that are real
PATIENCE_SECONDS: Final = 180.0  # for a busy machine: every wait ends with what it waits for
VALIDATORS: Final = (  # name, price of a unit, takes jobs
    ("ada", "1", False),
    ("bea", "1.0", True),
    ("cyd", "1.1", True),
    ("dan", "1.2", True),
)
# What each provider alone has: skewed as far as can be.
OWN_WORDS: Final = ("the sea is wide and grey. ", "if x > 0: return x\n", "0123456789 9876543210 ")


@dataclass(frozen=True, slots=True)
class Town:
    """Four validators, each a process: ada gives work, the others take it.

    The last keeps every block since the network's beginning.
    """

    folder: Path
    nodes: tuple[DemoNode, ...]

    @property
    def ada(self) -> DemoNode:
        """Who submits."""
        return self.nodes[0]

    @property
    def bea(self) -> DemoNode:
        """The cheapest provider, who is given every fault."""
        return self.nodes[1]


@contextmanager
def town(folder: Path) -> Iterator[Town]:
    """A network of four, ready for jobs; all processes are ended afterwards."""
    with_short_chains(folder, [name for name, *_ in VALIDATORS])
    nodes = make_nodes(folder, VALIDATORS)
    for node, words in zip(nodes[1:], OWN_WORDS, strict=True):
        own = folder / f"{node.name}.txt"
        own.write_text(words * 400)
        node.environment["DPIN_JOBS__DATASETS"] = f"letters text - {own}"
        node.environment["DPIN_JOBS__CUSTOM_CODE"] = "sandboxed"
    nodes[-1].environment["DPIN_LEDGER__ARCHIVE"] = "true"
    try:
        found_network("town", nodes)
        for node in nodes:
            wait_for(f"{node.name} is ready", PATIENCE_SECONDS, partial(ready, node))
        yield Town(folder, tuple(nodes))
    finally:
        for node in nodes:
            node.stop()


def ready(node: DemoNode) -> NodeView | None:
    """The node once it sees all others and, if it takes jobs, has a device and a stake."""
    view = node.look()
    if view is None or view.peers < len(VALIDATORS) - 1:
        return None
    if node.provides and (view.device is None or view.money.stake == 0):
        return None
    return view


def wait_ready(node: DemoNode) -> NodeView:
    """Wait until a started node takes part again."""
    found: NodeView = wait_for(f"{node.name} is back", PATIENCE_SECONDS, lambda: ready(node))
    return found


def run(node: DemoNode, *words: str) -> "subprocess.CompletedProcess[str]":
    """One command on a node's home; the exit status is the caller's to judge.

    In this process, which has loaded the commands, but for those that become a node.
    """
    arguments = [*words, "--home", node.folder]
    if words[0] == "node":
        return subprocess.run(  # noqa: S603 (our own program)
            [*DPIN, *arguments],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as errors:
        status = cli.run(arguments)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), errors.getvalue())


def told(node: DemoNode, *words: str) -> dict[str, object]:
    """What a command that must succeed says as JSON."""
    done = run(node, *words, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def pay(sender: DemoNode, receiver: DemoNode, amount: str) -> int:
    """Send tokens; returns the commit that has them."""
    height = told(sender, "wallet", "send", receiver.node_id, amount)["height"]
    assert isinstance(height, int)
    return height


def agreed(nodes: Sequence[DemoNode]) -> list[NodeView]:
    """All views, once the ledger rests: one height; what else must be equal is for the test."""

    def look() -> list[NodeView] | None:
        views = [view for view in (node.look() for node in nodes) if view is not None]
        heights = {view.ledger.height for view in views}
        roots = {view.ledger.root_height for view in views}
        whole = len(views) == len(nodes) and len(heights) == len(roots) == 1
        return views if whole and all(view.ledger.pending == 0 for view in views) else None

    found: list[NodeView] = wait_for("all nodes are at one height", PATIENCE_SECONDS, look)
    return found


def assert_conserved(view: NodeView) -> None:
    """The five places of money add up to the supply."""
    ledger = view.ledger
    pools = (ledger.treasury, ledger.reserve)
    held = (ledger.in_accounts, ledger.in_bonds, ledger.in_escrow, *pools)
    assert sum(held) == MAX_SUPPLY
    assert min(held) >= 0


def segment(node: DemoNode) -> Path:
    """The segment of a node's log that is current."""
    return max(node.home.ledger_log.glob("*.log"))


def records(node: DemoNode) -> list[Record]:
    """What a node's log holds now of the ledger."""
    entries = scan(segment(node).read_bytes()).records
    owned = [entry.body for entry in entries if entry.body[0] == Owner.LEDGER]
    return [decode(Record, body[1:]) for body in owned]


def own_round(node: DemoNode) -> int:
    """The newest round that a validator has signed, as its own log says."""
    return max(read_block(record.body).round for record in records(node) if record.kind == OWN)


def archived(home: Home) -> list[tuple[int, Vertex]]:
    """Every block in all segments of a log that keeps them, with the kind of its record."""
    found: list[tuple[int, Vertex]] = []
    for path in sorted(home.ledger_log.glob("*.log")):
        for entry in scan(path.read_bytes()).records:
            if entry.body[0] == Owner.LEDGER:
                record = decode(Record, entry.body[1:])
                if record.kind in {OWN, FOREIGN}:
                    found.append((record.kind, read_block(record.body)))
    return found


@contextmanager
def stopped(*nodes: DemoNode) -> Iterator[None]:
    """Processes that do nothing for a while, and do not know it."""
    pids = [node.process.pid for node in nodes if node.process is not None]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def signed(nodes: Sequence[DemoNode]) -> dict[tuple[int, int, int], set[Digest]]:
    """Every block that any log holds: its digests by epoch, author and round."""
    found: dict[tuple[int, int, int], set[Digest]] = defaultdict(set)
    for node in nodes:
        for record in records(node):
            if record.kind not in {OWN, FOREIGN}:
                continue
            vertex = read_block(record.body)
            found[vertex.block.header.epoch, vertex.author, vertex.round].add(vertex.digest)
    return found


def assert_signed_once(nodes: Sequence[DemoNode]) -> None:
    """No author has two blocks of one round, in all logs together."""
    twice = [place for place, digests in signed(nodes).items() if len(digests) > 1]
    assert not twice


def ended(node: DemoNode, job: str) -> JobDetail:
    """The job, once it has ended."""

    def look() -> JobDetail | None:
        with Client(node.home) as client:
            detail = client.job(job)
        return detail if detail.job.state in {"done", "failed", "cancelled"} else None

    found: JobDetail = wait_for(f"{job} ends", 3 * PATIENCE_SECONDS, look)
    return found


def outcomes(detail: JobDetail) -> Counter[tuple[str, str]]:
    """How often a unit ended how, with which reason; nobody may be convicted.

    Honest nodes may be late on a busy machine, which earns them nothing.
    """
    units = [unit for lease in detail.leases for unit in lease.units]
    found = Counter((unit.state, unit.reason) for unit in units)
    assert {end for end in found if end[0] != "paid"} <= {("lapsed", "not-committed")}, found
    return found


def with_short_chains(folder: Path, names: Sequence[str]) -> None:
    """Have these homes begin with chains of reveals of which 131,072 rounds are real: hours.

    `dpin init` makes a chain of four million hashes where none is there, which takes seconds.
    """
    for name in names:
        home = folder / name
        home.mkdir(mode=0o700, parents=True)
        (home / "beacon.table").write_bytes(
            short_table(digest("test/chain", name.encode()), STRIDES)
        )
