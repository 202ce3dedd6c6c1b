"""What a node has noticed since it started: its peers, its device, its network."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from dpin.base.ids import NodeId
from dpin.base.units import Instant
from dpin.compute.task import Probed
from dpin.ledger.order import OrderedCommit
from dpin.net.gauge import Line
from dpin.net.peers import KNOWN_MAX
from dpin.net.reachability import Reachability
from dpin.net.tally import Tally
from dpin.node.acquaintances import Acquaintances
from dpin.node.presence import Presence
from dpin.node.status import RestView

WARNINGS_MAX: Final = 16


@dataclass(slots=True)
class Met:
    """What is known of one peer besides the ledger."""

    presence: Presence | None = None
    seen: Instant = Instant(0)
    blames: int = 0
    reason: str = ""


@dataclass(slots=True)
class Seen:
    """What this node has noticed since it started."""

    started: Instant = Instant(0)
    probed: Probed | None = None
    no_device: str = ""
    rest: RestView = field(default_factory=RestView)
    peers: dict[NodeId, Met] = field(default_factory=dict)
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=WARNINGS_MAX))
    round: int = 0
    transactions: int = 0
    line: Line = field(default_factory=Line)
    tally: Tally = field(default_factory=Tally)
    acquaintances: Acquaintances = field(default_factory=Acquaintances)
    reachability: Reachability = field(default_factory=Reachability)

    def applied(self, commit: OrderedCommit) -> None:
        """A commit was executed."""
        self.round = commit.leader_round
        self.transactions += len(commit.transactions)

    def met(self, peer: NodeId) -> Met:
        """The notes on one peer; of too many, the oldest make room."""
        found = self.peers.get(peer)
        if found is None:
            if len(self.peers) == KNOWN_MAX:
                del self.peers[next(iter(self.peers))]
            found = self.peers[peer] = Met()
        return found
