"""One-time tickets: who may open one bulk socket here, until when, and the keys of that socket.

A ticket is agreed over an authenticated libp2p stream, so whoever shows it is the peer it was
given to. The two directions have keys of their own (HKDF, RFC 5869), so no nonce is used twice.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.units import Instant, Micros, after, seconds

TICKET_BYTES: Final = 16
SECRET_BYTES: Final = 32
KEY_BYTES: Final = 32  # AES-256
LIFE: Final[Micros] = seconds(10)
TICKETS_PER_PEER_MAX: Final = 4
TICKETS_MAX: Final = 256
DOMAIN: Final = b"dpin/bulk/v1"


class Keys(NamedTuple):
    """One key a direction."""

    of_dialler: bytes  # what the side that connected seals with
    of_listener: bytes


@dataclass(frozen=True, slots=True)
class Given:
    """A ticket that may still be used."""

    peer: NodeId
    keys: Keys
    until: Instant


def keys_of(ticket: bytes, secret: bytes, salt: bytes, dialler: NodeId, listener: NodeId) -> Keys:
    """The keys of one socket; raises PeerFault where a share of them has the wrong length."""
    if len(ticket) != TICKET_BYTES or len(secret) != SECRET_BYTES or len(salt) != SECRET_BYTES:
        raise PeerFault("a ticket, a secret or a salt of the wrong length")
    info = DOMAIN + ticket + dialler + listener
    both = HKDF(algorithm=SHA256(), length=2 * KEY_BYTES, salt=salt, info=info).derive(secret)
    return Keys(both[:KEY_BYTES], both[KEY_BYTES:])


class Tickets:
    """The tickets that this node has given away and nobody has shown yet."""

    def __init__(self) -> None:
        self._given: dict[bytes, Given] = {}

    def give(self, ticket: bytes, peer: NodeId, keys: Keys, now: Instant) -> bool:
        """Let `peer` show `ticket` once; False where too many are out."""
        self._expire(now)
        of_peer = sum(given.peer == peer for given in self._given.values())
        if of_peer >= TICKETS_PER_PEER_MAX or len(self._given) >= TICKETS_MAX:
            return False
        self._given[ticket] = Given(peer, keys, after(now, LIFE))
        return True

    def take(self, ticket: bytes, now: Instant) -> Given | None:
        """Whose ticket was shown; it is of no use again. None for one that does not hold."""
        self._expire(now)
        return self._given.pop(ticket, None)

    def _expire(self, now: Instant) -> None:
        """Forget what nobody came with in time; the oldest come first."""
        for ticket, given in list(self._given.items()):
            if given.until > now:
                return
            del self._given[ticket]

    def out(self, now: Instant) -> int:
        """How many may still be shown."""
        self._expire(now)
        return len(self._given)
