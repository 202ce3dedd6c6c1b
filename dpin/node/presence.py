"""What a node says of itself to everybody, now and then: its name, version and addresses."""

from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId, NodeId
from dpin.base.units import seconds
from dpin.net.envelope import open_signed, seal

PRESENCE_TAG: Final = "dpin/presence/v1"
PRESENCE_EVERY: Final = seconds(30)
PRESENCE_BYTES_MAX: Final = 2_048
ADDRESSES_MAX: Final = 4
NAME_CHARS_MAX: Final = 64
RATE_MAX: Final = 1 << 40


class Presence(Wire, frozen=True):
    """One announcement: where the node can be dialled, and when it said so by its own clock."""

    name: str
    version: str
    addresses: tuple[str, ...]
    said_at: int
    up: int = 0  # bytes a second that its transfers came to; 0: not known
    down: int = 0


def topic_of(chain: ChainId) -> str:
    """Where the nodes of one network announce themselves."""
    return f"dpin/presence/{chain.hex()[:16]}"


def announce(key: SigningKey, chain: ChainId, presence: Presence) -> bytes:
    """The signed announcement."""
    return seal(key, chain, PRESENCE_TAG, encode(presence))


def heard(chain: ChainId, data: bytes) -> tuple[NodeId, Presence]:
    """Read an announcement; raises PeerFault for anything that is none."""
    if len(data) > PRESENCE_BYTES_MAX:
        raise PeerFault(f"an announcement of {len(data)} bytes, at most {PRESENCE_BYTES_MAX}")
    signed = open_signed(chain, PRESENCE_TAG, data)
    presence = decode(Presence, signed.body)
    if len(presence.addresses) > ADDRESSES_MAX or len(presence.name) > NAME_CHARS_MAX:
        raise PeerFault("an announcement that says too much")
    if not (0 <= presence.up <= RATE_MAX and 0 <= presence.down <= RATE_MAX):
        raise PeerFault("an announcement of a line that nobody has")
    return NodeId(signed.signer), presence
