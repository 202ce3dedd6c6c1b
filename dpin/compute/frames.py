"""Words on the pipes between node and worker: length (4 bytes, big-endian), canonical bytes."""

from collections.abc import Iterator
from typing import Final

from dpin.base.codec import MESSAGE_BYTES_MAX, encode
from dpin.base.errors import PeerFault

LENGTH_BYTES: Final = 4


def framed(word: object) -> bytes:
    """A command or report as it goes over the pipe."""
    data = encode(word)
    assert len(data) <= MESSAGE_BYTES_MAX, "bulk bytes go by file"
    return len(data).to_bytes(LENGTH_BYTES) + data


class Unframer:
    """Puts the frames of one pipe together again."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that `data` completes; raises PeerFault for one over the limit."""
        self._held += data
        while len(self._held) >= LENGTH_BYTES:
            length = int.from_bytes(self._held[:LENGTH_BYTES])
            if length > MESSAGE_BYTES_MAX:
                raise PeerFault(f"a frame of {length} bytes, at most {MESSAGE_BYTES_MAX} are taken")
            end = LENGTH_BYTES + length
            if len(self._held) < end:
                return
            frame = bytes(self._held[LENGTH_BYTES:end])
            del self._held[:end]
            yield frame
