"""A stream of bytes to frames and back: a u32 length, big-endian, then that many bytes."""

from collections.abc import Iterator
from typing import Final

from dpin.base.errors import PeerFault

LENGTH_BYTES: Final = 4


def frame(body: bytes) -> bytes:
    """The bytes of one frame."""
    return len(body).to_bytes(LENGTH_BYTES) + body


def whole(data: bytes) -> bytes | None:
    """The body of a frame, if `data` is one frame, all of it and no more."""
    if int.from_bytes(data[:LENGTH_BYTES]) != len(data) - LENGTH_BYTES:
        return None
    return data[LENGTH_BYTES:]


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
