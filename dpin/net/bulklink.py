"""One bulk socket: sealed frames both ways, either side may ask, chunks go between disk and wire.

Bounded whatever the other side does: one chunk of either direction is in memory,
BULK_QUESTIONS_MAX questions wait, and a socket that stalls, trickles or is silent is closed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import trio

from dpin.base.codec import encode
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import NodeId
from dpin.net.blobwire import (
    REASON_CHARACTERS_MAX,
    AskChunk,
    AskHave,
    AskManifest,
    BlobQuestion,
    Refused,
    Reply,
    SocketQuestion,
    read_question,
)
from dpin.net.budget import BULK_QUESTIONS_MAX
from dpin.net.bulkasked import Land, Questions
from dpin.net.bulkframe import (
    CHUNK_FRAME_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Header,
    Kind,
    Opener,
    Sealer,
    read_header,
)
from dpin.net.bulkwire import Wire
from dpin.net.contained import Contained, one_line
from dpin.net.network import Traffic
from dpin.net.pace import Pace

AskPeer = Callable[[NodeId, BlobQuestion | SocketQuestion], Awaitable[Reply]]
Small = AskManifest | AskHave | SocketQuestion  # all but chunks
_Put = tuple[int, Small]  # with its number


class Lender(Protocol):
    """Who gives chunks away."""

    async def lend(
        self, peer: NodeId, question: AskChunk, into: memoryview, then: Callable[[int], None]
    ) -> None:
        """Put a chunk into `into` and call `then` with its length, both in one thread.

        Raises Unavailable where the peer gets none.
        """
        ...


class Answerer(Lender, Protocol):
    """Who answers all that is asked over a bulk socket."""

    async def answer(self, peer: NodeId, question: Small) -> Reply:
        """All but chunks."""
        ...


@dataclass(frozen=True, slots=True)
class Around:
    """What every bulk socket of a node uses."""

    answerer: Answerer
    inward: Pace
    outward: Pace
    complain: Callable[[NodeId, str], None]  # about a peer


@dataclass(frozen=True, slots=True)
class _Small:
    """A frame to be sealed and sent."""

    kind: Kind
    number: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A chunk to be read, sealed and sent."""

    number: int
    question: AskChunk


