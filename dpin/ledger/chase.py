"""A node that sees others in a later epoch asks them for the way there: one handover at a time."""

from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.machine import Send
from dpin.base.units import NEVER, Instant, Micros, after
from dpin.ledger.messages import AskHandover

ASK_AGAIN: Final = Micros(500_000)
PEERS_MAX: Final = 64


class Chase:
    """Peers that seem to be further on."""

    def __init__(self) -> None:
        self._peers: dict[NodeId, None] = {}  # in the order in which they are asked
        self._ask_at = Instant(0)

    @property
    def next_at(self) -> Instant:
        """When the next one is asked."""
        return self._ask_at if self._peers else NEVER

    def heard(self, peer: NodeId) -> None:
        """The peer sent something of a later epoch."""
        if len(self._peers) < PEERS_MAX:
            self._peers[peer] = None

    def left(self, peer: NodeId) -> None:
        """The peer is gone."""
        self._peers.pop(peer, None)

    def moved(self) -> None:
        """The node is in its next epoch: the next handover may be asked for at once."""
        self._ask_at = Instant(0)

    def step(self, epoch: int, now: Instant) -> list[Send]:
        """Ask the next one how `epoch` ended, unless somebody was asked just now."""
        if not self._peers or now < self._ask_at <= after(now, ASK_AGAIN):
            return []
        self._ask_at = after(now, ASK_AGAIN)
        peer = next(iter(self._peers))
        del self._peers[peer]
        return [Send(peer, encode(AskHandover(epoch)))]
