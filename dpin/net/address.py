"""Addresses as text: `/ip4/…/tcp/…/p2p/<peer id>`, the id being a node's key in base 58."""

from collections.abc import Iterable
from typing import Final

from dpin.base.ids import ID_BYTES, NodeId

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
PEER_ID_PREFIX: Final = bytes.fromhex("002408011220")  # identity hash of an Ed25519 public key
PEER_ID_TEXT_MAX: Final = 64
ADDRESS_TEXT_MAX: Final = 256
PARTS: Final = 7  # of "/ip4/127.0.0.1/tcp/4001/p2p/12D3…" split at its slashes


def node_of(peer_id: bytes) -> NodeId | None:
    """The key inside a libp2p peer id; None where it is not an Ed25519 one."""
    if len(peer_id) != len(PEER_ID_PREFIX) + ID_BYTES or not peer_id.startswith(PEER_ID_PREFIX):
        return None
    return NodeId(peer_id[len(PEER_ID_PREFIX) :])


def peer_text(node: NodeId) -> str:
    """A node's id as libp2p writes it."""
    number = int.from_bytes(PEER_ID_PREFIX + node)
    digits: list[str] = []
    while number:
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "1" + "".join(reversed(digits))  # The leading 1 is the one leading zero byte.


def node_in(address: str) -> NodeId | None:
    """Whose address this claims to be; None where it is not the address of a node over TCP."""
    if len(address) > ADDRESS_TEXT_MAX:
        return None
    parts = address.split("/")
    if len(parts) != PARTS or parts[0] or parts[3] != "tcp" or parts[5] != "p2p":
        return None
    text = parts[6]
    if not 0 < len(text) <= PEER_ID_TEXT_MAX or not set(text) <= set(ALPHABET):
        return None
    number = 0
    for digit in text:
        number = number * len(ALPHABET) + ALPHABET.index(digit)
    raw = number.to_bytes((number.bit_length() + 7) // 8)
    node = node_of(b"\0" + raw)
    return node if node is not None and peer_text(node) == text else None


def at_last_ports(listen: Iterable[str], last: Iterable[str]) -> tuple[str, ...]:
    """Where to listen, each free port (0) being the one of last time: who knew it still does."""
    ports = {address.split("/")[1]: address.split("/")[4] for address in last if node_in(address)}
    found: list[str] = []
    for address in listen:
        parts = address.split("/")
        if parts[-1] == "0":  # Each port can be had once.
            parts[-1] = ports.pop(parts[1], "0")
        found.append("/".join(parts))
    return tuple(found)
