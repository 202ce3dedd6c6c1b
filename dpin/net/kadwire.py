"""The messages of libp2p's Kad-DHT: protobuf on the wire, checked values here.

The schema is that of the specification (libp2p/specs, kad-dht) and libp2p's own generated code
reads and writes it. What is not in these values is not looked at.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from multiaddr import Multiaddr

from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.net.address import PEER_ID_PREFIX, node_in, node_of, peer_text
from dpin.net.contained import Contained
from dpin.net.peers import ADDRESSES_PER_PEER_MAX

QUESTION_BYTES_MAX: Final = 16 << 10
ANSWER_BYTES_MAX: Final = 64 << 10
KEY_BYTES_MAX: Final = 128
ADDRESS_BYTES_MAX: Final = 256
CONTACTS_MAX: Final = 20  # libp2p's k; whoever sends more has the rest ignored
ENCODED_MAX: Final = 4_096  # addresses whose bytes are remembered
MILLIS: Final = 1_000


class Kind(IntEnum):
    """What a message asks."""

    PUT_VALUE = 0
    GET_VALUE = 1
    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


@dataclass(frozen=True, slots=True)
class Contact:
    """A peer, and where it is said to answer."""

    node: NodeId
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """What is kept under a key, and since when (ms since 1970; nobody has to believe that)."""

    key: bytes
    value: bytes
    since: int = 0


@dataclass(frozen=True, slots=True)
class KadMessage:
    """A question or its answer."""

    kind: Kind
    key: bytes = b""
    record: Value | None = None
    closer: tuple[Contact, ...] = ()
    providers: tuple[Contact, ...] = ()


def read_message(data: bytes) -> KadMessage:
    """One message; raises PeerFault for what is none."""
    message = Message()
    try:
        message.ParseFromString(data)
        kind = Kind(message.type)
    except (DecodeError, ValueError):
        raise PeerFault("sent what is no message of Kad-DHT") from None
    if len(message.key) > KEY_BYTES_MAX:
        raise PeerFault(f"a key of {len(message.key)} bytes, at most {KEY_BYTES_MAX}")
    record = message.record
    return KadMessage(
        kind=kind,
        key=message.key,
        record=Value(record.key, record.value) if message.HasField("record") else None,
        closer=_read_contacts(message.closerPeers[:CONTACTS_MAX]),
        providers=_read_contacts(message.providerPeers[:CONTACTS_MAX]),
    )


def write_message(message: KadMessage) -> bytes:
    """The bytes of a message."""
    written = Message(type=message.kind.name, key=message.key)
    if message.record is not None:
        written.record.key = message.record.key
        written.record.value = message.record.value
        written.record.timeReceived = _written_time(message.record.since)
    for contacts, peers in (
        (message.closer, written.closerPeers),
        (message.providers, written.providerPeers),
    ):
        for contact in contacts:
            encoded = (_encoded(contact.node, address) for address in contact.addresses)
            addrs = [raw for raw in encoded if raw]
            peers.add(id=PEER_ID_PREFIX + contact.node, addrs=addrs[:ADDRESSES_PER_PEER_MAX])
    return bytes(written.SerializeToString())


def _written_time(millis: int) -> str:
    """As RFC 3339 has it."""
    return datetime.fromtimestamp(millis // MILLIS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_contacts(peers: list[Message.Peer]) -> tuple[Contact, ...]:
    """Those with an Ed25519 key; of their addresses, those that a node can dial."""
    found: list[Contact] = []
    for peer in peers:
        node = node_of(peer.id)
        if node is not None:
            read = (_decoded(node, raw) for raw in peer.addrs[:ADDRESSES_PER_PEER_MAX])
            found.append(Contact(node, tuple(address for address in read if address)))
    return tuple(found)


@lru_cache(ENCODED_MAX)
def _encoded(node: NodeId, address: str) -> bytes:
    """As other implementations write it, without the id at the end; empty for no address."""
    with Contained():
        return bytes(Multiaddr(address.removesuffix(f"/p2p/{peer_text(node)}")).to_bytes())
    return b""


def _decoded(node: NodeId, raw: bytes) -> str:
    """The address as dpin writes it; empty where it is none that a node can dial."""
    text = ""
    with Contained():
        text = str(Multiaddr(raw[:ADDRESS_BYTES_MAX]))
    end = f"/p2p/{peer_text(node)}"
    whole = text if text.endswith(end) else text + end
    return whole if node_in(whole) == node else ""