class BulkLink:
    """One socket, from the moment that both sides have shown their keys."""

    def __init__(
        self,
        peer: NodeId,
        socket: trio.socket.SocketType,
        seals: tuple[Sealer, Opener],
        around: Around,
        counted: Callable[[], Traffic],
    ) -> None:
        self.peer = peer
        self.closed = trio.Event()
        self._sealer, self._opener = seals
        self._around = around
        self._wire = Wire(peer, socket, (around.inward, around.outward), counted)
        self._outgoing: bytearray | None = None  # the one buffer of each direction
        self._incoming: bytearray | None = None
        self._out, self._to_send = trio.open_memory_channel[_Small | _Wanted](
            3 * BULK_QUESTIONS_MAX  # our questions, our answers, chunks asked of us
        )
        self.questions = Questions(self._question, self._wire.watch)

    async def _question(self, number: int, body: bytes) -> None:
        await self._out.send(_Small(Kind.QUESTION, number, body))

    async def run(self) -> None:
        """Until the socket ends; whoever still waits for an answer learns of it."""
        reason = "the bulk socket was closed"
        try:
            await self._run()
        except PeerFault as fault:
            reason = str(fault)
            self._around.complain(self.peer, reason)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            reason = one_line(error)
        finally:
            self.closed.set()
            self._wire.close()
            self._out.close()
            self.questions.end(reason)

    async def _run(self) -> None:
        questions, to_answer = trio.open_memory_channel[_Put](BULK_QUESTIONS_MAX)
        faults: list[PeerFault] = []
        async with trio.open_nursery() as nursery:
            stop = nursery.cancel_scope.cancel

            async def until_over(work: Callable[[], Awaitable[None]]) -> None:
                try:
                    await work()
                except PeerFault as fault:
                    faults.append(fault)
                except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
                stop()

            nursery.start_soon(until_over, partial(self._read, questions))
            nursery.start_soon(until_over, partial(self._answer, to_answer))
            nursery.start_soon(until_over, self._send)
            nursery.start_soon(until_over, self._wire.watch.until_dead)
        if faults:
            raise faults[0]

    async def _send(self) -> None:
        """One task seals and sends all that goes out, so the count of frames has no gap."""
        async for item in self._to_send:
            if isinstance(item, _Small):
                await self._wire.send(self._sealer.sealed(item.kind, item.number, item.body))
            else:
                await self._lend(item)

    async def _lend(self, wanted: _Wanted) -> None:
        """Read, seal and send a chunk, all in one thread where the other side takes it at once."""
        frame = self._outgoing = self._outgoing or bytearray(CHUNK_FRAME_BYTES)
        room = memoryview(frame)[HEADER_BYTES:-TAG_BYTES]
        sealed: list[memoryview] = []
        sent: list[int] = []

        def then(length: int) -> None:
            sealed.append(self._sealer.seal(Header(length, Kind.CHUNK, wanted.number), frame))
            sent.append(self._wire.send_quickly(sealed[0]))

        reason = "it failed here"
        with Contained():
            try:
                await self._around.answerer.lend(self.peer, wanted.question, room, then)
            except Unavailable as error:
                reason = str(error)[:REASON_CHARACTERS_MAX]
        if not sealed:
            refused = encode(Refused(reason))
            sealed.append(self._sealer.sealed(Kind.ANSWER, wanted.number, refused))
        await self._wire.send(sealed[0], *sent)

    async def _read(self, questions: trio.MemorySendChannel[_Put]) -> None:
        head = memoryview(bytearray(HEADER_BYTES))
        while await self._wire.fill(head):
            header = read_header(bytes(head))
            if header.kind == Kind.CHUNK:
                if not await self._take_chunk(header):
                    return
                continue
            sealed = memoryview(bytearray(header.length + TAG_BYTES))
            with self._wire.watch.frame():
                if not await self._wire.fill_paced(sealed):
                    return
            body = bytes(self._opener.open(self._opener.turn(), header, sealed))
            if header.kind == Kind.QUESTION:
                self._put(questions, header.number, body)
            elif header.kind == Kind.ANSWER:
                self.questions.answered(header.number, body)
            else:
                raise PeerFault("said hello twice")

    async def _take_chunk(self, header: Header) -> bool:
        """Receive, open and land a chunk, all in one thread where it comes at once.

        False where the socket ends first.
        """
        frame = self._incoming = self._incoming or bytearray(CHUNK_FRAME_BYTES)
        sealed = memoryview(frame)[: header.length + TAG_BYTES]
        land = self.questions.landing(header.number)
        open_and_land = partial(
            _open_and_land, self._opener, (self._opener.turn(), header, sealed), land
        )
        with self._wire.watch.frame():
            got, wrong = await trio.to_thread.run_sync(
                partial(_fill_and_land, self._wire, sealed, open_and_land)
            )
            self._wire.watch.moved()
            if got < len(sealed):
                if not await self._wire.fill_paced(sealed[got:]):
                    return False
                wrong = await trio.to_thread.run_sync(open_and_land)
        self.questions.landed(header.number, wrong)
        return True

    def _put(self, questions: trio.MemorySendChannel[_Put], number: int, body: bytes) -> None:
        question = read_question(body)
        try:
            if isinstance(question, AskChunk):
                self._out.send_nowait(_Wanted(number, question))
            else:
                questions.send_nowait((number, question))
        except trio.WouldBlock:
            raise PeerFault("asked more questions at once than its budget allows") from None

    async def _answer(self, questions: trio.MemoryReceiveChannel[_Put]) -> None:
        async for number, question in questions:
            reply: Reply = Refused("it failed here")
            with Contained():
                reply = await self._around.answerer.answer(self.peer, question)
            await self._out.send(_Small(Kind.ANSWER, number, encode(reply)))


def _open_and_land(
    opener: Opener, sealed: tuple[bytes, Header, memoryview], land: Land | None
) -> Exception | None:
    """In a thread. A frame that was not sealed raises; what `land` says is returned."""
    body = opener.open(*sealed)
    try:
        if land is not None:
            land(body)
    except (PeerFault, Unavailable) as error:
        return error
    return None


def _fill_and_land(
    wire: Wire, sealed: memoryview, open_and_land: Callable[[], Exception | None]
) -> tuple[int, Exception | None]:
    """In a thread: how much came at once, and what is wrong with it if that was all."""
    got = wire.fill_quickly(sealed)
    return got, open_and_land() if got == len(sealed) else None
