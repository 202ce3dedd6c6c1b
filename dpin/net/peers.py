"""Who we know: where they answer, when they last did, and whom we ban for what they did.

Addresses are hearsay until a dial proves them: they are kept few for each peer, and the peers that
proved themselves longest ago make room first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, NodeId
from dpin.base.units import Instant, Micros, after, seconds

KNOWN_MAX: Final = 1024
ADDRESSES_PER_PEER_MAX: Final = 4
ADDRESS_BYTES_MAX: Final = 256
REMEMBERED_MAX: Final = 50
BANS_MAX: Final = 1024
BLAMES_TO_BAN: Final = 10
BLAME_FADES: Final = seconds(60)  # one blame is forgotten each
BAN_LASTS: Final = seconds(600)
NEVER_SEEN: Final = Instant(0)


class Remembered(Wire, frozen=True):
    """One peer that answered, as kept between runs."""

    node: bytes
    addresses: tuple[str, ...]
    seen_at: int


class Memory(Wire, frozen=True):
    """The file of remembered peers."""

    version: int
    peers: tuple[Remembered, ...]


@dataclass(slots=True)
class _Known:
    addresses: list[str] = field(default_factory=list)  # newest first
    seen_at: Instant = NEVER_SEEN


@dataclass(slots=True)
class _Blamed:
    count: int
    since: Instant


class Peers:
    """Knowledge about peers; all of it bounded, none of it asked for by a peer."""

    def __init__(self) -> None:
        self._known: dict[NodeId, _Known] = {}
        self._blamed: dict[NodeId, _Blamed] = {}
        self._bans: dict[NodeId, Instant] = {}

    def learn(self, node: NodeId, address: str) -> bool:
        """Note that `node` is said to answer at `address`; False where there is no room for it."""
        if len(address) > ADDRESS_BYTES_MAX:
            return False
        known = self._known.get(node)
        if known is None:
            if len(self._known) >= KNOWN_MAX and not self._forget_a_stranger():
                return False
            known = self._known[node] = _Known()
        if address not in known.addresses:
            known.addresses.insert(0, address)
            del known.addresses[ADDRESSES_PER_PEER_MAX:]
        return True

    def proved(self, node: NodeId, now: Instant, address: str | None = None) -> None:
        """Note that `node` is connected, at `address` where we dialled it."""
        if address is not None and not self.learn(node, address) and len(self._known) == KNOWN_MAX:
            oldest = min(self._known, key=lambda other: (self._known[other].seen_at, other))
            del self._known[oldest]
            self.learn(node, address)
        known = self._known.get(node)
        if known is None:
            return
        known.seen_at = now
        if address in known.addresses:
            known.addresses.remove(address)
            known.addresses.insert(0, address)

    def addresses(self, node: NodeId) -> Sequence[str]:
        """Where `node` may answer, best first."""
        known = self._known.get(node)
        return tuple(known.addresses) if known else ()

    def nodes(self) -> list[NodeId]:
        """Everybody known, those seen last first, then by id."""
        return sorted(self._known, key=lambda node: (-self._known[node].seen_at, node))

    def blame(self, node: NodeId, now: Instant) -> bool:
        """Count one fault; True when the peer is banned for it."""
        blamed = self._blamed.setdefault(node, _Blamed(0, now))
        faded = (now - blamed.since) // BLAME_FADES
        if faded > 0:
            blamed.count = max(0, blamed.count - faded)
            blamed.since = now
        blamed.count += 1
        if blamed.count < BLAMES_TO_BAN:
            self._trim_blames()
            return False
        del self._blamed[node]
        self.ban(node, now, BAN_LASTS)
        return True

    def ban(self, node: NodeId, now: Instant, lasts: Micros) -> None:
        """Neither dial nor keep `node` for a while."""
        self._bans = {banned: until for banned, until in self._bans.items() if until > now}
        if len(self._bans) >= BANS_MAX:
            del self._bans[min(self._bans, key=lambda banned: (self._bans[banned], banned))]
        self._bans[node] = after(now, lasts)

    def banned(self, node: NodeId, now: Instant) -> bool:
        """Whether `node` is banned."""
        return self._bans.get(node, NEVER_SEEN) > now

    def remembered(self) -> bytes:
        """The last good peers, as bytes for a file."""
        good = [node for node in self.nodes() if self._known[node].seen_at > NEVER_SEEN]
        return encode(
            Memory(
                1,
                tuple(
                    Remembered(node, tuple(known.addresses), known.seen_at)
                    for node in good[:REMEMBERED_MAX]
                    for known in [self._known[node]]
                ),
            )
        )

    def recall(self, data: bytes) -> None:
        """Read back what `remembered` wrote; raises PeerFault, and learns nothing, if damaged."""
        memory = decode(Memory, data)
        if memory.version != 1 or len(memory.peers) > REMEMBERED_MAX:
            raise PeerFault("not a file of remembered peers")
        if any(len(peer.node) != ID_BYTES or peer.seen_at < 0 for peer in memory.peers):
            raise PeerFault("a remembered peer without a proper id or time")
        for peer in memory.peers:
            node = NodeId(peer.node)
            for address in reversed(peer.addresses[:ADDRESSES_PER_PEER_MAX]):
                self.learn(node, address)
            if node in self._known:
                self._known[node].seen_at = Instant(peer.seen_at)

    def _forget_a_stranger(self) -> bool:
        """Make room by one peer that never answered; hearsay does not push out who did."""
        stranger = next((n for n, k in self._known.items() if k.seen_at == NEVER_SEEN), None)
        if stranger is None:
            return False
        del self._known[stranger]
        return True

    def _trim_blames(self) -> None:
        if len(self._blamed) > BANS_MAX:
            del self._blamed[min(self._blamed, key=lambda node: (self._blamed[node].since, node))]
