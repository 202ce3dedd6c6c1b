"""Frames of a bulk socket: `[length u32][kind u8][number u32]`, then that many bytes, sealed.

AES-256-GCM (NIST SP 800-38D); the header is authenticated too; the nonce is the count of frames
that went this way. Bodies are sealed and opened where they lie: a copy costs as much as the cipher.
"""

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dpin.base.blob import CHUNK_BYTES
from dpin.base.errors import PeerFault
from dpin.net.network import ANSWER_BYTES_MAX, QUESTION_BYTES_MAX

_HEADER: Final = Struct(">IBI")
HEADER_BYTES: Final = _HEADER.size
TAG_BYTES: Final = 16
NONCE_BYTES: Final = 12
FRAMES_MAX: Final = 1 << 32  # under one key
CHUNK_FRAME_BYTES: Final = HEADER_BYTES + CHUNK_BYTES + TAG_BYTES


class Kind(IntEnum):
    """What a frame holds."""

    HELLO = 0  # nothing: it shows that the sender has the key
    QUESTION = 1
    ANSWER = 2
    CHUNK = 3  # the bytes of a chunk: the answer to AskChunk, without an encoding around it


_BYTES_MAX: Final = {
    Kind.HELLO: 0,
    Kind.QUESTION: QUESTION_BYTES_MAX,
    Kind.ANSWER: ANSWER_BYTES_MAX,
    Kind.CHUNK: CHUNK_BYTES,
}


class Header(NamedTuple):
    """How long a body is, what it is, and which question it is or answers."""

    length: int
    kind: Kind
    number: int


def read_header(data: bytes | bytearray) -> Header:
    """The header of a frame; raises PeerFault for a kind or a length that is none."""
    length, kind, number = _HEADER.unpack(data)
    if kind not in _BYTES_MAX:
        raise PeerFault(f"a bulk frame of the unknown kind {kind}")
    if length > _BYTES_MAX[Kind(kind)]:
        raise PeerFault(f"a bulk frame of {length} bytes and kind {kind}")
    return Header(length, Kind(kind), number)


class _Counted:
    """One direction of a socket."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._count = 0

    def _nonce(self) -> bytes:
        if self._count >= FRAMES_MAX:
            raise PeerFault("more frames than one key may seal")
        self._count += 1
        return (self._count - 1).to_bytes(NONCE_BYTES)


class Sealer(_Counted):
    """The sending end."""

    def seal(self, header: Header, frame: bytearray) -> memoryview:
        """Seal the body that lies in `frame` behind the room for a header; the whole frame.

        `frame` has room for the tag as well.
        """
        return self.seal_from(memoryview(frame)[HEADER_BYTES:][: header.length], header, frame)

    def seal_from(self, body: memoryview, header: Header, frame: bytearray) -> memoryview:
        """The same for a body that lies elsewhere and stays as it is: it is not copied first."""
        _HEADER.pack_into(frame, 0, *header)
        whole = memoryview(frame)[: HEADER_BYTES + header.length + TAG_BYTES]
        self._aead.encrypt_into(self._nonce(), body, whole[:HEADER_BYTES], whole[HEADER_BYTES:])
        return whole

    def sealed(self, kind: Kind, number: int, body: bytes) -> memoryview:
        """A frame of its own for a small body."""
        frame = bytearray(HEADER_BYTES) + body + bytes(TAG_BYTES)
        return self.seal(Header(len(body), kind, number), frame)


class Opener(_Counted):
    """The receiving end."""

    def turn(self) -> bytes:
        """The nonce of the frame that comes next; frames may be opened in any order."""
        return self._nonce()

    def open(self, nonce: bytes, header: Header, sealed: memoryview) -> memoryview:
        """The body, opened where it lay; raises PeerFault where it is not what was sealed."""
        body = sealed[: header.length]
        self.open_into(nonce, header, sealed, body)
        return body

    def open_into(self, nonce: bytes, header: Header, sealed: memoryview, room: memoryview) -> None:
        """The same into the place where the body belongs, of `header.length` bytes."""
        try:
            self._aead.decrypt_into(nonce, sealed, _HEADER.pack(*header), room)
        except InvalidTag:
            raise PeerFault("a bulk frame that was not sealed with the key agreed on") from None
