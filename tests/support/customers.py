"""Customers of four real nodes, and what befalls these nodes meanwhile.

Each node's owner pays the others through its own node, one payment after the other, and reads its
balance. Nodes are cut off, stalled, stopped and killed; in the end all is healed, and `History` has
what everybody saw and what every log says.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Final

from typing_extensions import override

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import Digest
from dpin.base.machine import Tick
from dpin.base.units import TOKEN, Instant
from dpin.cli.archives import logged_records
from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.ledger.execute import Applied, Executor
from dpin.ledger.genesis import Genesis, read
from dpin.ledger.identity import Identity
from dpin.ledger.order import OrderedCommit
from dpin.ledger.replica import Replica
from dpin.ledger.transactions import SignedTransaction, Transfer, transaction_id
from dpin.node.control import TransferRequest
from dpin.node.status import Money, NodeView, PeerView
from scripts.demo_network import DemoNode, found_network, make_nodes, wait_for
from tests.support.bank import Entry, History, Look, Payment
from tests.support.detours import Detours
from tests.support.network import PATIENCE_SECONDS, with_short_chains
from tests.support.ports import free_ports

NAMES: Final = ("ada", "bea", "cyd", "dan")
AMOUNT_MAX: Final = 20_000 * TOKEN  # more than anybody has at first: some payments are refused
AMOUNT_USUAL: Final = 1_000


@dataclass
class Bank:
    """Four nodes with a detour between every two."""

    nodes: tuple[DemoNode, ...]
    detours: Detours
    chance: Random
    history: History
    stopped: list[DemoNode] = field(default_factory=list)
    _end: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def name(self, node_id: str) -> str:
        """Whose account that is."""
        return next(node.name for node in self.nodes if node.node_id == node_id)

    def open(self) -> None:
        """Let the customers come."""
        self._threads = [Thread(target=self._serve, args=(node,)) for node in self.nodes]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Heal all, and wait until the last customer has heard or given up."""
        self.heal()
        self._end.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a customer hears nothing, although all is healed"

    def _serve(self, node: DemoNode) -> None:
        """One customer: pays, and looks at its balance, until the bank closes."""
        chance = Random(node.name)  # noqa: S311  No secrets.
        number = 0
        while not self._end.is_set():
            number += 1
            with suppress(ClientError):
                self._pay(node, f"{node.name}-{number}", chance)
                self._look(node)
            time.sleep(0.02)

    def _pay(self, node: DemoNode, memo: str, chance: Random) -> None:
        receiver = chance.choice([one for one in self.nodes if one is not node])
        amount = chance.randrange(1, AMOUNT_USUAL if chance.randrange(8) else AMOUNT_MAX)
        begun = time.monotonic()
        asked = Payment(memo, node.name, receiver.name, amount, begun)
        text = f"{amount // TOKEN}.{amount % TOKEN:06}"
        request = TransferRequest(to=receiver.node_id, amount=text, memo=memo)
        try:
            with Client(node.home) as client:
                height = client.transfer(request).height
            asked = Payment(memo, node.name, receiver.name, amount, begun, time.monotonic(), height)
        finally:
            self.history.payments.append(asked)

    def _look(self, node: DemoNode) -> None:
        begun = time.monotonic()
        with Client(node.home) as client:
            view = client.node()
        self.history.looks.append(Look(node.name, begun, view.ledger.height, held(view.money)))

    # --- troubles ---

    def halves(self) -> None:
        """Two and two."""
        names = self._mixed()
        self.detours.cut(names[:2], names[2:])

    def isolate(self) -> None:
        """One hears nobody, and nobody is told."""
        names = self._mixed()
        self.detours.stall(names[:1], names[1:])

    def deafen(self) -> None:
        """One does not hear two of the others, which hear it."""
        one, near, far, _ = self._mixed()
        self.detours.deafen(near, one)
        self.detours.deafen(far, one)

    def freeze(self) -> None:
        """One process is stopped; its connections stay open."""
        node = self._running()
        assert node.process is not None
        os.kill(node.process.pid, signal.SIGSTOP)
        self.stopped.append(node)

    def kill(self) -> None:
        """One process is killed."""
        self._running().kill()

    def heal(self) -> None:
        """All connections are whole; whoever was stopped goes on, whoever was killed starts."""
        self.detours.heal()
        for node in self.stopped:
            assert node.process is not None
            os.kill(node.process.pid, signal.SIGCONT)
        self.stopped.clear()
        for node in self.nodes:
            if node.process is None:
                node.start()

    def _mixed(self) -> list[str]:
        return self.chance.sample(NAMES, len(NAMES))

    def _running(self) -> DemoNode:
        alive = [it for it in self.nodes if it.process is not None and it not in self.stopped]
        return self.chance.choice(alive)


