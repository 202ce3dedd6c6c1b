"""What a real host knows of its connections besides what is carried on them."""

from collections import Counter
from collections.abc import Mapping, Sized
from typing import Final, Protocol

from dpin.base.ids import NodeId
from dpin.net.connection import Connection
from dpin.net.gossip import Announcer
from dpin.net.switchboard import Intake, Switchboard

DIRECT: Final = "direct"
RELAY: Final = "relay"


class Router(Protocol):
    """The part of libp2p's router that is looked at."""

    mesh: Mapping[str, Sized]


class Pubsub(Protocol):
    """The part of `dpin.net.mesh.Speaker` that is looked at."""

    router: Router
    invalid: int
    greylisted: int


class HostObserver:
    """See `dpin.net.network.Observer`."""

    def __init__(
        self,
        board: Switchboard,
        intake: Intake,
        announcer: Announcer,
        pubsub: Pubsub,
    ) -> None:
        self._board = board
        self._intake = intake
        self._announcer = announcer
        self._pubsub = pubsub

    def seen_at(self, peer: NodeId) -> str:
        """The IP address of its direct connection."""
        connection = self._connection(peer)
        if connection is None or connection.muxed_conn.get_connection_type().name != "DIRECT":
            return ""
        remote = connection.muxed_conn.get_remote_address()
        return remote[0] if remote else ""

    def path(self, peer: NodeId) -> str:
        """Direct or through a relay."""
        connection = self._connection(peer)
        if connection is None:
            return ""
        direct = connection.muxed_conn.get_connection_type().name == "DIRECT"
        return DIRECT if direct else RELAY

    def dropped(self) -> Mapping[str, int]:
        """By cause, since the host was opened."""
        found: Counter[str] = Counter(self._board.lost())
        found["gossip-not-taken"] = self._announcer.undelivered
        found["gossip-over-budget"] = self._announcer.over_budget
        found["gossip-invalid"] = self._pubsub.invalid
        found["gossip-greylisted"] = self._pubsub.greylisted
        found["streams-over-budget"] = self._intake.refused
        return dict(sorted(found.items()))

    def mesh(self) -> Mapping[str, int]:
        """By topic."""
        return {topic: len(peers) for topic, peers in sorted(self._pubsub.router.mesh.items())}

    def _connection(self, peer: NodeId) -> Connection | None:
        link = self._board.links.get(peer)
        return link.connections[0] if link is not None and link.connections else None
