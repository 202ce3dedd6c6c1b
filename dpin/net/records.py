"""What the directory holds: where a node answers, and who has a blob. Signed, bounded, expiring.

A record is a `Signed` statement of the node it is about, so it does not matter who hands it on. Its
key is a digest of what it is about; the peers whose ids are nearest to a key keep its records. Keys
and distances are those of libp2p's Kad-DHT: SHA-256 of its keys and of peer ids, exclusive or.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, BlobId, ChainId, Digest, NodeId
from dpin.base.units import MICROS_PER_MILLI, Instant
from dpin.net.address import PEER_ID_PREFIX, node_in, peer_text
from dpin.net.envelope import open_signed, seal
from dpin.net.peers import ADDRESSES_PER_PEER_MAX

RECORD_TAG: Final = "dpin/directory/record/v1"
ADDRESS_KEY_PREFIX: Final = b"/dpin/address/"
BLOB_MULTIHASH_PREFIX: Final = bytes.fromhex("1e20")  # BLAKE3, 32 bytes
RECORD_BYTES_MAX: Final = 1536
LIFE_MILLIS: Final = 3_600_000  # the longest that a record may have left
CLOCKS_APART_MILLIS: Final = 600_000
PLACES_KEPT_MAX: Final = 4_096

Key = Digest


class AddressRecord(Wire, frozen=True, tag=1):
    """The signer answers here. Of two, the one that expires later counts (ms since 1970)."""

    addresses: tuple[str, ...]
    expires: int


class ProviderRecord(Wire, frozen=True, tag=2):
    """The signer has this blob, and gives it to everybody."""

    blob: bytes
    expires: int


Body = AddressRecord | ProviderRecord


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was checked, and its bytes.

    One without bytes was heard from the provider itself, over the connection that proves its key:
    that counts where it was heard, and cannot be handed on as its signer's word.
    """

    key: Key
    signer: NodeId
    expires: int
    raw: bytes
    addresses: tuple[str, ...] = ()  # of an address record, and of one that was heard

    def fresh(self, now: Instant) -> bool:
        """Whether it counts: it has not ended, and was not written in what is the future here."""
        left = self.expires - now // MICROS_PER_MILLI
        return 0 < left <= LIFE_MILLIS + CLOCKS_APART_MILLIS


def position(key: bytes) -> Key:
    """Where a key of Kad-DHT is among the places of nodes."""
    return Key(sha256(key).digest())


def address_name(node: NodeId) -> bytes:
    """The key of Kad-DHT under which the addresses of a node are kept."""
    return ADDRESS_KEY_PREFIX + peer_text(node).encode()


def blob_name(blob: BlobId) -> bytes:
    """The key of Kad-DHT under which the providers of a blob are kept: its multihash."""
    return BLOB_MULTIHASH_PREFIX + blob


def node_key(node: NodeId) -> Key:
    """Where the addresses of a node are kept."""
    return position(address_name(node))


def blob_key(blob: BlobId) -> Key:
    """Where the providers of a blob are kept."""
    return position(blob_name(blob))


@lru_cache(maxsize=PLACES_KEPT_MAX)
def place(node: NodeId) -> int:
    """Where a node stands among the keys."""
    return int.from_bytes(sha256(PEER_ID_PREFIX + node).digest())


def distance(key: Key, node: NodeId) -> int:
    """How far a node is from a key: Kademlia's exclusive or."""
    return int.from_bytes(key) ^ place(node)


def write_addresses(
    key: SigningKey, chain: ChainId, addresses: tuple[str, ...], now: Instant
) -> Record:
    """The record of where the owner of `key` answers."""
    body = AddressRecord(addresses[:ADDRESSES_PER_PEER_MAX], _ends(now))
    raw = _bounded(seal(key, chain, RECORD_TAG, encode(body)))
    return _record_of_addresses(key.node_id, body, raw)


def write_provider(key: SigningKey, chain: ChainId, blob: BlobId, now: Instant) -> Record:
    """The record of the owner of `key` having a blob."""
    body = ProviderRecord(blob, _ends(now))
    raw = seal(key, chain, RECORD_TAG, encode(body))
    return Record(blob_key(blob), key.node_id, body.expires, raw)  # Whoever signs need not check.


def heard_provider(
    provider: NodeId, blob: BlobId, addresses: tuple[str, ...], now: Instant
) -> Record:
    """What a provider says over its own connection, without a signature: it has a blob."""
    return Record(blob_key(blob), provider, _ends(now), b"", addresses[:ADDRESSES_PER_PEER_MAX])


def _ends(now: Instant) -> int:
    return now // MICROS_PER_MILLI + LIFE_MILLIS


def read_record(chain: ChainId, raw: bytes) -> Record:
    """Check a record of either kind; raises PeerFault for what its signer cannot have said.

    One of another time is no fault, for a clock may be off, its own or ours: see `Record.fresh`.
    """
    signed = open_signed(chain, RECORD_TAG, _bounded(raw))
    signer = NodeId(signed.signer)
    body: Body = decode(Body, signed.body, RECORD_BYTES_MAX)
    if isinstance(body, ProviderRecord):
        if len(body.blob) != ID_BYTES:
            raise PeerFault("a record of what is no blob")
        return Record(blob_key(BlobId(body.blob)), signer, body.expires, raw)
    return _record_of_addresses(signer, body, raw)


def _bounded(raw: bytes) -> bytes:
    if len(raw) > RECORD_BYTES_MAX:
        raise PeerFault(f"a record of {len(raw)} bytes, at most {RECORD_BYTES_MAX}")
    return raw


def _record_of_addresses(signer: NodeId, body: AddressRecord, raw: bytes) -> Record:
    if not 0 < len(body.addresses) <= ADDRESSES_PER_PEER_MAX or any(
        node_in(address) != signer for address in body.addresses
    ):
        raise PeerFault("a record of addresses that are not its signer's")
    return Record(node_key(signer), signer, body.expires, raw, body.addresses)
