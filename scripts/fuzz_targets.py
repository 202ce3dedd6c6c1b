"""Everything in a node that reads what a peer sends, as functions of bytes.

Each may raise PeerFault, and nothing else; each is given samples that are right, for a fuzzer to
start from. The short form is `tests/net/test_fuzz.py`, the long one `python -m scripts.fuzz`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

from dpin.base.blob import blob_id, manifest_of
from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import BlobId, ChainId, Digest, NodeId
from dpin.base.leaf import opened
from dpin.base.machine import PeerUp, Received
from dpin.base.units import Instant
from dpin.ledger.blocks import read_block
from dpin.ledger.chains import OwnChains
from dpin.ledger.execute import Executor
from dpin.ledger.identity import Identity
from dpin.ledger.mempool import identify
from dpin.ledger.messages import read_message
from dpin.ledger.replica import Replica
from dpin.ledger.statemessages import read_state_message
from dpin.market import messages
from dpin.net.address import node_in, peer_text
from dpin.net.bans import Bans
from dpin.net.blobwire import (
    AskBlob,
    AskChunk,
    AskHave,
    AskManifest,
    Chunk,
    Whole,
    check_whole,
    read_question,
    read_reply,
)
from dpin.net.bulkframe import HEADER_BYTES, read_header
from dpin.net.discovery import Discovery
from dpin.net.envelope import Service, open_envelope, open_signed, seal, wrap
from dpin.net.framing import FrameDecoder, frame
from dpin.net.introductions import AskPeers, Start, TellPeers
from dpin.net.memory import read as read_memory
from dpin.net.memory import written
from dpin.net.peers import Peers
from dpin.net.prefix import group_of, ip_in
from dpin.net.records import read_record, write_addresses, write_provider
from dpin.node.presence import Presence, announce, heard
from dpin.sim.ledgers import found_network
from dpin.verify.messages import VerifyMessage
from scripts.fuzz_handlers import HANDLERS, Fuzzed

NOW: Final = Instant(10**15)
CHAIN: Final = ChainId(bytes(32))
KEY: Final = SigningKey(bytes(32))
PEER: Final = SigningKey(bytes(31) + b"p")
BLOB: Final = BlobId(bytes(32))
SMALL: Final = blob_id(manifest_of(b"data"))
FRAME_BYTES_MAX: Final = 1 << 12


def _address() -> str:
    return f"/ip4/192.0.2.7/tcp/4001/p2p/{peer_text(PEER.node_id)}"


def _frames(data: bytes) -> None:
    decoder = FrameDecoder(FRAME_BYTES_MAX)
    for at in range(0, len(data), 7):
        for body in decoder.feed(data[at : at + 7]):
            assert len(body) <= FRAME_BYTES_MAX
    assert decoder.pending <= FRAME_BYTES_MAX + 11


def _discovery(data: bytes) -> None:
    machine = Discovery(Start(KEY, (), CHAIN), Peers(), Bans())
    machine.step(PeerUp(PEER.node_id), NOW)
    machine.step(Received(PEER.node_id, data), NOW)


@cache
def _replica() -> tuple[Replica, NodeId]:
    founding = found_network("fuzz", 1, 4)
    identity = Identity(founding.keys[0], OwnChains({0: founding.tables[0]}))
    replica = Replica(founding.genesis, identity, Executor(founding.genesis), ())
    replica.step(PeerUp(founding.keys[1].node_id), NOW)
    return replica, founding.keys[1].node_id


def _ledger(data: bytes) -> None:
    """A whole validator; what it takes it keeps, as in life."""
    replica, peer = _replica()
    replica.step(Received(peer, data), NOW)


def _market(data: bytes) -> object:
    return messages.read_message(data)


def _verify(data: bytes) -> object:
    message: VerifyMessage = decode(VerifyMessage, data)
    return message


def _places(data: bytes) -> None:
    text = data.decode(errors="replace")
    node_in(text)
    group_of(ip_in(text))


def _blob_answer(data: bytes) -> None:
    reply = read_reply(data)
    if isinstance(reply, Whole):
        check_whole(SMALL, reply)


def _record() -> bytes:
    return write_addresses(PEER, CHAIN, (_address(),), NOW).raw


TARGETS: Final[Mapping[str, Fuzzed]] = {
    "frames": Fuzzed(_frames, (frame(b"body") * 3,)),
    "envelope": Fuzzed(
        lambda data: open_envelope(CHAIN, data), (wrap(CHAIN, Service.LEDGER, b"x"),)
    ),
    "signed": Fuzzed(
        lambda data: open_signed(CHAIN, "tag", data), (seal(KEY, CHAIN, "tag", b"body"),)
    ),
    "record": Fuzzed(
        lambda data: read_record(CHAIN, data),
        (_record(), write_provider(PEER, CHAIN, BLOB, NOW).raw),
    ),
    "presence": Fuzzed(
        lambda data: heard(CHAIN, data),
        (announce(KEY, CHAIN, Presence("name", "1", (_address(),), 1)),),
    ),
    "discovery": Fuzzed(
        _discovery, (encode(AskPeers(_record())), encode(TellPeers((_record(), _record()))))
    ),
    "memory": Fuzzed(read_memory, (written(Peers(), Bans(), ()),)),
    "address": Fuzzed(_places, (_address().encode(),)),
    "blob question": Fuzzed(
        read_question,
        tuple(map(encode, (AskManifest(BLOB), AskChunk(BLOB, 1), AskHave(BLOB), AskBlob(BLOB)))),
    ),
    "blob answer": Fuzzed(
        _blob_answer, (encode(Chunk(b"data")), encode(Whole(manifest_of(b"data"), b"data")))
    ),
    "bulk header": Fuzzed(lambda data: read_header(data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"))),
    "block": Fuzzed(read_block),
    "ledger message": Fuzzed(read_message),
    "state message": Fuzzed(read_state_message),
    "transaction": Fuzzed(identify),
    "leaf": Fuzzed(lambda data: opened(data, (), 1, Digest(bytes(32)))),
    "ledger": Fuzzed(_ledger),
    "market": Fuzzed(_market),
    "verify": Fuzzed(_verify),
    **HANDLERS,
}
