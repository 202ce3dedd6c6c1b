"""The demonstration's nodes: real processes on loopback, started, killed and asked by pid."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.home import Home, locate
from dpin.node.status import NodeView

POLL_SECONDS: Final = 0.2
DPIN: Final = (sys.executable, "-m", "dpin")
T = TypeVar("T")


class DemoError(Exception):
    """The demonstration cannot go on."""


def dpin(*words: str) -> str:
    """Run one command as a user would type it; returns what it prints."""
    done = subprocess.run([*DPIN, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"dpin {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def wait_for(what: str, seconds: float, look: Callable[[], T | None]) -> T:
    """Ask until there is an answer; raises DemoError when it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise DemoError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(POLL_SECONDS)


@dataclass(slots=True)
class DemoNode:
    """One node: its home, and its process while it runs."""

    name: str
    home: Home
    price: str
    provides: bool = True
    node_id: str = ""
    card: str = ""
    environment: dict[str, str] = field(default_factory=dict)  # beside what this process has
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def folder(self) -> str:
        """For `--home`."""
        return str(self.home.root)

    def start(self, fault: str = "") -> None:
        """Run `dpin node start` as a process of its own, and wait until it answers."""
        words = ["node", "start", "--home", self.folder, "--log-format", "json"]
        words += [] if self.provides else ["--no-provide"]
        words += ["--fault", fault] if fault else []
        log = (self.home.root / "node.log").open("ab")
        environment = {**os.environ, "DPIN_JOBS__MIN_PRICE": self.price, **self.environment}
        self.process = subprocess.Popen(
            [*DPIN, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        log.close()
        wait_for(f"{self.name} answers", 180, self.look)  # ends as soon as it holds

    def look(self) -> NodeView | None:
        """What the node shows, or None while it does not answer."""
        if self.process is None or self.process.poll() is not None:
            return None
        try:
            with Client(self.home) as node:
                return node.node()
        except ClientError:
            return None

    def kill(self) -> None:
        """As a power cut would: SIGKILL, by pid."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End it cleanly."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def make_nodes(folder: Path, plan: Sequence[tuple[str, str, bool]]) -> list[DemoNode]:
    """Homes and keys, all at once: `dpin init` computes a chain of four million hashes."""
    nodes = [
        DemoNode(name, locate(str(folder / name), {}), price, provides)
        for name, price, provides in plan
    ]
    running = [
        subprocess.Popen(
            [*DPIN, "init", "--yes", "--json", "--name", node.name, "--home", node.folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in nodes
    ]
    for node, process in zip(nodes, running, strict=True):
        out, error = process.communicate()
        if process.returncode:
            raise DemoError(f"dpin init: {error}")
        told = json.loads(out)
        node.node_id, node.card = told["node_id"], told["card"]
    return nodes


def found_network(name: str, validators: Sequence[DemoNode]) -> None:
    """The first node founds the network and starts; the others join by its invite and start."""
    first, others = validators[0], validators[1:]
    cards = [word for node in others for word in ("--validator", node.card)]
    dpin("net", "create", name, "--home", first.folder, *cards)
    first.start()
    invite = invite_to(first)
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(join, invite=invite), others))


def invite_to(host: DemoNode) -> str:
    """An invite to the network of a node that runs."""
    invite: str = json.loads(dpin("net", "invite", "--home", host.folder, "--json"))["invite"]
    return invite


def accept(node: DemoNode, invite: str) -> None:
    """`dpin net join` on another machine; the node does not run yet."""
    dpin("net", "join", invite, "--home", node.folder)


def join(node: DemoNode, invite: str) -> None:
    """`dpin net join` and `dpin node start` on another machine."""
    accept(node, invite)
    node.start()


def invite_with(host: DemoNode, node: DemoNode, grant: str) -> str:
    """An invite for a newcomer, with tokens to stake."""
    words = ["net", "invite", "--home", host.folder, "--json", "--grant", grant, "--to"]
    invite: str = json.loads(dpin(*words, node.node_id))["invite"]
    return invite
