"""What the rest of dpin sees of the network: its events, its limits of size, and what it can do.

`dpin.net.host` is the real one, `dpin.net.lasting` the real one that comes back when it ends,
`dpin.net.fake` the one in memory. The end of `events` means that the network has stopped.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final, Protocol

from dpin.base.blob import CHUNK_BYTES
from dpin.base.codec import MESSAGE_BYTES_MAX
from dpin.base.errors import Unavailable
from dpin.base.ids import NodeId
from dpin.base.machine import PeerDown, PeerUp, Received

CONTROL_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 1024  # a message in its envelope
ANSWER_BYTES_MAX: Final = CHUNK_BYTES + (64 << 10)  # a chunk, or the largest manifest
QUESTION_BYTES_MAX: Final = 64 << 10
GOSSIP_BYTES_MAX: Final = (64 << 10) - 1
TOPICS_MAX: Final = 32
BLOB: Final = "/dpin/blob/1"  # chunks and manifests
BLOB_2: Final = "/dpin/blob/2"  # the same, and AskBlob
ASK: Final = "/dpin/ask/1"  # questions that every node answers; see dpin.net.ask
DIAL_BACK: Final = "/dpin/dial-back/1"  # a nonce, on a connection that was asked for


class Outcome(StrEnum):
    """How a dial ended."""

    CONNECTED = "connected"
    REFUSED = "refused"  # nobody listens there
    SILENT = "silent"  # no answer at all: a firewall, or no machine
    NO_ROUTE = "no-route"
    WRONG_NODE = "wrong-node"
    CLOSED = "closed"  # at once: full, banned, or it speaks something else
    NO_ADDRESS = "no-address"  # what was dialled is none
    STOPPED = "stopped"  # this node's own network was not there
    FAILED = "failed"


class Unreached(Unavailable):
    """A dial came to nothing."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Gossip:
    """`peer` signed and published this; whoever carried it here is not known."""

    peer: NodeId
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody on the local network answers at this address; nothing else is known of them."""

    address: str


@dataclass(frozen=True, slots=True)
class Readdressed:
    """Others can now dial this node here, and no longer where they could before."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Misbehaved:
    """A peer broke a rule of the transport, or went over its budget; the reason is for people."""

    peer: NodeId
    reason: str


Event = PeerUp | PeerDown | Received | Gossip | Found | Readdressed | Misbehaved
Handler = Callable[[NodeId, bytes], Awaitable[bytes]]


@dataclass(slots=True)
class Traffic:
    """Bytes exchanged with one peer since the network was opened, by kind of protocol."""

    control_in: int = 0
    control_out: int = 0
    blob_in: int = 0
    blob_out: int = 0
    gossip_in: int = 0
    gossip_out: int = 0
    bulk_in: int = 0  # over bulk sockets, of which libp2p knows nothing
    bulk_out: int = 0
    ask_in: int = 0
    ask_out: int = 0

    def moved(self, kind: str, came: int, went: int) -> None:
        """Count bytes of one kind: control, blob, gossip or ask."""
        setattr(self, f"{kind}_in", getattr(self, f"{kind}_in") + came)
        setattr(self, f"{kind}_out", getattr(self, f"{kind}_out") + went)

    def __add__(self, other: "Traffic") -> "Traffic":
        names = [field.name for field in fields(Traffic)]
        return Traffic(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Observer(Protocol):
    """What is known of the connections besides what is carried on them."""

    def seen_at(self, peer: NodeId) -> str:
        """The IP address that a peer is connected from; empty through a relay, or where unknown."""
        ...

    def path(self, peer: NodeId) -> str:
        """How it is connected: direct, relay, or empty where it is not."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """Messages and streams dropped so far, by cause."""
        ...

    def mesh(self) -> Mapping[str, int]:
        """Peers that announcements are passed on to, by topic."""
        ...


class Events(Protocol):
    """The receiving end of a bounded queue of events."""

    async def receive(self) -> Event:
        """The next event; trio.EndOfChannel when the network has stopped."""
        ...

    def receive_nowait(self) -> Event:
        """The next event if one is there; trio.WouldBlock otherwise."""
        ...


class Beside(Protocol):
    """What moves bytes beside the network, on sockets of its own, needs to know and to say."""

    def direct_ip(self, peer: NodeId) -> str:
        """The address at which a direct connection to a peer ends; empty where there is none."""
        ...

    def takes_ask_blob(self, peer: NodeId) -> bool:
        """Whether a peer says that it speaks BLOB_2; what is asked by BLOB then goes by that."""
        ...

    def count(self, peer: NodeId) -> Traffic:
        """The counters of one peer."""
        ...

    def complain(self, peer: NodeId, reason: str) -> None:
        """Have `Misbehaved` come as an event; silently not where that was said often."""
        ...


@dataclass
class Door:
    """Where connected peers come from, and which sites (`prefix.py`) none is taken from."""

    ips: Mapping[NodeId, str]
    ban: Callable[[Sequence[str]], None]  # what refuse does
    refused: tuple[str, ...] = ()

    def refuse(self, sites: Sequence[str]) -> None:
        """Take no connections from these sites from now on, and only these."""
        self.refused = tuple(sites)
        self.ban(self.refused)

    def follow(self, other: "Door") -> None:
        """Go on as the door of another network, with the same refused."""
        self.ips, self.ban = other.ips, other.ban
        self.ban(self.refused)


class Network(Protocol):
    """Bytes between nodes. Peers are authenticated: a NodeId is the key that the peer proved."""

    node_id: NodeId
    addresses: list[str]  # where others can dial this node now, `/p2p/…` included; they change
    beside: Beside  # for the bulk plane
    door: Door
    observer: Observer
    problem: str  # why it is not open; empty: it is
    restarts: int  # since the start
    prove: Callable[[bool | None], None]  # a verdict by dial-back: whether relays are needed

    @property
    def events(self) -> Events:
        """PeerUp, then what the peer sent, in order, then PeerDown; gossip and finds between."""
        ...

    async def dial(self, address: str, *others: str) -> NodeId:
        """Connect, at one address of a peer or another; raises Unreached with the reason."""
        ...

    def send(self, peer: NodeId, payload: bytes) -> bool:
        """Queue for a connected peer; False where it was dropped. Never waits."""
        ...

    async def publish(self, topic: str, payload: bytes) -> None:
        """Announce to all who subscribed; may wait its turn. Raises Misuse when too long."""
        ...

    async def subscribe(self, topic: str) -> None:
        """Have what others publish on `topic` come as events."""
        ...

    async def request(
        self, peer: NodeId, payload: bytes, patience_seconds: float, protocol: str = BLOB
    ) -> bytes:
        """Ask a peer and wait for its answer. Raises Unavailable, or PeerFault for a bad one.

        `protocol` is BLOB, ASK or DIAL_BACK, or that of Kad-DHT (dpin.net.kad) where it is spoken.
        """
        ...

    def serve(self, handler: Handler, protocol: str = BLOB) -> None:
        """Answer the requests of others with `handler`; one that raises leaves them unanswered.

        Unavailable says that there is no answer; anything else is noted as an error.
        """
        ...

    def disconnect(self, peer: NodeId) -> None:
        """Drop all connections to a peer, soon."""
        ...

    def peers(self) -> list[NodeId]:
        """Who is connected, sorted."""
        ...

    def traffic(self) -> Mapping[NodeId, Traffic]:
        """Bytes by peer."""
        ...
