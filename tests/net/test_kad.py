"""Kad-DHT over the directory: one store and one set of checks; what is hostile is not kept."""

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.kad_dht.utils import create_key_from_binary
from libp2p.peer.id import ID

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, BlobId, ChainId, NodeId
from dpin.base.machine import PeerUp, Received, Send
from dpin.base.units import Instant, after, seconds
from dpin.net.address import PEER_ID_PREFIX, peer_text
from dpin.net.budget import DIRECTORY_PUTS, DIRECTORY_SEEKS
from dpin.net.directory import Announce, Directory, Find, Found, Seek, Told
from dpin.net.kad import (
    answer,
    ask_addresses,
    ask_providers,
    kad_protocol,
    told_record,
)
from dpin.net.kadwire import (
    ANSWER_BYTES_MAX,
    CONTACTS_MAX,
    KEY_BYTES_MAX,
    Contact,
    KadMessage,
    Kind,
    Value,
    read_message,
    write_message,
)
from dpin.net.records import (
    LIFE_MILLIS,
    Record,
    address_name,
    blob_key,
    blob_name,
    distance,
    heard_provider,
    node_key,
    position,
    write_addresses,
    write_provider,
)
from dpin.net.shelf import PER_KEY_MAX, PER_SIGNER_MAX, Shelf

NOW = Instant(1_700_000_000_000_000)
CHAIN = ChainId(bytes(range(32)))
BLOB = BlobId(bytes([7]) * 32)
KEYS = [SigningKey(number.to_bytes(32)) for number in range(1, 60)]
ME, STOCK, OTHER = KEYS[0].node_id, KEYS[1].node_id, KEYS[2].node_id


def address(node: NodeId, port: int = 1) -> str:
    return f"/ip4/11.0.0.1/tcp/{port}/p2p/{peer_text(node)}"


def directory(peers: Sequence[NodeId] = ()) -> Directory:
    made = Directory(ME, CHAIN, lambda node: (address(node),))
    for peer in peers:
        made.step(PeerUp(peer), NOW)
    return made


def own(key: SigningKey, now: Instant = NOW, port: int = 1) -> Record:
    return write_addresses(key, CHAIN, (address(key.node_id, port),), now)


def put(record: Record, name: bytes | None = None) -> bytes:
    key = address_name(record.signer) if name is None else name
    return write_message(KadMessage(Kind.PUT_VALUE, key, Value(key, record.raw)))


def provide(provider: NodeId, blob: BlobId = BLOB) -> bytes:
    said = Contact(provider, (address(provider),))
    return write_message(KadMessage(Kind.ADD_PROVIDER, blob_name(blob), providers=(said,)))


def asked(node: Directory, question: bytes, peer: NodeId = STOCK, now: Instant = NOW) -> KadMessage:
    told = answer(node.keeper, peer, question, now)
    assert told is not None
    assert len(told) <= ANSWER_BYTES_MAX
    return read_message(told)


def refused(node: Directory, question: bytes, peer: NodeId = STOCK, now: Instant = NOW) -> bool:
    return answer(node.keeper, peer, question, now) is None


# --- keys and places ---


def test_keys_and_places_are_those_that_libp2p_has() -> None:
    peer_id = ID.from_pubkey(Ed25519PublicKey.from_bytes(ME))
    assert address_name(ME) == f"/dpin/address/{peer_id.to_base58()}".encode()
    libp2p_place = create_key_from_binary(peer_id.to_bytes())
    assert distance(NO_DIGEST, ME) == int.from_bytes(libp2p_place)
    assert position(b"some key") == create_key_from_binary(b"some key")
    assert blob_name(BLOB).hex() == "1e20" + "07" * 32
    assert kad_protocol(CHAIN) == "/dpin/0001020304050607/kad/1.0.0"


# --- what is kept ---


