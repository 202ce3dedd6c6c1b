"""Missing blocks by name: ask who sent the block that links to them, then others, ever less often.

This repairs single losses at the price of one round trip a generation of ancestors. Whole rounds
come by range (`sync.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.machine import Send
from dpin.base.units import NEVER, Instant, Micros, after
from dpin.ledger.blocks import Reference
from dpin.ledger.dag import Dag
from dpin.ledger.messages import REFERENCES_MAX, AskBlocks

WANTED_MAX: Final = 2_048  # what is not wanted for want of room comes by range
RETRY_FIRST: Final = Micros(200_000)
DOUBLINGS_MAX: Final = 5


@dataclass(slots=True)
class _Wanted:
    tries: int
    next_at: Instant


class Fetch:
    """Questions for single blocks that are not answered yet."""

    def __init__(self) -> None:
        self.next_at = NEVER  # no later than when something is to be asked again
        self._wanted: dict[Reference, _Wanted] = {}

    def __len__(self) -> int:
        return len(self._wanted)

    def want(self, links: Sequence[Reference], sender: NodeId, now: Instant) -> list[Send]:
        """Ask the sender of a suspended block for its ancestors at once."""
        fresh = [link for link in links if link not in self._wanted]
        fresh = fresh[: WANTED_MAX - len(self._wanted)]
        for link in fresh:
            self._wanted[link] = _Wanted(0, after(now, RETRY_FIRST))
        if fresh:
            self.next_at = min(self.next_at, after(now, RETRY_FIRST))
        return _questions(sender, fresh)

    def step(self, dag: Dag, sources: Sequence[NodeId], now: Instant) -> list[Send]:
        """Ask again for what is overdue, each time somebody else."""
        if now < self.next_at:
            return []
        targets: dict[NodeId, list[Reference]] = {}
        for link, wanted in list(self._wanted.items()):
            if link.digest in dag or not dag.waiting.needs(link):
                del self._wanted[link]
            elif wanted.next_at <= now:
                wanted.tries += 1
                wait = Micros(RETRY_FIRST << min(wanted.tries, DOUBLINGS_MAX))
                wanted.next_at = after(now, wait)
                if sources:
                    target = sources[(link.author + wanted.tries) % len(sources)]
                    targets.setdefault(target, []).append(link)
        self.next_at = min((entry.next_at for entry in self._wanted.values()), default=NEVER)
        return [send for peer, links in targets.items() for send in _questions(peer, links)]


def _questions(peer: NodeId, links: Sequence[Reference]) -> list[Send]:
    return [
        Send(peer, encode(AskBlocks(tuple(links[at : at + REFERENCES_MAX]))))
        for at in range(0, len(links), REFERENCES_MAX)
    ]
