"""Consensus alone: four validators in one process, blocks full of bytes that nobody reads.

    python -m benchmarks.alone

Blocks are signed, encoded, checked, accepted, decided and ordered as ever, and encoded for the log.
No network carries them and no disk keeps them; no transaction is read, checked or executed.
"""

from collections.abc import Sequence
from itertools import count
from time import process_time
from typing import Final

from typing_extensions import override

from benchmarks.delays import World
from dpin.base.machine import PeerUp, Tick
from dpin.base.units import MICROS_PER_SECOND, Micros, MicroTokens, after
from dpin.ledger.execute import Executor
from dpin.ledger.mempool import Mempool
from dpin.sim.ledgers import found_network
from dpin.sim.timeline import BEGINNING

BYTES_EACH: Final = 200  # those of a transfer
LINK: Final = Micros(2_000)


class Hose(Mempool):
    """There is always more."""

    @override
    def __init__(self) -> None:
        super().__init__(lambda _: None, lambda _: MicroTokens(0))
        self._numbers = count()

    @property
    @override
    def queued(self) -> int:
        """As much as anybody likes."""
        return 1

    @override
    def take(self, count_max: int, bytes_max: int) -> tuple[bytes, ...]:
        """Things that differ."""
        things = min(count_max, bytes_max // BYTES_EACH)
        return tuple(next(self._numbers).to_bytes(BYTES_EACH) for _ in range(things))

    @override
    def committed(self, transactions: Sequence[bytes]) -> None:
        """They were never here."""

    @override
    def put_back(self, body: Sequence[bytes]) -> None:
        """There is enough."""


class Unread(Executor):
    """Orders and forgets."""

    @override
    def _transact(self, data: bytes, leader_round: object) -> bool:
        del data, leader_round
        return True


def measure(seconds: int, members: int = 4) -> float:
    """CPU time of a transaction on one validator in us; ends the program if they disagree."""
    world = World(found_network("alone", 1, members), LINK, Unread)
    for node, replica in world.replicas.items():
        replica.engine.mempool = Hose()
        for other in world.replicas:
            if other != node:
                world.feed(node, PeerUp(other))
        world.feed(node, Tick())
    began = process_time()
    world.run(after(BEGINNING, Micros(seconds * MICROS_PER_SECOND)))
    used = process_time() - began
    orders = [world.ordered[node] for node in world.replicas]
    shortest = min(map(len, orders))
    if shortest == 0 or any(order[:shortest] != orders[0][:shortest] for order in orders):
        raise SystemExit("the validators have ordered different things")
    return used * MICROS_PER_SECOND / sum(size for order in orders for _, size in order)


def main() -> None:
    """Measure and print."""
    print(f"{measure(3):.1f} us of CPU a transaction and validator")  # noqa: T201


if __name__ == "__main__":
    main()
