"""Joining a ledger of a million accounts: its state from three peers, bucket by bucket, checked.

    python -m benchmarks.join [--short]

One process plays the joiner and its peers: every question and answer is encoded and decoded as on
the wire, every bucket is checked against the certified state root, and the executor that comes of
it must name the same root. There is no network; CPU time is counted for either side by itself, and
the joiner paces its questions by a clock that is only counted.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from benchmarks.local import load, show
from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest, NodeId
from dpin.base.logtree import LogTree
from dpin.base.machine import Send
from dpin.base.merkle import leaf_hash
from dpin.base.units import MICROS_PER_SECOND, Instant, MicroTokens
from dpin.ledger.accounts import Account, State
from dpin.ledger.assembly import Assembly, Restored
from dpin.ledger.book import Kind
from dpin.ledger.certificates import Certificate
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.execute import Executor, birth
from dpin.ledger.frozen import Frozen
from dpin.ledger.genesis import found
from dpin.ledger.join import Join
from dpin.ledger.keeper import Keeper
from dpin.ledger.money import MAX_SUPPLY
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.roots import StateRoot, few_of
from dpin.ledger.statemessages import (
    AskBucket,
    AskState,
    StateAnswer,
    answer,
    read_state_message,
)

PEERS: Final = 3
ACCOUNTS: Final = {"full": 1_000_000, "short": 20_000}
GOAL_SECONDS: Final = 60

T = TypeVar("T")


@dataclass(slots=True)
class Spent:
    """CPU time of one side."""

    seconds: float = 0.0

    def on(self, work: Callable[[], T]) -> T:
        """Do this and count it."""
        begun = time.process_time()
        done = work()
        self.seconds += time.process_time() - begun
        return done


@dataclass(slots=True)
class Meeting:
    """A joiner and peers that all have the state."""

    join: Join[Restored]
    frozen: Frozen
    joiner: Spent = field(default_factory=Spent)
    peers: Spent = field(default_factory=Spent)
    now: Instant = Instant(0)
    pages: int = 0
    sent_bytes: int = 0

    def run(self) -> None:
        """Until the state is there."""
        for peer in range(PEERS):
            self.join.up(NodeId(bytes([peer]) * 32))
        while self.join.restored is None:
            sends = self.joiner.on(lambda: self.join.step(self.now))
            if not sends:
                self.now = self.join.next_at
            for send in sends:
                if not isinstance(send, Send):
                    raise TypeError("nobody here lies")
                self.deliver(send)

    def deliver(self, send: Send) -> None:
        """A question there, its answer back."""
        payload = self.peers.on(lambda: answered(self.frozen, send.payload))
        self.pages += 1
        self.sent_bytes += len(payload)
        self.joiner.on(lambda: self.join.take(send.peer, read_answer(payload)))


def answered(frozen: Frozen, payload: bytes) -> bytes:
    """What a peer sends back."""
    question = read_state_message(payload)
    if not isinstance(question, AskState | AskBucket):
        raise TypeError("a joiner asks")
    return encode(answer([frozen], question))


def read_answer(payload: bytes) -> StateAnswer:
    """What a joiner is told."""
    message = read_state_message(payload)
    if isinstance(message, AskState | AskBucket):
        raise TypeError("a peer answers")
    return message


def populated(accounts: int) -> tuple[Executor, State]:
    """A network at its birth, and a state of it with so many accounts."""
    node = NodeId(bytes(32))
    genesis = found("benchmark", 0, {node: NO_DIGEST}, DEVELOPMENT)
    state = birth(genesis)
    for number in range(accounts):
        identity = NodeId(digest("dpin/benchmark-account/v1", number.to_bytes(8)))
        state.accounts[identity] = Account(free=MicroTokens(10**6 + number))
        state.reserve = MicroTokens(state.reserve - 10**6 - number)
    if state.reserve < 0:
        raise ValueError(f"there are no more than {MAX_SUPPLY} tokens")
    return Executor(genesis), state


def frozen_of(state: State) -> tuple[Frozen, Certificate]:
    """The state as an epoch's end leaves it, certified as if it had been signed."""
    root, tree = StateRoot(), LogTree()
    state_root = root.update(
        state, [*((Kind.ACCOUNT, node, 0) for node in state.accounts), *few_of(state)]
    )
    names: tuple[Digest, ...] = (NO_DIGEST, NO_DIGEST, NO_DIGEST)
    checkpoint = Checkpoint(1, 0, 1, NO_DIGEST, state_root, 0, *names)
    tree.append(leaf_hash(encode(checkpoint)))
    certificate = Certificate(checkpoint, 1, tree.root(), (), ())
    return Frozen(state, checkpoint, root, tree), certificate


def kept(executor: Executor) -> list[tuple[str, str]]:
    """What it takes to begin a log with this state, and to begin with that log."""
    writing, reading = Spent(), Spent()
    keeper = Keeper(executor)
    records = writing.on(lambda: list(keeper.pieces()))
    if not reading.on(lambda: [keeper.read(record) for record in records][-1]):
        raise AssertionError("a state that was written down is read again")
    return [
        ("a new segment of the log: CPU to make it", f"{writing.seconds:.1f} s"),
        ("a new segment of the log: bytes", f"{sum(map(len, records)):,}"),
        ("a start from it: CPU", f"{reading.seconds:.1f} s"),
    ]


def joined(frozen: Frozen, certificate: Certificate, executor: Executor) -> list[tuple[str, str]]:
    """Join, and say what it took."""
    meeting = Meeting(Join(certificate, Assembly), frozen)
    begun = time.perf_counter()
    meeting.run()
    restored = meeting.join.restored
    if restored is None:
        raise AssertionError("a meeting ends with a state")
    meeting.joiner.on(lambda: executor.resume(restored))
    took = time.perf_counter() - begun
    if executor.rooted is None or executor.rooted[1] != certificate.checkpoint.state_root:
        raise AssertionError("what was joined is not what was left")
    return [
        ("joiner, until it goes on: CPU", f"{meeting.joiner.seconds:.1f} s"),
        ("all peers together: CPU", f"{meeting.peers.seconds:.1f} s"),
        ("both, one after the other, by the clock", f"{took:.1f} s"),
        ("pages; bytes", f"{meeting.pages:,}; {meeting.sent_bytes:,}"),
        ("least time, as the joiner paces itself", f"{meeting.now / MICROS_PER_SECOND:.0f} s"),
    ]


def main() -> None:
    """Join once and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="few accounts; figures mean nothing")
    accounts = ACCOUNTS["short" if parser.parse_args().short else "full"]
    rows = [("load before", load())]
    executor, state = populated(accounts)
    making = Spent()
    frozen, certificate = making.on(lambda: frozen_of(state))
    rows += joined(frozen, certificate, executor)
    rows.append(("the state root from nothing: CPU", f"{making.seconds:.1f} s"))
    rows += kept(executor)
    rows += [("goal", f"{GOAL_SECONDS} s"), ("load after", load())]
    show(f"Joining {accounts:,} accounts from {PEERS} peers", rows)


if __name__ == "__main__":
    main()
