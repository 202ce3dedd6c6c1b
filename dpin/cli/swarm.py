"""Several real nodes on loopback, made from nothing and stopped together."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from dpin.base.errors import Misuse, Unavailable
from dpin.cli.link import show_values
from dpin.cli.options import say, show, table
from dpin.cli.process import command, spawn, wait_until_up
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.ledger.genesis import COMMITTEE_MIN
from dpin.node.home import Home, locate, read_network, write_network
from dpin.node.invite import Invite
from dpin.node.lastwords import last_error
from dpin.node.status import NodeView
from dpin.node.words import counted

NETWORK: Final = "swarm"
ONLINE_SECONDS: Final = 60.0
Process = subprocess.Popen[bytes]

_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.2


def run_swarm(count: int, folder: Path | None, *, json: bool) -> None:
    """Make, start and show `count` nodes; stop them at Ctrl-C."""
    # Who is ended while the nodes start ends those that have.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpin-swarm-")))
        homes = make_homes(folder.resolve(), count)
        say(f"starting {counted(count, 'node')}, the first one first")
        processes = stack.enter_context(started(homes))
        say("waiting until they have found each other, and what they compute on")
        nodes = wait_until_online(homes)
        with suppress(KeyboardInterrupt):
            if json:
                show_values("swarm", {"nodes": nodes, "homes": [str(home.root) for home in homes]})
            else:
                show(swarm_text(homes, nodes))
            if count >= COMMITTEE_MIN:
                say(f"try:  dpin submit examples/job.yaml --home {homes[0].root}")
            else:
                say(
                    f"only the first has tokens: for jobs send some, or start {COMMITTEE_MIN} nodes"
                )
            say("Ctrl-C stops all of them")
            _watch(processes)
        say("stopping")


def make_homes(folder: Path, count: int) -> list[Home]:
    """Homes of one network, made where they are not there yet."""
    if folder.exists() and not folder.is_dir():
        raise Misuse(f"{folder} is no folder", fix="name another: --folder DIR")
    homes = [locate(str(folder / f"node-{number}"), {}) for number in range(1, count + 1)]
    fresh = [home for home in homes if not home.beacon.exists()]
    if fresh:
        say(f"making {counted(len(fresh), 'node')} in {folder}")
    cards = _each(homes, lambda home: ["init", "--yes", "--home", str(home.root)])
    if not homes[0].genesis.exists():
        validators = cards[1:] if count >= COMMITTEE_MIN else []
        words = ["net", "create", NETWORK, "--home", str(homes[0].root)]
        _each(homes[:1], lambda _: [*words, *(f"--validator={card}" for card in validators)])
    return homes


@contextmanager
def started(homes: Sequence[Home]) -> Iterator[list[Process]]:
    """All the nodes as processes; the first one is whom the others dial."""
    processes: list[Process] = []
    try:
        processes.append(_start(homes[0]))
        wait_until_up(homes[0], processes[0])
        with Client(homes[0]) as node:
            addresses = tuple(node.node().addresses)
        for home in homes[1:]:
            write_network(home, Invite(read_network(homes[0]).genesis, addresses))
            processes.append(_start(home))
        for home, process in zip(homes, processes, strict=True):
            wait_until_up(home, process)
        yield processes
    finally:
        _stop(processes)


def _start(home: Home) -> Process:
    return spawn(home, command(str(home.root), {"log.format": "json"}, ""))


def _stop(processes: Sequence[Process]) -> None:
    """End these processes, by their ids and no other way."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_online(homes: Sequence[Home]) -> list[NodeView]:
    """The nodes once each of them sees another and has looked for its devices, which bids wait for.

    Raises Unavailable when it takes too long.
    """
    deadline = time.monotonic() + ONLINE_SECONDS
    while True:
        found = [_view(home) for home in homes]
        nodes = [node for node, _ in found]
        late = time.monotonic() > deadline
        met = all(node.state == "online" or len(homes) == 1 for node in nodes)
        if met and (late or not any(looking for _, looking in found)):
            return nodes
        if late:
            states = ", ".join(f"{node.name} {node.state}" for node in nodes)
            raise Unavailable(f"the nodes have not found each other: {states}")
        time.sleep(_POLL_SECONDS)


def _view(home: Home) -> tuple[NodeView, bool]:
    """The node, and whether it has yet to find out what it computes on."""
    with Client(home) as node:
        view = node.node()
        if view.device is not None or not view.provides:
            return view, False
        return view, all(check.verdict == "ok" for check in node.checks() if check.name == "device")


def swarm_text(homes: Sequence[Home], nodes: Sequence[NodeView]) -> str:
    """One line a node."""
    heads = ("NODE", "NAME", "STATE", "PEERS", "ROLE", "API", "HOME")
    rows = [
        (
            node.node_id[:8],
            node.name,
            node.state,
            str(node.peers),
            "validator" if node.ledger.validator else "member",
            node.api,
            str(home.root),
        )
        for home, node in zip(homes, nodes, strict=True)
    ]
    return table(heads, rows)


def _watch(processes: Sequence[Process]) -> None:
    """Say when a node ends by itself; returns when all have."""
    running = dict(enumerate(processes, start=1))
    while running:
        gone = [number for number, process in running.items() if process.poll() is not None]
        for number in gone:
            say(f"node-{number} has ended with status {running.pop(number).returncode}")
        time.sleep(_POLL_SECONDS)


def _unmade(home: Home, error: str) -> Exception:
    """What the command that should make a node ended with, with the one fix that it named."""
    ended, what = last_error(error.splitlines()), f"{home.root} could not be made"
    if ended is None:
        return Unavailable(f"{what}: {error}")
    return ClientError(ended.code, f"{what}: {ended.message}", ended.fix)


def _each(homes: Sequence[Home], words: Callable[[Home], list[str]]) -> list[str]:
    """Run one command per home, all at once; their outputs."""
    processes = [
        subprocess.Popen(  # noqa: S603  # This very Python, with words of our own.
            [sys.executable, "-m", "dpin", *words(home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for home in homes
    ]
    outputs = [(*process.communicate(), process.returncode) for process in processes]
    for home, (_, error, code) in zip(homes, outputs, strict=True):
        if code:
            raise _unmade(home, error.strip())
    return [output.strip() for output, _, _ in outputs]
