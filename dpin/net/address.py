"""Addresses as text: `/ip4/…/tcp/…/p2p/<peer id>`, the id being a node's key in base 58.

A relayed one is that of the relay, then `/p2p-circuit/p2p/<peer id>` of whom it leads to.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Final

from dpin.base.ids import ID_BYTES, NodeId

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
PEER_ID_PREFIX: Final = bytes.fromhex("002408011220")  # identity hash of an Ed25519 public key
PEER_ID_TEXT_MAX: Final = 64
ADDRESS_TEXT_MAX: Final = 256
PARTS: Final = 7  # of "/ip4/127.0.0.1/tcp/4001/p2p/12D3…" split at its slashes
CIRCUIT: Final = "/p2p-circuit/p2p/"


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
    direct, circuit, beyond = address.partition(CIRCUIT)
    parts = direct.split("/")
    if len(parts) != PARTS or parts[0] or parts[3] != "tcp" or parts[5] != "p2p":
        return None
    node = _node_of_text(parts[6])
    if not circuit:
        return node
    return _node_of_text(beyond) if node is not None else None


def relay_in(address: str) -> str | None:
    """The address of the relay that this one goes through; None for a direct one."""
    direct, circuit, _ = address.partition(CIRCUIT)
    return direct if circuit else None


def through(relay: str, peer: object) -> str:
    """The address of a peer, by its id as libp2p writes it, by way of a relay at `relay`."""
    return f"{relay}{CIRCUIT}{peer}"


def host_in(address: str) -> str:
    """The IP address, or the name, that is dialled."""
    parts = address.split("/")
    return parts[2] if len(parts) > 2 else ""  # noqa: PLR2004 (as split)


def _node_of_text(text: str) -> NodeId | None:
    if not 0 < len(text) <= PEER_ID_TEXT_MAX or not set(text) <= set(ALPHABET):
        return None
    number = 0
    for digit in text:
        number = number * len(ALPHABET) + ALPHABET.index(digit)
    raw = number.to_bytes((number.bit_length() + 7) // 8)
    node = node_of(b"\0" + raw)
    return node if node is not None and peer_text(node) == text else None


def is_loopback(address: str) -> bool:
    """Whether only this machine can dial it."""
    try:
        return ip_address(host_in(address)).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether it is an address of the whole internet, or a name, and no relay stands between."""
    try:
        public = ip_address(host_in(address)).is_global
    except ValueError:
        public = True
    return public and relay_in(address) is None


def to_tell(addresses: Iterable[str], most: int) -> tuple[str, ...]:
    """Which addresses to tell others where not all can be: every kind of way, the best first.

    Public ones come before those of a local network; one place is kept for a relay. Loopback is
    told where there is nothing else.
    """
    unique = sorted(set(addresses))
    relayed = [address for address in unique if relay_in(address) is not None]
    loopback = [a for a in unique if is_loopback(a) and a not in relayed]
    direct = [a for a in unique if a not in relayed and a not in loopback]
    direct.sort(key=lambda address: not is_public(address))
    kept = direct[: most - 1] if relayed else direct[:most]
    chosen = [*kept, *relayed][:most]
    return tuple(chosen or loopback[:most])


def by_ease(addresses: Sequence[str]) -> tuple[str, ...]:
    """In the order in which to dial: direct ones as they come, then those through relays."""
    return tuple(sorted(addresses, key=lambda address: relay_in(address) is not None))


def at_last_ports(listen: Iterable[str], last: Iterable[str]) -> tuple[str, ...]:
    """Where to listen, each free port (0) being the one of last time: who knew it still does."""
    ports = {address.split("/")[1]: address.split("/")[4] for address in last if _is_own(address)}
    found: list[str] = []
    for address in listen:
        parts = address.split("/")
        if parts[-1] == "0":  # Each port can be had once.
            parts[-1] = ports.pop(parts[1], "0")
        found.append("/".join(parts))
    return tuple(found)


def _is_own(address: str) -> bool:
    """Whether it is an address that was listened on, and not the way through a relay."""
    return node_in(address) is not None and relay_in(address) is None
