"""A stream whose first bytes name its protocol and go on at once: a question is one round trip.

libp2p's multistream-select waits twice before the first byte of ours, for the peer's own name and
for its yes; both are known beforehand from a peer that has said what it speaks. What goes over the
wire is the same, only sooner, and the peer's words are checked when they come.
"""

from typing import Final

from dpin.base.errors import Unavailable
from dpin.net.links import Stream

MULTISTREAM: Final = "/multistream/1.0.0"
WORD_BYTES_MAX: Final = 127  # so that its length takes one byte


def _word(text: str) -> bytes:
    """One message of multistream-select."""
    body = text.encode() + b"\n"
    assert len(body) <= WORD_BYTES_MAX, "protocols of ours have short names"
    return bytes([len(body)]) + body


class EagerStream:
    """See `dpin.net.links.Stream`; the first write names the protocol."""

    def __init__(self, stream: Stream, protocol: str) -> None:
        """A stream of which nothing is negotiated yet."""
        self._stream = stream
        self._words = _word(MULTISTREAM) + _word(protocol)
        self._to_say = self._words
        self._to_hear = self._words

    async def write(self, data: bytes) -> None:
        """All of `data`."""
        words, self._to_say = self._to_say, b""
        await self._stream.write(words + data)

    async def read(self, n: int) -> bytes:
        """Some bytes; raises Unavailable where the peer does not agree."""
        while self._to_hear:
            heard = await self._stream.read(len(self._to_hear))
            if not heard or not self._to_hear.startswith(heard):
                raise Unavailable("the peer does not speak what it said it does")
            self._to_hear = self._to_hear[len(heard) :]
        return await self._stream.read(n)

    async def close(self) -> None:
        """No more will be written."""
        await self._stream.close()

    async def reset(self) -> None:
        """End both directions now."""
        await self._stream.reset()
