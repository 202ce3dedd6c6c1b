"""What wraps every message: which network, which service, and for relayed ones, whose word it is.

A direct message needs no signature: the connection proves the sender. What travels by gossip or
through third parties is `Signed`, over a digest in the domain of its tag.
"""

from enum import IntEnum
from typing import Final

from dpin.base.codec import MESSAGE_BYTES_MAX, Wire, decode, encode
from dpin.base.crypto import SIGNATURE_BYTES, SigningKey, digest, verify
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import ID_BYTES, ChainId, NodeId

VERSION: Final = 1
CHAIN_PREFIX_BYTES: Final = 8  # tells networks apart; what must not be forged signs the whole id
OVERHEAD_BYTES_MAX: Final = 1024


class Service(IntEnum):
    """Who reads a message."""

    LEDGER = 1
    MARKET = 2
    VERIFY = 3
    PEERS = 4
    DIRECTORY = 5


class Envelope(Wire, frozen=True):
    """One direct message."""

    version: int
    chain: bytes
    service: Service
    body: bytes


class Signed(Wire, frozen=True):
    """A statement that anybody may carry."""

    signer: bytes
    body: bytes
    signature: bytes


def wrap(chain: ChainId, service: Service, body: bytes) -> bytes:
    """The bytes of one direct message; raises Misuse for a body that no peer would take."""
    if len(body) > MESSAGE_BYTES_MAX:
        raise Misuse(f"a message of {len(body)} bytes, at most {MESSAGE_BYTES_MAX} are sent")
    return encode(Envelope(VERSION, chain[:CHAIN_PREFIX_BYTES], service, body))


def prefix(chain: ChainId, service: Service) -> bytes:
    """How every message of one network to one service begins; those of no other do."""
    return encode(Envelope(VERSION, chain[:CHAIN_PREFIX_BYTES], service, b""))[: -len(encode(b""))]


def open_envelope(chain: ChainId, data: bytes) -> Envelope:
    """Read one direct message; raises PeerFault where it is not for this node."""
    envelope = decode(Envelope, data, MESSAGE_BYTES_MAX + OVERHEAD_BYTES_MAX)
    if envelope.version != VERSION:
        raise PeerFault(f"speaks version {envelope.version}, this node {VERSION}")
    if envelope.chain != chain[:CHAIN_PREFIX_BYTES]:
        raise PeerFault("belongs to another network")
    if len(envelope.body) > MESSAGE_BYTES_MAX:
        raise PeerFault(f"message of {len(envelope.body)} bytes, at most {MESSAGE_BYTES_MAX}")
    return envelope


def seal(key: SigningKey, chain: ChainId, tag: str, body: bytes) -> bytes:
    """The bytes of a statement of kind `tag` by the owner of `key`."""
    return encode(Signed(key.node_id, body, key.sign(tag, chain, digest(tag, body))))


def open_signed(chain: ChainId, tag: str, data: bytes) -> Signed:
    """Read a statement of kind `tag`; raises PeerFault unless its signer made it, here."""
    signed = decode(Signed, data, MESSAGE_BYTES_MAX + OVERHEAD_BYTES_MAX)
    if len(signed.signer) != ID_BYTES or len(signed.signature) != SIGNATURE_BYTES:
        raise PeerFault("a signer or a signature of the wrong length")
    if not verify(NodeId(signed.signer), tag, chain, digest(tag, signed.body), signed.signature):
        raise PeerFault("a signature that is not the signer's")
    return signed
