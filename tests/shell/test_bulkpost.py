"""What goes out of one bulk socket, and in which order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
import trio.testing

from dpin.base.blob import CHUNK_BYTES
from dpin.base.ids import NodeId
from dpin.net.blobwire import AskChunk
from dpin.net.bulkflow import CHUNKS_AT_ONCE, Loan
from dpin.net.bulkframe import HEADER_BYTES, TAG_BYTES, Header, Kind, Opener, Sealer, read_header
from dpin.net.bulkpost import Post, Small
from dpin.net.bulkwire import Wire
from dpin.net.network import Traffic
from dpin.net.pace import Pace

KEY: Final = bytes(32)
BLOB: Final = bytes(32)
AT_ONCE_BYTES: Final = 256 << 10
PEER: Final = NodeId(bytes(32))


class Chunk:
    """A chunk that says how often it was lent."""

    def __init__(self, settled: list[int], number: int) -> None:
        self._settled = settled
        self._number = number

    def read(self, into: memoryview) -> int:
        """The number, and much after it."""
        into[:4] = self._number.to_bytes(4)
        return CHUNK_BYTES

    async def settle(self) -> None:
        """It was sent."""
        self._settled.append(self._number)


class Reader:
    """The other end: opens each frame with the nonce of its turn."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._opener = Opener(KEY)

    async def frame(self) -> tuple[Header, bytes]:
        """The next one; raises PeerFault where it is out of its order."""
        header = read_header(await self._exactly(HEADER_BYTES))
        sealed = memoryview(bytearray(await self._exactly(header.length + TAG_BYTES)))
        return header, bytes(self._opener.open(self._opener.turn(), header, sealed))

    async def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            data += await self._stream.receive_some(min(length - len(data), AT_ONCE_BYTES))
        return bytes(data)


@asynccontextmanager
async def posting(settled: list[int]) -> AsyncIterator[tuple[Post, Reader]]:
    """A post that runs, and the other end of its socket."""
    near, far = trio.socket.socketpair()
    far_stream = trio.SocketStream(far)
    traffic = Traffic()
    free = Pace(None, None)

    def lend(question: AskChunk) -> Loan:
        return Chunk(settled, question.index)

    wire = Wire(PEER, near, (free, free), lambda: traffic)
    post = Post(wire, Sealer(KEY), lend)
    async with far_stream, trio.open_nursery() as nursery:
        nursery.start_soon(post.run)
        await trio.testing.wait_all_tasks_blocked()
        yield post, Reader(far_stream)
        nursery.cancel_scope.cancel()
    wire.close()


async def test_answers_leave_in_the_order_of_their_seals_also_where_the_socket_is_full() -> None:
    bodies = [bytes([number]) * (200 * number) for number in range(60)]
    async with posting([]) as (post, reader), trio.open_nursery() as nursery:

        async def put() -> None:
            for number, body in enumerate(bodies):
                await post.put(Small(Kind.ANSWER, number, body), soon=number % 7 != 0)

        nursery.start_soon(put)
        await trio.testing.wait_all_tasks_blocked()  # Nobody reads: it is full by now.
        for number, body in enumerate(bodies):
            header, got = await reader.frame()
            assert (header.number, got) == (number, body)


async def test_chunks_asked_for_meanwhile_go_along_and_leave_answers_their_turn() -> None:
    count, settled = 2 * CHUNKS_AT_ONCE + 4, list[int]()
    async with posting(settled) as (post, reader):
        asked, came, answered_after = 0, list[int](), 0
        while len(came) < count:
            while asked < min(count, len(came) + 8):
                post.put_chunk(asked, AskChunk(BLOB, asked))
                asked += 1
            if len(came) == 3 and not answered_after:
                await post.put(Small(Kind.ANSWER, count, b"answer"))
                answered_after = -1
            header, body = await reader.frame()
            if header.kind == Kind.ANSWER:
                answered_after = len(came)
                continue
            assert int.from_bytes(body[:4]) == header.number
            came.append(header.number)
        assert sorted(came) == list(range(count))
        assert answered_after > 0, "it came while there were still chunks to come"
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(settled) == list(range(count)), "each loan is settled once"
