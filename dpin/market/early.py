"""Answers to a job that its requester does not see on the ledger yet.

Whoever applies a commit first answers first: a provider's bid may reach the requester before the
commit that its proposal is in. Such answers wait here until the requester sees its job.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dpin.base.ids import JobId, NodeId
from dpin.base.units import Instant, after, seconds
from dpin.market.messages import BidMessage, Decline

KEPT: Final = seconds(10)
PEERS_MAX: Final = 256  # of more nobody else's first word is kept: a bid is repeated
OF_PEER_MAX: Final = 4  # of one peer; its oldest goes

Answer = BidMessage | Decline


@dataclass(slots=True)
class EarlyMail:
    """The newest answer of each peer to each job that is not known."""

    _held: dict[NodeId, dict[JobId, tuple[Instant, Answer]]] = field(default_factory=dict)

    def keep(self, peer: NodeId, message: Answer, now: Instant) -> None:
        """Hold an answer back, as long as there is room."""
        self._forget(now)
        if peer not in self._held and len(self._held) >= PEERS_MAX:
            return
        held = self._held.setdefault(peer, {})
        held.pop(_job_of(message), None)
        while len(held) >= OF_PEER_MAX:
            del held[next(iter(held))]
        held[_job_of(message)] = (after(now, KEPT), message)

    def take(self, job: JobId, now: Instant) -> Iterator[tuple[NodeId, Answer]]:
        """What was said about a job that is known now, by peer; once."""
        self._forget(now)
        for peer in sorted(self._held):
            found = self._held[peer].pop(job, None)
            if found is not None:
                yield peer, found[1]

    def __len__(self) -> int:
        return sum(len(held) for held in self._held.values())

    def _forget(self, now: Instant) -> None:
        for peer, held in list(self._held.items()):
            self._held[peer] = {job: one for job, one in held.items() if now < one[0]}
            if not self._held[peer]:
                del self._held[peer]


def _job_of(message: Answer) -> JobId:
    return message.job if isinstance(message, Decline) else message.signed.bid.job
