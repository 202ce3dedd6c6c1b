"""A stream that names its protocol with its first bytes: the same words, and they are checked."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import Unavailable
from dpin.net.eager import EagerStream

WORDS = b"\x13/multistream/1.0.0\n" + b"\x0d/dpin/blob/2\n"


class Scripted:
    """What a peer says, in pieces; and what it was told."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.told: list[bytes] = []
        self.ended: list[str] = []

    async def read(self, n: int) -> bytes:
        if not self.pieces:
            return b""
        piece, rest = self.pieces[0][:n], self.pieces[0][n:]
        self.pieces[:1] = [rest] if rest else []
        return piece

    async def write(self, data: bytes) -> None:
        self.told.append(data)

    async def close(self) -> None:
        self.ended.append("closed")

    async def reset(self) -> None:
        self.ended.append("reset")


async def test_the_first_write_names_the_protocol_and_only_the_first() -> None:
    peer = Scripted()
    stream = EagerStream(peer, "/dpin/blob/2")
    await stream.write(b"question")
    await stream.write(b"more")
    assert peer.told == [WORDS + b"question", b"more"]


async def test_what_the_peer_says_after_its_words_is_the_answer() -> None:
    stream = EagerStream(Scripted(WORDS + b"answer", b"more"), "/dpin/blob/2")
    assert await stream.read(100) == b"answer"
    assert await stream.read(2) == b"mo"
    assert await stream.read(100) == b"re"
    assert await stream.read(100) == b""


@given(st.lists(st.integers(1, len(WORDS)), max_size=8))
async def test_the_words_may_come_in_any_pieces(cuts: list[int]) -> None:
    said = WORDS + b"answer"
    edges = [0, *sorted({*cuts}), len(said)]
    pieces = [said[start:end] for start, end in pairwise(edges)]
    stream = EagerStream(Scripted(*pieces), "/dpin/blob/2")
    assert await stream.read(100) == b"answer"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        WORDS[:-1],
        b"\x13/multistream/1.0.0\n\x03na\n",
        b"\x13/multistream/2.0.0\n",
        b"answer",
        WORDS.replace(b"blob/2", b"blob/1"),
    ],
)
async def test_a_peer_that_does_not_agree_is_unavailable(said: bytes) -> None:
    stream = EagerStream(Scripted(*([said] if said else [])), "/dpin/blob/2")
    with pytest.raises(Unavailable, match="does not speak"):
        await stream.read(100)


async def test_its_end_is_that_of_the_stream() -> None:
    peer = Scripted()
    stream = EagerStream(peer, "/dpin/blob/2")
    await stream.close()
    await stream.reset()
    assert peer.ended == ["closed", "reset"]
