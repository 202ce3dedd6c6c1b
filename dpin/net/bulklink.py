"""One bulk socket: sealed frames both ways, either side may ask, chunks go between disk and wire.

Bounded whatever the other side does: BULK_FRAMES_MAX frames of either direction are in memory,
BULK_QUESTIONS_MAX questions wait, and a socket that stalls, trickles or is silent is closed.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
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
from dpin.net.budget import BULK_FRAMES_MAX, BULK_QUESTIONS_MAX
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
        self._out, self._to_seal = trio.open_memory_channel[_Small | _Wanted](BULK_QUESTIONS_MAX)
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
        questions, to_answer = trio.open_memory_channel[tuple[int, bytes]](BULK_QUESTIONS_MAX)
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

            landing = _Landing(nursery, faults, stop)
            sealed, to_write = trio.open_memory_channel[memoryview](1)
            nursery.start_soon(until_over, partial(self._read, questions, landing))
            nursery.start_soon(until_over, partial(self._answer, to_answer))
            nursery.start_soon(until_over, partial(self._seal, sealed))
            nursery.start_soon(until_over, partial(self._wire.write, to_write))
            nursery.start_soon(until_over, self._wire.watch.until_dead)
        if faults:
            raise faults[0]

    async def _seal(self, sealed: trio.MemorySendChannel[memoryview]) -> None:
        """One task seals all that goes out, so the count of frames has no gap.

        BULK_FRAMES_MAX buffers in turn: one is worked on, one waits, one is written.
        """
        frames = _buffers()
        async for item in self._to_seal:
            if isinstance(item, _Small):
                frame = self._sealer.sealed(item.kind, item.number, item.body)
            else:
                frame = await self._lent(item, next(frames))
            await sealed.send(frame)

    async def _lent(self, wanted: _Wanted, frame: bytearray) -> memoryview:
        room = memoryview(frame)[HEADER_BYTES:-TAG_BYTES]
        lent: list[memoryview] = []

        def seal(length: int) -> None:
            lent.append(self._sealer.seal(Header(length, Kind.CHUNK, wanted.number), frame))

        reason = "it failed here"
        with Contained():
            try:
                await self._around.answerer.lend(self.peer, wanted.question, room, seal)
            except Unavailable as error:
                reason = str(error)[:REASON_CHARACTERS_MAX]
        if lent:
            return lent[0]
        return self._sealer.sealed(Kind.ANSWER, wanted.number, encode(Refused(reason)))

    async def _read(
        self, questions: trio.MemorySendChannel[tuple[int, bytes]], landing: "_Landing"
    ) -> None:
        head = memoryview(bytearray(HEADER_BYTES))
        while await self._wire.fill(head):
            header = read_header(bytes(head))
            if header.kind == Kind.CHUNK:
                frame = await landing.room()
            else:
                frame = bytearray(header.length + TAG_BYTES)
            sealed = memoryview(frame)[: header.length + TAG_BYTES]
            with self._wire.watch.frame():
                if not await self._wire.fill_paced(sealed):
                    return
            nonce = self._opener.turn()
            if header.kind == Kind.CHUNK:
                opened = partial(_open_and_land, self._opener, (nonce, header, sealed))
                landing.begin(partial(self.questions.landed, header.number, opened), frame)
                continue
            body = bytes(self._opener.open(nonce, header, sealed))
            if header.kind == Kind.QUESTION:
                self._put(questions, header.number, body)
            elif header.kind == Kind.ANSWER:
                self.questions.answered(header.number, body)
            else:
                raise PeerFault("said hello twice")

    def _put(
        self, questions: trio.MemorySendChannel[tuple[int, bytes]], number: int, body: bytes
    ) -> None:
        try:
            questions.send_nowait((number, body))
        except trio.WouldBlock:
            raise PeerFault("asked more questions at once than its budget allows") from None

    async def _answer(self, questions: trio.MemoryReceiveChannel[tuple[int, bytes]]) -> None:
        async for number, data in questions:
            question = read_question(data)
            if isinstance(question, AskChunk):
                await self._out.send(_Wanted(number, question))
                continue
            reply: Reply = Refused("it failed here")
            with Contained():
                reply = await self._around.answerer.answer(self.peer, question)
            await self._out.send(_Small(Kind.ANSWER, number, encode(reply)))


def _buffers() -> Iterator[bytearray]:
    """The same few in turn, made when they are first needed."""
    made: list[bytearray] = []
    for number in count():
        if number < BULK_FRAMES_MAX:
            made.append(bytearray(CHUNK_FRAME_BYTES))
        yield made[number % BULK_FRAMES_MAX]


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


class _Landing:
    """The few buffers of a socket, and the work on what lies in them."""

    def __init__(
        self, nursery: trio.Nursery, faults: list[PeerFault], stop: Callable[[], None]
    ) -> None:
        self._nursery = nursery
        self._faults = faults
        self._stop = stop
        self._free = trio.Semaphore(BULK_FRAMES_MAX)
        self._frames: list[bytearray] = []

    async def room(self) -> bytearray:
        """A buffer, when one is free."""
        await self._free.acquire()
        return self._frames.pop() if self._frames else bytearray(CHUNK_FRAME_BYTES)

    def begin(self, work: Callable[[], Awaitable[None]], frame: bytearray) -> None:
        """Work on what is in the buffer; then it is free."""
        self._nursery.start_soon(self._work, work, frame)

    async def _work(self, work: Callable[[], Awaitable[None]], frame: bytearray) -> None:
        try:
            await work()
        except PeerFault as fault:
            self._faults.append(fault)
            self._stop()
        self._frames.append(frame)
        self._free.release()