def test_a_record_put_by_kad_is_found_by_the_directorys_own_messages() -> None:
    node = directory([STOCK])
    record = own(KEYS[1])
    echoed = asked(node, put(record))
    assert echoed.record is not None
    assert (echoed.key, echoed.record.value) == (address_name(STOCK), record.raw)
    [told] = node.step(Received(OTHER, encode(Seek(1, record.key))), NOW)
    assert told == Send(OTHER, encode(Told(1, (record.raw,), ())))


def test_a_record_announced_in_the_directory_is_found_by_kad() -> None:
    node = directory()
    node.step(Announce(own(KEYS[0])), NOW)
    told = answer(node.keeper, STOCK, ask_addresses(ME), NOW)
    assert told is not None
    record = told_record(directory().keeper, ME, read_message(told), NOW)
    assert record is not None
    assert record.addresses == (address(ME),)
    read = Message.FromString(told)
    assert read.record.key == address_name(ME)
    assert read.record.timeReceived == "2023-11-14T22:13:20Z"


def test_of_two_records_the_later_one_stays_and_both_puts_are_answered() -> None:
    node = directory()
    later = own(KEYS[1], after(NOW, seconds(60)), port=2)
    asked(node, put(later))
    echoed = asked(node, put(own(KEYS[1])))
    assert echoed.record is not None
    assert echoed.record.value == own(KEYS[1]).raw
    assert node.shelf.get(node_key(STOCK), NOW) == [later]


def test_the_providers_of_a_blob_are_those_that_signed_and_those_that_said_so() -> None:
    node = directory()
    node.shelf.put(write_provider(KEYS[2], CHAIN, BLOB, NOW), NOW)
    asked(node, provide(STOCK))
    told = asked(node, ask_providers(BLOB), OTHER)
    assert {contact.node for contact in told.providers} == {STOCK, OTHER}
    assert {contact.addresses for contact in told.providers} == {
        (address(STOCK),),
        (address(OTHER),),
    }


def test_what_a_provider_only_said_is_not_handed_on_as_its_word() -> None:
    node = directory([OTHER])
    asked(node, provide(STOCK))
    [told] = node.step(Received(OTHER, encode(Seek(1, blob_key(BLOB)))), NOW)
    assert isinstance(told, Send)
    assert told.payload == encode(Told(1, (), ()))
    node.step(Find(blob_key(BLOB)), NOW)
    effects = node.step(Received(OTHER, encode(Told(0, (), ()))), NOW)
    [found] = [effect for effect in effects if isinstance(effect, Found)]
    assert [record.signer for record in found.records] == [STOCK]


def test_an_answer_of_nothing_is_no_hit_even_where_something_unsigned_is_kept() -> None:
    node = directory([OTHER])
    asked(node, provide(STOCK))
    node.step(Find(blob_key(BLOB)), NOW)
    [blame] = node.step(Received(OTHER, encode(Told(0, (b"",), ()))), NOW)
    assert "Blame" in type(blame).__name__


