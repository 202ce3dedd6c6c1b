"""A stream of bytes to frames and back: a u32 length, big-endian, then that many bytes.

libp2p's own protocols write the length as an unsigned varint instead (LEB128).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from dpin.base.errors import PeerFault

LENGTH_BYTES: Final = 4
VARINT_BYTES_MAX: Final = 4  # of a length, seven bits in each
_MORE: Final = 0x80


def frame(body: bytes) -> bytes:
    """The bytes of one frame."""
    return len(body).to_bytes(LENGTH_BYTES) + body


def whole(data: bytes, most: int) -> list[bytes] | None:
    """The bodies of frames, if `data` is up to `most` of them, all of each and no more."""
    bodies: list[bytes] = []
    at, end = 0, len(data)
    while at < end and len(bodies) < most:
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(data[at:start])
        bodies.append(data[start:at])
    return bodies if at == end else None


class FrameDecoder:
    """Collects frames from pieces of any size; never holds more than one frame and one piece."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that are now whole; raises PeerFault at one above the limit.

        The whole result must be consumed before the next call. After a PeerFault the stream is
        lost: there is no next frame to find.
        """
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= LENGTH_BYTES:
            start = at + LENGTH_BYTES
            length = int.from_bytes(self._buffer[at:start])
            if length > self._limit:
                raise PeerFault(f"a frame of {length} bytes, at most {self._limit} are taken")
            if len(self._buffer) - start < length:
                break
            yield bytes(self._buffer[start : start + length])
            at = start + length
        del self._buffer[:at]

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._buffer)


def varint_frame(body: bytes) -> bytes:
    """The bytes of one frame whose length is a varint."""
    rest, head = len(body), bytearray()
    while rest >= _MORE:
        head.append(rest % _MORE | _MORE)
        rest //= _MORE
    return bytes((*head, rest)) + body


class VarintDecoder:
    """As FrameDecoder, of frames whose length is a varint."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See FrameDecoder."""
        self._buffer += data
        while (start := self._length_ends()) > 0:
            length = sum((byte % _MORE) << 7 * at for at, byte in enumerate(self._buffer[:start]))
            if length > self._limit:
                raise PeerFault(f"a frame of {length} bytes, at most {self._limit} are taken")
            if len(self._buffer) - start < length:
                break
            body = bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            yield body

    def _length_ends(self) -> int:
        """How many bytes the next length has; 0 until it is whole."""
        for at, byte in enumerate(self._buffer[:VARINT_BYTES_MAX], 1):
            if byte < _MORE:
                return at
        if len(self._buffer) >= VARINT_BYTES_MAX:
            raise PeerFault("a frame whose length does not end")
        return 0


class Decoder(Protocol):
    """Bytes to frames."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are now whole; raises PeerFault at one that is too long."""
        ...


@dataclass(frozen=True, slots=True)
class Framing:
    """How a protocol of one question and one answer writes both, and how long they may be."""

    question_bytes_max: int
    answer_bytes_max: int
    frame: Callable[[bytes], bytes] = frame
    decoder: Callable[[int], Decoder] = FrameDecoder
