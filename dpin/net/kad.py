"""libp2p's Kad-DHT over the directory: the same records, checks and budgets, for stock nodes.

Values are signed address records, providers those of blobs; keys are `/dpin/address/<peer id>` and
the multihash of a blob. Whatever else is asked for, or brought, is not here: it is answered with
peers that are nearer, or not at all. What a peer cannot have meant well raises PeerFault.
"""

from collections.abc import Iterable
from typing import Final

from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, BlobId, ChainId, NodeId
from dpin.base.units import Instant
from dpin.net.address import node_of
from dpin.net.envelope import CHAIN_PREFIX_BYTES
from dpin.net.framing import Framing, VarintDecoder, varint_frame
from dpin.net.kadwire import (
    ANSWER_BYTES_MAX,
    CONTACTS_MAX,
    QUESTION_BYTES_MAX,
    Contact,
    KadMessage,
    Kind,
    Value,
    read_message,
    write_message,
)
from dpin.net.keeper import Keeper, known
from dpin.net.records import (
    ADDRESS_KEY_PREFIX,
    BLOB_MULTIHASH_PREFIX,
    LIFE_MILLIS,
    RECORD_BYTES_MAX,
    Record,
    address_name,
    blob_name,
    heard_provider,
    node_key,
    position,
)

FRAMING: Final = Framing(QUESTION_BYTES_MAX, ANSWER_BYTES_MAX, varint_frame, VarintDecoder)


def kad_protocol(chain: ChainId) -> str:
    """The protocol of one network: whoever speaks it belongs to that network."""
    return f"/dpin/{chain[:CHAIN_PREFIX_BYTES].hex()}/kad/1.0.0"


def answer(keeper: Keeper, peer: NodeId, question: bytes, now: Instant) -> bytes | None:
    """The answer to a peer's question; None where it is refused, which is nobody's fault.

    Raises PeerFault for what no honest peer sends.
    """
    asked = read_message(question)
    match asked.kind:
        case Kind.PUT_VALUE:
            told = _put_value(keeper, peer, asked, now)
        case Kind.ADD_PROVIDER:
            told = _add_provider(keeper, peer, asked, now)
        case Kind.PING:
            told = KadMessage(Kind.PING) if keeper.seeks.charge(peer, 1, now) else None
        case _:
            told = _look(keeper, peer, asked, now) if keeper.seeks.charge(peer, 1, now) else None
    return None if told is None else write_message(told)


def ask_addresses(node: NodeId) -> bytes:
    """The question where a node answers, for `told_record`."""
    return write_message(KadMessage(Kind.GET_VALUE, address_name(node)))


def told_record(keeper: Keeper, node: NodeId, told: KadMessage, now: Instant) -> Record | None:
    """The record that an answer has, where there is one that counts; raises PeerFault."""
    value = told.record
    if value is None:
        return None
    record = keeper.read(value.value)
    if record.key != node_key(node):
        raise PeerFault("told of another key than was asked for")
    return record if record.fresh(now) else None


def ask_providers(blob: BlobId) -> bytes:
    """The question who has a blob; who is named is hearsay, each to be asked itself."""
    return write_message(KadMessage(Kind.GET_PROVIDERS, blob_name(blob)))


def ask_nodes(name: bytes) -> bytes:
    """The question who is near to a name."""
    return write_message(KadMessage(Kind.FIND_NODE, name))


def ask_to_keep(record: Record) -> bytes:
    """The question to keep the signer's record of addresses."""
    name = address_name(record.signer)
    return write_message(KadMessage(Kind.PUT_VALUE, name, _value(name, record)))


def ask_to_tell(provider: Contact, blob: BlobId) -> bytes:
    """The question to tell others, for an hour, that the asker, at these addresses, has a blob."""
    return write_message(KadMessage(Kind.ADD_PROVIDER, blob_name(blob), providers=(provider,)))


def _put_value(keeper: Keeper, peer: NodeId, asked: KadMessage, now: Instant) -> KadMessage | None:
    """Keep a signed record of addresses; what is kept, or outdone by a later one, is echoed."""
    brought = asked.record
    if brought is None or brought.key != asked.key:
        raise PeerFault("brought a value without a record, or with that of another key")
    if not asked.key.startswith(ADDRESS_KEY_PREFIX) or not keeper.puts.charge(peer, 1, now):
        return None
    record = keeper.read(brought.value)
    if record.key != position(asked.key):
        raise PeerFault("brought a record under a key that is not its own")
    if not keeper.shelf.put(record, now):
        return None
    return KadMessage(Kind.PUT_VALUE, asked.key, _value(asked.key, record))


def _add_provider(
    keeper: Keeper, peer: NodeId, asked: KadMessage, now: Instant
) -> KadMessage | None:
    """Keep what a provider says of itself; what it says of others is not looked at."""
    blob = _blob_in(asked.key)
    own = next((contact for contact in asked.providers if contact.node == peer), None)
    if blob is None or own is None or not keeper.puts.charge(peer, 1, now):
        return None
    kept = keeper.shelf.put(heard_provider(peer, blob, own.addresses, now), now)
    return KadMessage(Kind.ADD_PROVIDER, asked.key) if kept else None


def _look(keeper: Keeper, peer: NodeId, asked: KadMessage, now: Instant) -> KadMessage:
    """What is kept under a key, and the peers, connected or reached before, nearest to it."""
    if not asked.key:
        raise PeerFault("asked for no key")
    key = position(asked.key)
    records = keeper.shelf.get(key, now)
    near = [one for one in known(keeper, key, CONTACTS_MAX + 1) if one.node != peer]
    providers: tuple[Contact, ...] = ()
    value: Value | None = None
    match asked.kind:
        case Kind.GET_PROVIDERS if _blob_in(asked.key) is not None:
            providers = tuple(_provider(keeper, record, now) for record in records)
        case Kind.GET_VALUE if asked.key.startswith(ADDRESS_KEY_PREFIX) and records:
            value = _value(asked.key, records[0])
        case Kind.FIND_NODE:
            sought = node_of(asked.key)
            if sought is not None:
                near = [Contact(sought, ()), *(one for one in near if one.node != sought)]
        case _:
            pass
    closer = _reachable(keeper, near[:CONTACTS_MAX], now)
    return KadMessage(asked.kind, asked.key, value, closer, providers)


def _value(name: bytes, record: Record) -> Value:
    return Value(name, record.raw, since=record.expires - LIFE_MILLIS)


def _provider(keeper: Keeper, record: Record, now: Instant) -> Contact:
    return Contact(record.signer, record.addresses or keeper.addresses(record.signer, now))


def _reachable(keeper: Keeper, peers: Iterable[Contact], now: Instant) -> tuple[Contact, ...]:
    """With the addresses at which they answered, or else say that they do, or are believed to."""
    contacts = (
        Contact(one.node, one.addresses or keeper.addresses(one.node, now)) for one in peers
    )
    return tuple(contact for contact in contacts if contact.addresses)


def _blob_in(name: bytes) -> BlobId | None:
    """The blob that a multihash names; None where it is of another kind."""
    start = len(BLOB_MULTIHASH_PREFIX)
    whole = name.startswith(BLOB_MULTIHASH_PREFIX) and len(name) == start + ID_BYTES
    return BlobId(name[start:]) if whole else None


assert RECORD_BYTES_MAX < QUESTION_BYTES_MAX, "a record fits into a question"
