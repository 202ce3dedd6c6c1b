"""The second half of what reads a peer's bytes: whole handlers, and what people paste.

As in `fuzz_targets.py`, which has the table of all: PeerFault may come of anything; Misuse as well
where a person is the reader.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from libp2p.pubsub.pb.rpc_pb2 import RPC, Message

from dpin.base.blob import BlobManifest, blob_id, check_manifest
from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_DIGEST, BlobId, ChainId
from dpin.base.machine import PeerUp, Received
from dpin.base.sealed import RANDOM_BYTES, Seal, Unseal
from dpin.base.units import Instant
from dpin.compute.lineage import read_lineage
from dpin.compute.tallies import read_part, read_tally
from dpin.compute.task import Manifest
from dpin.net.address import peer_text
from dpin.net.ask import (
    AskDialBack,
    AskStatus,
    DialledBack,
    Greeted,
    Refusal,
    greeting,
    read_answer,
    read_question,
)
from dpin.net.bulkframe import HEADER_BYTES, TAG_BYTES, Kind, Opener, Sealer, read_header
from dpin.net.directory import Directory, Find, Kept, Put, Seek, Told
from dpin.net.framing import VarintDecoder, varint_frame
from dpin.net.kad import (
    answer,
    ask_addresses,
    ask_nodes,
    ask_providers,
    ask_to_keep,
    ask_to_tell,
    told_record,
)
from dpin.net.kadwire import Contact, KadMessage, Value, read_message, write_message
from dpin.net.kadwire import Kind as KadKind
from dpin.net.keeper import Keeper
from dpin.net.mesh import Frames
from dpin.net.records import Record, address_name, blob_key, write_addresses, write_provider
from dpin.node.invite import Card, read_card, read_invite, write_card

NOW: Final = Instant(10**15)
CHAIN: Final = ChainId(bytes(32))
ME: Final = SigningKey(bytes(32))
PEER: Final = SigningKey(bytes(31) + b"p")
BLOB: Final = BlobId(bytes(32))
ADDRESS: Final = f"/ip4/192.0.2.7/tcp/4001/p2p/{peer_text(PEER.node_id)}"
BULK_KEY: Final = bytes(32)
VARINT_BYTES_MAX: Final = 1 << 12
BODY_BYTES_MAX: Final = 1 << 12


Target = Callable[[bytes], object]


@dataclass(frozen=True)
class Fuzzed:
    """A reader, and what it should be given first."""

    read: Target
    samples: tuple[bytes, ...] = ()

    def __call__(self, data: bytes) -> None:
        """Read; a fault of the peer is what should come of most."""
        with suppress(PeerFault):
            self.read(data)


def _directory(data: bytes) -> None:
    """With a question of its own under way to the peer, so that answers are read too."""
    machine = Directory(ME.node_id, CHAIN, lambda _node: (ADDRESS,))
    machine.step(PeerUp(PEER.node_id), NOW)
    machine.step(Find(blob_key(BLOB)), NOW)
    machine.step(Received(PEER.node_id, data), NOW)


def _kad_question(data: bytes) -> None:
    keeper = Keeper(ME.node_id, CHAIN, lambda _node: (ADDRESS,))
    keeper.table.answered(PEER.node_id, ADDRESS, NOW)
    answer(keeper, PEER.node_id, data, NOW)


def _kad_answer(data: bytes) -> None:
    keeper = Keeper(ME.node_id, CHAIN, lambda _node: ())
    told_record(keeper, PEER.node_id, read_message(data), NOW)


def _varints(data: bytes) -> None:
    decoder = VarintDecoder(VARINT_BYTES_MAX)
    for at in range(0, len(data), 5):
        for body in decoder.feed(data[at : at + 5]):
            assert len(body) <= VARINT_BYTES_MAX


def _gossip(data: bytes) -> None:
    """DecodeError is contained and blamed on the peer (`guards.is_garbage`)."""
    frames = Frames()
    with suppress(DecodeError):
        for at in range(0, len(data), 11):
            for raw in frames.feed(data[at : at + 11]):
                RPC.FromString(raw)


def _bulk(data: bytes) -> None:
    """A frame as it comes from a socket: what it says of itself, then the seal."""
    header = read_header(data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"))
    length = header.length + TAG_BYTES
    if length <= BODY_BYTES_MAX:  # So much is read of the socket, and no more.
        opener = Opener(BULK_KEY)
        body = data[HEADER_BYTES:].ljust(length, b"\0")[:length]
        opener.open(opener.turn(), header, memoryview(bytearray(body)))


def _pasted(data: bytes) -> None:
    text = data.decode(errors="replace")
    for read in (read_invite, read_card):
        with suppress(Misuse):
            read(text)


def _sealed(data: bytes) -> None:
    with suppress(Misuse):
        Unseal(bytes(32), data)


def _lineage(data: bytes) -> None:
    read_lineage(data.decode(errors="replace"))


def _manifest(data: bytes) -> object:
    manifest: Manifest = decode(Manifest, data)
    return manifest


def _tallies(data: bytes) -> None:
    with suppress(PeerFault):
        read_tally(data)
    read_part(data)


def _blob_manifest(data: bytes) -> None:
    manifest = decode(BlobManifest, data)
    check_manifest(blob_id(manifest), manifest)


def _record() -> Record:
    return write_addresses(PEER, CHAIN, (ADDRESS,), NOW)


def _kad_value() -> bytes:
    name = address_name(PEER.node_id)
    return write_message(KadMessage(KadKind.GET_VALUE, name, Value(name, _record().raw)))


def _sealed_head() -> bytes:
    return bytes(Seal([ME.node_id], bytes(RANDOM_BYTES)).head)


def _card() -> bytes:
    return write_card(Card(ME.node_id, NO_DIGEST)).encode()


HANDLERS: Final[Mapping[str, Fuzzed]] = {
    "directory handler": Fuzzed(
        _directory,
        (
            encode(Put(1, (_record().raw,))),
            encode(Seek(1, blob_key(BLOB))),
            encode(Told(0, (write_provider(PEER, CHAIN, BLOB, NOW).raw,), (ADDRESS,))),
            encode(Kept(0, 1, (ADDRESS,))),
        ),
    ),
    "kad question": Fuzzed(
        _kad_question,
        (
            ask_addresses(PEER.node_id),
            ask_providers(BLOB),
            ask_nodes(b"name"),
            ask_to_keep(_record()),
            ask_to_tell(Contact(PEER.node_id, (ADDRESS,)), BLOB),
            write_message(KadMessage(KadKind.PING)),
        ),
    ),
    "kad answer": Fuzzed(_kad_answer, (_kad_value(),)),
    "varint frames": Fuzzed(_varints, (varint_frame(b"body") * 3,)),
    "gossip frames": Fuzzed(
        _gossip, (varint_frame(RPC(publish=[Message(data=b"x")]).SerializeToString()),)
    ),
    "node question": Fuzzed(
        read_question,
        (
            encode(greeting(CHAIN, "1", 1)),
            encode(AskStatus()),
            encode(AskDialBack(bytes(16), (4001,))),
        ),
    ),
    "node answer": Fuzzed(
        read_answer,
        (
            encode(Greeted(1, bytes(8), "1", 1, "192.0.2.7")),
            encode(DialledBack("192.0.2.7", ("connected",))),
            encode(Refusal("busy")),
        ),
    ),
    "bulk frame": Fuzzed(_bulk, (bytes(Sealer(BULK_KEY).sealed(Kind.HELLO, 0, b"")),)),
    "pasted": Fuzzed(_pasted, (_card(), b"dpin1:" + bytes(40))),
    "sealed head": Fuzzed(_sealed, (_sealed_head(),)),
    "lineage": Fuzzed(_lineage, ()),
    "manifest": Fuzzed(_manifest, ()),
    "tallies": Fuzzed(_tallies, ()),
    "blob manifest": Fuzzed(_blob_manifest, (encode(BlobManifest(1, (bytes(32),))),)),
}
