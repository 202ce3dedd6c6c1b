"""What is asked and answered about blobs and bulk sockets, over streams and sockets alike."""

from collections.abc import Collection
from typing import Final

from dpin.base.blob import CHUNKS_MAX, BlobManifest, check_chunk, check_manifest
from dpin.base.codec import Wire, decode
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId
from dpin.net.network import ANSWER_BYTES_MAX, QUESTION_BYTES_MAX

REASON_CHARACTERS_MAX: Final = 200
HAVE_BYTES_MAX: Final = CHUNKS_MAX // 8
PORT_MAX: Final = 65_535
SMALL_BLOB_BYTES_MAX: Final = 64 << 10  # of one chunk, it comes with its manifest


class AskManifest(Wire, frozen=True, tag=1):
    """What does this blob consist of?"""

    blob: bytes


class AskChunk(Wire, frozen=True, tag=2):
    """Give me this part."""

    blob: bytes
    index: int


class AskHave(Wire, frozen=True, tag=3):
    """Which parts of this blob do you have?"""

    blob: bytes


class AskTicket(Wire, frozen=True, tag=4):
    """Let me connect to your bulk port once; `salt` is the asker's share of the keys, 32 bytes."""

    salt: bytes


class AskDial(Wire, frozen=True, tag=5):
    """Connect to my bulk port, at the address you know me by, with this ticket of mine."""

    port: int
    ticket: bytes
    secret: bytes


class AskBlob(Wire, frozen=True, tag=6):
    """What does this blob consist of; and all of it, if that is little? To peers of BLOB_2."""

    blob: bytes


class Manifest(Wire, frozen=True, tag=1):
    """The answer to AskManifest, and to AskBlob where the blob is not small or not here."""

    manifest: BlobManifest


class Chunk(Wire, frozen=True, tag=2):
    """The answer to AskChunk."""

    data: bytes


class Refused(Wire, frozen=True, tag=3):
    """No answer; the reason is for people."""

    reason: str


class Have(Wire, frozen=True, tag=4):
    """The answer to AskHave: bit i of byte i // 8, the lowest first, is chunk i."""

    bits: bytes


class Ticket(Wire, frozen=True, tag=5):
    """The answer to AskTicket: where to connect, what to show there, what to make keys of."""

    port: int
    ticket: bytes
    secret: bytes


class Dialled(Wire, frozen=True, tag=6):
    """The answer to AskDial: the socket stands."""


class Whole(Wire, frozen=True, tag=7):
    """The answer to AskBlob: a blob of one chunk of at most SMALL_BLOB_BYTES_MAX, and that chunk.

    Untrusted until `check_whole` has passed it.
    """

    manifest: BlobManifest
    data: bytes


BlobQuestion = AskBlob | AskChunk | AskHave  # that a fetch puts
SocketQuestion = AskTicket | AskDial
Question = BlobQuestion | AskManifest | SocketQuestion
Reply = Manifest | Chunk | Refused | Have | Ticket | Dialled | Whole


def read_question(data: bytes) -> Question:
    """Decode a question; raises PeerFault."""
    question: Question = decode(Question, data, QUESTION_BYTES_MAX)
    return question


def read_reply(data: bytes) -> Reply:
    """Decode an answer; raises PeerFault."""
    reply: Reply = decode(Reply, data, ANSWER_BYTES_MAX)
    return reply


def is_small(manifest: BlobManifest) -> bool:
    """Whether a blob may come with its manifest."""
    return len(manifest.chunks) == 1 and manifest.length <= SMALL_BLOB_BYTES_MAX


def check_whole(blob: BlobId, whole: Whole) -> None:
    """Raise PeerFault unless this is all of the small blob that was asked for, and nothing else."""
    check_manifest(blob, whole.manifest)
    if not is_small(whole.manifest):
        raise PeerFault(f"sent a blob of {whole.manifest.length} bytes with its manifest")
    check_chunk(whole.manifest, 0, whole.data)


def bits_of(indices: Collection[int]) -> bytes:
    """The body of a `Have`."""
    bits = bytearray((max(indices, default=-1) + 8) // 8)
    for index in indices:
        bits[index // 8] |= 1 << index % 8
    return bytes(bits)


def indices_of(have: Have) -> frozenset[int]:
    """The chunks that a `Have` names; raises PeerFault where it is longer than any blob."""
    if len(have.bits) > HAVE_BYTES_MAX:
        raise PeerFault(f"has {8 * len(have.bits)} chunks of a blob, at most {CHUNKS_MAX} are one")
    return frozenset(
        8 * at + bit for at, byte in enumerate(have.bits) for bit in range(8) if byte >> bit & 1
    )
