"""The bulk plane: blobs over TCP sockets of our own where one can be had, over libp2p else.

A socket is opened with a one-time ticket that the two peers agreed on over libp2p, which has proved
who they are. Where the other side cannot be dialled it is asked to dial; where neither works, or a
connection is relayed, the same questions and chunks go over libp2p streams.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import trio

from dpin.base.blob import CHUNK_BYTES
from dpin.base.codec import encode
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import NodeId
from dpin.net.blobwire import (
    REASON_CHARACTERS_MAX,
    AskBlob,
    AskChunk,
    AskDial,
    AskHave,
    AskManifest,
    AskTicket,
    Chunk,
    Question,
    Refused,
    Reply,
    Whole,
    read_question,
    read_reply,
)
from dpin.net.budget import Rate
from dpin.net.bulkasked import Denial, Land
from dpin.net.bulkdoor import listeners_at
from dpin.net.bulkflow import Loan
from dpin.net.bulklink import Around, Lender, NoChunk
from dpin.net.bulksockets import NO_PORT, Sockets
from dpin.net.bulkwire import paced
from dpin.net.contained import one_line
from dpin.net.network import Network
from dpin.net.pace import Pace

ANSWER_SECONDS: Final = 20.0  # for a question over a libp2p stream
CHUNK_SECONDS: Final = 60.0  # for a chunk over a libp2p stream
ERRORS_KEPT: Final = 50

Watcher = Callable[[NodeId, str], None]


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """What a bulk plane needs to know."""

    listen: tuple[str, ...] = ("127.0.0.1",)  # IP addresses
    port: int = 0  # 0: `near` if that is free, else any; -1: no sockets, libp2p streams only
    near: int = 0
    upload: Rate | None = None  # to all peers together, in bytes
    upload_each: Rate | None = None  # to one peer
    download: Rate | None = None
    download_each: Rate | None = None


class Library(Lender, Protocol):
    """Who has blobs."""

    async def answer(self, peer: NodeId, question: AskManifest | AskBlob | AskHave) -> Reply:
        """What a blob consists of, perhaps with all of it, or what is here of it."""
        ...


class BulkPlane:
    """Blobs between this node and its peers; made by `open_bulk`."""

    def __init__(self, network: Network, options: BulkOptions) -> None:
        self.errors: deque[str] = deque(maxlen=ERRORS_KEPT)  # why sockets could not be had
        self.chunks_direct = 0  # that came over sockets
        self.chunks_streamed = 0  # and over streams of libp2p
        self.node_id = network.node_id
        self._network = network
        self._library: Library | None = None
        self._watchers: list[Watcher] = []
        self._around = Around(
            answerer=self,
            inward=Pace(options.download, options.download_each),
            outward=Pace(options.upload, options.upload_each),
            complain=self._complain,
            step=self._step,
        )
        self.sockets = Sockets(network, self._around, self._ask_by_stream, self._note)

    def _note(self, error: BaseException) -> None:
        self.errors.append(one_line(error))

    def _complain(self, peer: NodeId, reason: str) -> None:
        self.errors.append(reason)
        self._network.beside.complain(peer, reason)

    def _step(self, peer: NodeId, what: str) -> None:
        for tell in self._watchers:
            tell(peer, what)

    @contextmanager
    def watched(self, tell: Watcher) -> Iterator[None]:
        """Be told of each step on the way to sockets."""
        self._watchers.append(tell)
        try:
            yield
        finally:
            self._watchers.remove(tell)

    # --- for whoever has blobs, or wants some ---

    def serve(self, library: Library) -> None:
        """Answer what peers ask, over sockets and over streams of libp2p."""
        self._library = library
        self._network.serve(self._on_stream)

    async def ask(self, peer: NodeId, question: AskManifest | AskBlob | AskHave) -> Reply:
        """Anything but a chunk. Raises Denial, Unavailable, or PeerFault for a bad answer.

        A peer of the version before is asked for the manifest alone.
        """
        if isinstance(question, AskBlob) and not self._network.beside.takes_ask_blob(peer):
            question = AskManifest(question.blob)
        link = self.sockets.standing.get(peer)
        if link is not None:
            reply = await link.questions.ask(question)
            self.chunks_direct += isinstance(reply, Whole)
            return reply
        reply = await self._ask_by_stream(peer, question)
        if isinstance(reply, Whole):
            await paced(self._around.inward, peer, len(reply.data))
            self.chunks_streamed += 1
        return reply

    async def fetch(
        self, peer: NodeId, question: AskChunk, land: Land, *, first_of_many: bool = True
    ) -> None:
        """A chunk; `land` gets it in a thread, and may raise.

        Where no socket stands, one is only opened for many chunks. Raises Denial, Unavailable, or
        PeerFault for a bad answer.
        """
        link = self.sockets.standing.get(peer)
        if link is None and first_of_many:
            link = await self.sockets.opened(peer)
        if link is not None:
            await link.questions.fetch(question, land)
            self.chunks_direct += 1
            return
        payload = await self._network.request(peer, encode(question), CHUNK_SECONDS)
        await paced(self._around.inward, peer, len(payload))
        await trio.to_thread.run_sync(partial(_land_reply, payload, land))
        self.chunks_streamed += 1

    async def _ask_by_stream(self, peer: NodeId, question: Question) -> Reply:
        payload = await self._network.request(peer, encode(question), ANSWER_SECONDS)
        reply = read_reply(payload)
        if isinstance(reply, Refused):
            raise Denial(reply.reason[:REASON_CHARACTERS_MAX])
        return reply

    # --- what peers ask ---

    async def _on_stream(self, peer: NodeId, data: bytes) -> bytes:
        question = read_question(data)
        if not isinstance(question, AskChunk):
            reply = await self.answer(peer, question)
            if isinstance(reply, Whole):
                await paced(self._around.outward, peer, len(reply.data))
            return encode(reply)
        try:
            loan = self.loan(peer, question)
            try:
                data = await trio.to_thread.run_sync(_read, loan)
            finally:
                await loan.settle()
        except Unavailable as error:
            return encode(Refused(str(error)[:REASON_CHARACTERS_MAX]))
        await paced(self._around.outward, peer, len(data))
        return encode(Chunk(data))

    async def answer(self, peer: NodeId, question: NoChunk) -> Reply:
        """See `Library`; tickets are answered here."""
        if isinstance(question, AskTicket | AskDial):
            return await self.sockets.answer(peer, question)
        if self._library is None:
            return Refused("no blobs here")
        return await self._library.answer(peer, question)

    def loan(self, peer: NodeId, question: AskChunk) -> Loan:
        """See `Lender`."""
        if self._library is None:
            raise Unavailable("no blobs here")
        return self._library.loan(peer, question)


def _read(loan: Loan) -> bytes:
    """In a thread: the whole chunk."""
    room = memoryview(bytearray(CHUNK_BYTES))
    return bytes(room[: loan.read(room)])


def _land_reply(payload: bytes, land: Land) -> None:
    """In a thread: a chunk that came in an encoding."""
    reply = read_reply(payload)
    if isinstance(reply, Refused):
        raise Denial(reply.reason[:REASON_CHARACTERS_MAX])
    if not isinstance(reply, Chunk):
        raise PeerFault("answered another question than the one that was put")
    land(memoryview(reply.data))


@asynccontextmanager
async def open_bulk(network: Network, options: BulkOptions) -> AsyncIterator[BulkPlane]:
    """Listen, and be ready to fetch; raises Unavailable where the port cannot be had."""
    plane = BulkPlane(network, options)
    listeners: list[trio.SocketListener] = []
    if options.port != NO_PORT:
        wanted = (options.port,) if options.port else (options.near, 0)
        listeners = await listeners_at(options.listen, wanted)
        plane.sockets.port = int(listeners[0].socket.getsockname()[1])
    try:
        async with trio.open_nursery() as nursery:
            plane.sockets.open(nursery)
            if listeners:
                nursery.start_soon(trio.serve_listeners, plane.sockets.door.come, listeners)
            yield plane
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None  # The nursery's own wrapping: nobody asked for it.
        raise
    finally:
        plane.sockets.port = NO_PORT
        for listener in listeners:
            listener.socket.close()