def test_what_a_provider_signed_outlasts_what_it_only_said() -> None:
    shelf = Shelf(ME)
    signed = write_provider(KEYS[1], CHAIN, BLOB, NOW)
    later = after(NOW, seconds(60))
    assert shelf.put(signed, NOW)
    assert shelf.put(heard_provider(STOCK, BLOB, (), later), later)
    assert shelf.get(blob_key(BLOB), later) == [signed]
    ended = after(NOW, seconds(LIFE_MILLIS // 1000))
    assert shelf.put(heard_provider(STOCK, BLOB, (), ended), ended)
    assert shelf.put(write_provider(KEYS[1], CHAIN, BLOB, NOW), ended) is False
    again = write_provider(KEYS[1], CHAIN, BLOB, later)
    assert shelf.put(again, ended)
    assert shelf.get(blob_key(BLOB), ended) == [again]


# --- who is nearer ---


def test_the_nearest_peers_are_named_and_the_asker_is_not() -> None:
    peers = [key.node_id for key in KEYS[1:40]]
    node = directory(peers)
    told = asked(node, write_message(KadMessage(Kind.FIND_NODE, b"some key")))
    at = int.from_bytes(position(b"some key"))
    ranked = sorted(
        (peer for peer in peers if peer != STOCK),
        key=lambda peer: int.from_bytes(position(PEER_ID_PREFIX + peer)) ^ at,
    )
    assert [contact.node for contact in told.closer] == ranked[:CONTACTS_MAX]


def test_a_peer_that_is_sought_by_its_id_comes_first_and_so_does_the_node_itself() -> None:
    node = directory([key.node_id for key in KEYS[1:40]])
    node.step(Announce(own(KEYS[0])), NOW)
    for sought in (ME, OTHER):
        told = asked(node, write_message(KadMessage(Kind.FIND_NODE, PEER_ID_PREFIX + sought)))
        assert told.closer[0] == Contact(sought, (address(sought),))
        assert len(told.closer) == CONTACTS_MAX


def test_a_key_of_another_namespace_is_answered_with_peers_alone() -> None:
    node = directory([OTHER])
    for kind in (Kind.GET_VALUE, Kind.GET_PROVIDERS):
        told = asked(node, write_message(KadMessage(kind, b"/ipns/somebody")))
        assert (told.record, told.providers) == (None, ())
        assert [contact.node for contact in told.closer] == [OTHER]


def test_a_sign_of_life_is_answered() -> None:
    assert asked(directory(), write_message(KadMessage(Kind.PING))).kind == Kind.PING


# --- what is hostile ---


def test_values_of_another_namespace_are_not_kept() -> None:
    node = directory()
    for name in (b"/pk/" + PEER_ID_PREFIX + STOCK, b"/ipns/x", b"plain", b"/dpin/other/x"):
        assert refused(node, put(own(KEYS[1]), name))
    assert len(node.shelf) == 0


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (put(own(KEYS[1]), address_name(OTHER)), "not its own"),
        (put(write_provider(KEYS[1], CHAIN, BLOB, NOW), address_name(STOCK)), "not its own"),
        (put(write_addresses(KEYS[1], ChainId(bytes(32)), (address(STOCK),), NOW)), "signer's"),
        (write_message(KadMessage(Kind.PUT_VALUE, address_name(STOCK))), "without a record"),
        (
            write_message(
                KadMessage(Kind.PUT_VALUE, address_name(STOCK), Value(b"", own(KEYS[1]).raw))
            ),
            "another key",
        ),
        (
            write_message(
                KadMessage(
                    Kind.PUT_VALUE,
                    address_name(STOCK),
                    Value(address_name(STOCK), own(KEYS[1]).raw + bytes(2_000)),
                )
            ),
            "a record of",
        ),
        (write_message(KadMessage(Kind.GET_VALUE, bytes(KEY_BYTES_MAX + 1))), "a key of"),
        (write_message(KadMessage(Kind.FIND_NODE)), "no key"),
        (b"\x08\x63", "no message"),
        (b"\xff" * 20, "no message"),
    ],
)
def test_what_no_honest_peer_sends_is_a_fault_and_leaves_nothing(
    question: bytes, says: str
) -> None:
    node = directory()
    with pytest.raises(PeerFault, match=says):
        answer(node.keeper, STOCK, question, NOW)
    assert len(node.shelf) == 0


