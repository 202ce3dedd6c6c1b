"""Finality in message delays: validators in one process, links of exactly 100 ms, no load.

    python -m benchmarks.delays

A transfer is given to one validator at a moment of its own; it is final there when that validator
has applied it. The machines are those of the nodes; steps take no time here. What reaches a
validator at one instant is at hand together, as in a node's loop: it acts when it has taken all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Final

from benchmarks.local import quantile
from dpin.base.chance import Chance
from dpin.base.codec import encode
from dpin.base.ids import Digest, NodeId
from dpin.base.machine import PeerUp, Received, Send, Tick, Wake
from dpin.base.units import MICROS_PER_MILLI, Instant, Micros, MicroTokens, after
from dpin.ledger.chains import OwnChains
from dpin.ledger.execute import Executor
from dpin.ledger.genesis import Genesis
from dpin.ledger.identity import Identity
from dpin.ledger.replica import Applied, Event, Replica, Submit
from dpin.ledger.transactions import Transfer, sign, transaction_id
from dpin.sim.ledgers import Founding, found_network
from dpin.sim.timeline import BEGINNING

DELAY: Final = Micros(100 * MICROS_PER_MILLI)
EVERY: Final = Micros(53 * MICROS_PER_MILLI)  # so that they fall on all moments of a round
WARM: Final = 20  # transfers that are not counted


@dataclass
class World:
    """A queue of what happens when."""

    founding: Founding
    delay: Micros = DELAY
    executor: Callable[[Genesis], Executor] = Executor
    now: Instant = BEGINNING
    applied: dict[tuple[NodeId, Digest], Instant] = field(default_factory=dict)
    ordered: dict[NodeId, list[tuple[Digest, int]]] = field(default_factory=dict)  # and how many

    def __post_init__(self) -> None:
        self._heap: list[tuple[Instant, int, NodeId, Event]] = []
        self._order = count()
        genesis, keys, tables = self.founding.genesis, self.founding.keys, self.founding.tables
        self.replicas = {
            key.node_id: Replica(
                genesis, Identity(key, OwnChains({0: table})), self.executor(genesis), ()
            )
            for key, table in zip(keys, tables, strict=True)
        }

    def at(self, when: Instant, node: NodeId, event: Event) -> None:
        """Let this happen to a validator then."""
        heappush(self._heap, (when, next(self._order), node, event))

    def feed(self, node: NodeId, event: Event, *, more: bool = False) -> None:
        """One step of one validator; with `more`, another one follows at this instant."""
        for effect in self.replicas[node].step(event, self.now, more=more):
            match effect:
                case Send(peer, payload):
                    self._send(node, peer, payload)
                case Wake(at):
                    self.at(max(at, Instant(self.now + 1)), node, Tick())
                case Applied(commit=commit, receipts=receipts):
                    entry = (commit.digest, len(commit.transactions))
                    self.ordered.setdefault(node, []).append(entry)
                    for receipt in receipts:
                        self.applied[node, receipt.subject] = self.now
                case _:
                    pass

    def _send(self, node: NodeId, peer: NodeId, payload: bytes) -> None:
        self.at(after(self.now, self.delay), peer, Received(node, payload))

    def run(self, until: Instant) -> None:
        """Let time pass."""
        while self._heap and self._heap[0][0] <= until:
            self.now = self._heap[0][0]
            together: dict[NodeId, list[Event]] = {}
            while self._heap and self._heap[0][0] == self.now:
                _, _, node, event = heappop(self._heap)
                together.setdefault(node, []).append(event)
            for node, events in together.items():
                for left, event in enumerate(events, start=1 - len(events)):
                    self.feed(node, event, more=left < 0)


def measure(members: int, transfers: int, seed: int = 1) -> list[float]:
    """How long each transfer took, in message delays."""
    founding = found_network("delays", seed, members)
    world, chance = World(founding), Chance(seed.to_bytes(8))
    for key in founding.keys:
        for other in founding.keys:
            if key is not other:
                world.feed(key.node_id, PeerUp(other.node_id))
        world.feed(key.node_id, Tick())
    given: dict[tuple[NodeId, Digest], Instant] = {}
    used = [0] * members
    for number in range(transfers + WARM):
        index = chance.below(members)
        key = founding.keys[index]
        used[index] += 1
        pay = Transfer(founding.keys[0].node_id, MicroTokens(1), b"")
        signed = sign(key, founding.chain, used[index], pay)
        when = after(BEGINNING, Micros((number + 1) * EVERY))
        if number >= WARM:
            given[key.node_id, transaction_id(signed.transaction)] = when
        world.at(when, key.node_id, Submit(encode(signed)))
    world.run(after(BEGINNING, Micros((transfers + WARM) * EVERY + 50 * DELAY)))
    lost = [place for place in given if place not in world.applied]
    if lost:
        raise SystemExit(f"{len(lost)} transfers were not applied")
    return [(world.applied[place] - when) / DELAY for place, when in given.items()]


def main() -> None:
    """Measure and print."""
    for members in (4, 7):
        waits = measure(members, 400)
        p50, p99 = quantile(waits, 0.5), quantile(waits, 0.99)
        print(f"{members} validators: p50 {p50:.2f}, p99 {p99:.2f} message delays")  # noqa: T201


if __name__ == "__main__":
    main()