TROUBLES: Final[Sequence[Callable[[Bank], None]]] = (
    Bank.halves,
    Bank.freeze,
    Bank.isolate,
    Bank.kill,
    Bank.deafen,
)


@contextmanager
def bank(folder: Path, seed: int) -> Iterator[Bank]:
    """Four validators that take no jobs; all processes are ended afterwards."""
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    with Detours(ports) as detours:
        with_short_chains(folder, NAMES)
        nodes = make_nodes(folder, [(name, "1", False) for name in NAMES])
        try:
            for node in nodes:
                # Its books are read from the log of all epochs.
                archived = {"DPIN_LEDGER__ARCHIVE": "true"}
                node.environment = detours.environment(node.name) | archived
            found_network("bank", nodes)
            opening = {node.name: held(meet(node).money) for node in nodes}
            yield Bank(tuple(nodes), detours, Random(seed), History(opening))  # noqa: S311
        finally:
            for node in nodes:
                if node.process is not None:
                    os.kill(node.process.pid, signal.SIGCONT)
                node.stop()


def held(purse: Money | PeerView) -> int:
    """What somebody has: nodes set a stake aside when they please."""
    return purse.free + purse.stake


def meet(node: DemoNode) -> NodeView:
    """A node, once it sees all others."""

    def look() -> NodeView | None:
        view = node.look()
        return view if view is not None and view.peers == len(NAMES) - 1 else None

    found: NodeView = wait_for(f"{node.name} sees the others", PATIENCE_SECONDS, look)
    return found


def settle(made: Bank) -> None:
    """Close the bank; what every node holds and what its log says goes into the history."""
    made.close()
    views = [meet(node) for node in made.nodes]
    goal = max(view.ledger.height for view in views)
    for node in made.nodes:
        wait_for(f"{node.name} has all", PATIENCE_SECONDS, partial(at_rest, node, goal))
        with Client(node.home) as client:
            peers = {made.name(peer.node_id): held(peer) for peer in client.peers()}
            made.history.closing[node.name] = peers | {node.name: held(client.node().money)}
    for node in made.nodes:
        node.stop()
        made.history.books[node.name] = book(made, node)


def at_rest(node: DemoNode, height: int) -> bool | None:
    """Whether a node has executed that commit and knows of nothing that waits."""
    view = node.look()
    return (view is not None and view.ledger.height >= height and not view.ledger.pending) or None


class Recorder(Executor):
    """An executor that keeps every commit and what came of it."""

    def __init__(self, genesis: Genesis) -> None:
        super().__init__(genesis)
        self.done: list[tuple[OrderedCommit, Applied]] = []

    @override
    def apply(self, commit: OrderedCommit) -> Applied:
        """Apply it."""
        applied = super().apply(commit)
        self.done.append((commit, applied))
        return applied


def book(made: Bank, node: DemoNode) -> list[Entry]:
    """What a node's log says, executed again."""
    genesis = read(node.home.genesis.read_bytes())
    executor = Recorder(genesis)
    logged = [encode(record) for record in logged_records(node.home)]
    Replica(genesis, Identity(SigningKey(bytes(32))), executor, logged).step(Tick(), Instant(0))
    return [
        entry
        for commit, applied in executor.done
        for entry in _entries(made, commit, {it.subject: it.code for it in applied.receipts})
    ]


def _entries(made: Bank, commit: OrderedCommit, codes: dict[Digest, int]) -> Iterator[Entry]:
    """The transfers of a commit that were applied, each once."""
    for data in commit.transactions:
        transaction = decode(SignedTransaction, data).transaction
        code = codes.pop(transaction_id(transaction), None)
        if code is None:
            continue
        for operation in transaction.operations:
            if isinstance(operation, Transfer):
                yield Entry(
                    commit.height,
                    made.name(transaction.sender.hex()),
                    transaction.sequence,
                    made.name(operation.to.hex()),
                    operation.amount,
                    operation.memo.decode(),
                    done=code == 0,
                )