def test_a_forged_signature_is_a_fault() -> None:
    node, raw = directory(), own(KEYS[1]).raw
    name = address_name(STOCK)
    forged = Value(name, raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(PeerFault, match="not the signer's"):
        answer(node.keeper, STOCK, write_message(KadMessage(Kind.PUT_VALUE, name, forged)), NOW)


def test_a_record_of_another_time_is_refused_and_is_nobodys_fault() -> None:
    node = directory()
    assert refused(node, put(own(KEYS[1], after(NOW, seconds(86_400)))))
    late = after(NOW, seconds(LIFE_MILLIS // 1000))
    assert refused(node, put(own(KEYS[1])), now=late)
    asked(node, provide(STOCK))
    assert asked(node, ask_providers(BLOB), now=late).providers == ()


def test_nobody_is_made_a_provider_by_another() -> None:
    node = directory()
    assert refused(node, provide(OTHER), STOCK)
    assert len(node.shelf) == 0


def test_providers_of_what_is_no_blob_are_not_kept() -> None:
    node = directory()
    said = (Contact(STOCK, (address(STOCK),)),)
    for name in (b"\x12\x20" + BLOB, b"\x1e\x20" + BLOB[:-1], blob_name(BLOB) + b"x", b""):
        assert refused(node, write_message(KadMessage(Kind.ADD_PROVIDER, name, providers=said)))
    assert len(node.shelf) == 0


def test_addresses_of_others_or_of_nothing_are_dropped_from_what_a_provider_says() -> None:
    written = Message(type="ADD_PROVIDER", key=blob_name(BLOB))
    raw = (b"\x00", b"\xff" * 400, bytes.fromhex("040b000001060001"))
    written.providerPeers.add(id=PEER_ID_PREFIX + STOCK, addrs=raw)
    node = directory()
    asked(node, written.SerializeToString())
    [record] = node.shelf.get(blob_key(BLOB), NOW)
    assert record.addresses == (address(STOCK),)


def test_one_peer_fills_little_of_the_shelf_however_much_it_says() -> None:
    node = directory()
    moment = NOW
    for number in range(PER_SIGNER_MAX + 20):
        moment = after(moment, seconds(1))
        answer(node.keeper, STOCK, provide(STOCK, BlobId(number.to_bytes(32))), moment)
    assert len(node.shelf) == PER_SIGNER_MAX


def test_one_blob_takes_few_providers() -> None:
    node = directory()
    for key in KEYS:
        answer(node.keeper, key.node_id, provide(key.node_id), NOW)
    assert len(node.shelf) == PER_KEY_MAX
    assert len(asked(node, ask_providers(BLOB)).providers) == PER_KEY_MAX


def test_a_flood_is_refused_by_the_budgets_of_the_directory() -> None:
    node = directory()
    puts = [refused(node, put(own(KEYS[1]))) for _ in range(DIRECTORY_PUTS.burst + 1)]
    assert puts == [False] * DIRECTORY_PUTS.burst + [True]
    assert not refused(node, put(own(KEYS[1])), OTHER)
    look = ask_providers(BLOB)
    looks = [refused(node, look) for _ in range(DIRECTORY_SEEKS.burst + 1)]
    assert looks == [False] * DIRECTORY_SEEKS.burst + [True]
    assert node.step(Received(STOCK, encode(Seek(1, blob_key(BLOB)))), NOW) == []


def test_a_told_record_that_is_another_ones_is_a_fault_and_hearsay_is_bounded() -> None:
    keeper = directory().keeper
    value = Value(address_name(OTHER), own(KEYS[1]).raw)
    told = write_message(KadMessage(Kind.GET_VALUE, address_name(OTHER), value))
    with pytest.raises(PeerFault, match="another key"):
        told_record(keeper, OTHER, read_message(told), NOW)
    many = tuple(Contact(key.node_id, (address(key.node_id),)) for key in KEYS)
    hearsay = write_message(KadMessage(Kind.GET_PROVIDERS, blob_name(BLOB), providers=many))
    assert len(read_message(hearsay).providers) == CONTACTS_MAX


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_fault_or_are_kept(question: bytes) -> None:
    node = directory([OTHER])
    with suppress(PeerFault):
        answer(node.keeper, STOCK, question, NOW)
    assert len(node.shelf) == 0


CONTACTS = st.sampled_from(KEYS).map(lambda key: Contact(key.node_id, (address(key.node_id),)))
MESSAGES = st.builds(
    KadMessage,
    st.sampled_from(Kind),
    st.binary(max_size=KEY_BYTES_MAX),
    st.none() | st.builds(Value, st.binary(max_size=64), st.binary(max_size=64)),
    st.lists(CONTACTS, max_size=CONTACTS_MAX).map(tuple),
    st.lists(CONTACTS, max_size=CONTACTS_MAX).map(tuple),
)


@given(MESSAGES)
def test_what_is_written_is_read(message: KadMessage) -> None:
    assert read_message(write_message(message)) == message
