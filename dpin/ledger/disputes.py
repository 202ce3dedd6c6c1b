"""What a replica does about certificates of others: compares, passes on, and asks when it is wrong.

Every node tells whom it meets the newest that it has, and all whom it knows every sixteenth: so two
that contradict each other meet. Whoever finds such a pair shows all both of them: those who can
accuse are among them.
"""

from collections.abc import Sequence
from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.machine import Blame, Send
from dpin.base.units import Instant, Micros, after, seconds
from dpin.ledger.arrival import Arrival
from dpin.ledger.certificates import Certificate
from dpin.ledger.engine import Engine
from dpin.ledger.forks import Forks
from dpin.ledger.inquest import Dump, Inquest
from dpin.ledger.messages import CertificateMessage
from dpin.ledger.statemessages import StateAnswer

TOLD_EVERY: Final = 16  # checkpoints
HEARD_MAX: Final = 16  # certificates of one peer in a WINDOW; checking one takes a millisecond
WINDOW: Final[Micros] = seconds(1)


Shown = CertificateMessage | StateAnswer


class Disputes:
    """See the module."""

    def __init__(self, arrival: Arrival, engine: Engine, node: NodeId) -> None:
        self._arrival = arrival
        self.forks = Forks(engine)
        self.inquest = Inquest(engine, node)
        self._engine = engine
        self._told = 0  # sequence of the newest that was told to all
        self._heard: dict[NodeId, int] = {}
        self._window_until = Instant(0)

    @property
    def next_at(self) -> Instant:
        """When to go on, at the latest."""
        return self.inquest.next_at

    def greet(self, peer: NodeId) -> list[Send]:
        """Show a new peer the newest certificate."""
        newest = self._engine.certificate
        return [] if newest is None else [_shown(peer, newest)]

    def hear(self, peer: NodeId, certificate: Certificate, now: Instant) -> None:
        """A peer shows a certificate; raises PeerFault for one that no quorum signed."""
        if not self._window_until - WINDOW <= now < self._window_until:
            self._heard, self._window_until = {}, after(now, WINDOW)
        self._heard[peer] = self._heard.get(peer, 0) + 1
        if self._heard[peer] > HEARD_MAX:
            return  # It tells again, or others do.
        self.forks.hear(certificate)
        self.inquest.hear(certificate)

    def receive(self, peer: NodeId, message: Shown, now: Instant) -> list[Send | Blame]:
        """A certificate from a peer, or a part of its state: for who stands still, or joins.

        Raises PeerFault.
        """
        if isinstance(message, CertificateMessage):
            self.hear(peer, message.certificate, now)
            return []
        return (self.inquest if self.inquest.open else self._arrival).take(peer, message)

    def go(self, peers: Sequence[NodeId], now: Instant) -> list[Send | Blame | Dump]:
        """Compare what is new, tell it now and then, and find out why this node stands still."""
        self.forks.review()
        caught = [_shown(peer, one) for one in self.forks.take_news() for peer in peers]
        return [*caught, *self._tell(peers), *self.inquest.go(peers, now)]

    def _tell(self, peers: Sequence[NodeId]) -> list[Send]:
        newest = self._engine.core.certifier.newest
        if newest is None:
            return []
        sequence = newest.checkpoint.sequence // TOLD_EVERY * TOLD_EVERY
        known = self._engine.core.certifier.recent.get(sequence)
        if known is None or sequence <= self._told:
            return []
        self._told = sequence
        return [_shown(peer, known) for peer in peers]


def _shown(peer: NodeId, certificate: Certificate) -> Send:
    return Send(peer, encode(CertificateMessage(certificate)))
