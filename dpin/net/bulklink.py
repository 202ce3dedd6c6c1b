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
    AskBlob,
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
from dpin.net.bulkasked import Questions
from dpin.net.bulkflow import Halted, Inflow, Loan, denied
from dpin.net.bulkframe import (
    HEADER_BYTES,
    TAG_BYTES,
    Header,
    Kind,
    Opener,
    Sealer,
    read_header,
)
from dpin.net.bulkpost import Post, Small
from dpin.net.bulkwire import Wire
from dpin.net.contained import Contained, one_line
from dpin.net.network import Traffic
from dpin.net.pace import Pace

AskPeer = Callable[[NodeId, BlobQuestion | SocketQuestion], Awaitable[Reply]]
NoChunk = AskManifest | AskBlob | AskHave | SocketQuestion
_Put = tuple[int, NoChunk]  # with its number


class Lender(Protocol):
    """Who gives chunks away."""

    def loan(self, peer: NodeId, question: AskChunk) -> Loan:
        """A chunk, not read yet. Raises Unavailable where the peer gets none."""
        ...


class Answerer(Lender, Protocol):
    """Who answers all that is asked over a bulk socket."""

    async def answer(self, peer: NodeId, question: NoChunk) -> Reply:
        """All but chunks."""
        ...


@dataclass(frozen=True, slots=True)
class Around:
    """What every bulk socket of a node uses."""

    answerer: Answerer
    inward: Pace
    outward: Pace
    complain: Callable[[NodeId, str], None]  # about a peer
    step: Callable[[NodeId, str], None]  # on the way to a socket, for whoever traces


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
        self._opener = seals[1]
        self._around = around
        self._wire = Wire(peer, socket, (around.inward, around.outward), counted)
        self._post = Post(self._wire, seals[0], self._loan)
        self.questions = Questions(self._question, self._wire.watch)
        soon = trio.lowlevel.current_trio_token().run_sync_soon
        self._inflow = Inflow(self._wire, self._opener, self.questions, soon)

    async def _question(self, number: int, body: bytes, *, soon: bool) -> None:
        await self._post.put(Small(Kind.QUESTION, number, body), soon=soon)

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
            self._post.close()
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
            nursery.start_soon(until_over, self._post.run)
            nursery.start_soon(until_over, self._wire.watch.until_dead)
        if faults:
            raise faults[0]

    def _loan(self, question: AskChunk) -> Loan:
        with Contained():
            try:
                return self._around.answerer.loan(self.peer, question)
            except Unavailable as error:
                return denied(str(error))
        return denied("it failed here")

    async def _read(self, questions: trio.MemorySendChannel[_Put]) -> None:
        header = await self._header()
        while header is not None:
            if header.kind == Kind.CHUNK:
                halted = await self._take_chunks(header)
                if halted is None:
                    return
                header = halted.header or await self._header()
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
            header = await self._header()

    async def _header(self) -> Header | None:
        """Of the frame that comes next; None where the socket ends."""
        head = memoryview(bytearray(HEADER_BYTES))
        return read_header(bytes(head)) if await self._wire.fill(head) else None

    async def _take_chunks(self, header: Header) -> Halted | None:
        """Receive, open and land chunks, all in one thread while they come; None at the end."""
        inflow = self._inflow
        with self._wire.watch.frame():
            halted = await trio.to_thread.run_sync(inflow.run, header)
            self._wire.watch.moved()
            inflow.check()
            if halted.header is None or halted.header.kind != Kind.CHUNK:
                return halted
            if not await self._wire.fill_paced(inflow.room(halted.header)[halted.got :]):
                return None
            await trio.to_thread.run_sync(inflow.land, halted.header)
            inflow.check()
        return Halted()

    def _put(self, questions: trio.MemorySendChannel[_Put], number: int, body: bytes) -> None:
        question = read_question(body)
        try:
            if isinstance(question, AskChunk):
                self._post.put_chunk(number, question)
            else:
                questions.send_nowait((number, question))
        except trio.WouldBlock:
            raise PeerFault("asked more questions at once than its budget allows") from None

    async def _answer(self, questions: trio.MemoryReceiveChannel[_Put]) -> None:
        async for number, question in questions:
            reply: Reply = Refused("it failed here")
            with Contained():
                reply = await self._around.answerer.answer(self.peer, question)
            await self._post.put(Small(Kind.ANSWER, number, encode(reply)))
