"""Questions with one answer, each on a stream of its own: one frame there, one frame back."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import NodeId
from dpin.net.budget import (
    ANSWERS_MAX,
    ANSWERS_PER_PEER_MAX,
    CPU_MICROS,
    REQUESTS_PER_PEER_MAX,
    Budget,
)
from dpin.net.contained import Contained, Report, one_line, root_of
from dpin.net.framing import Framing
from dpin.net.links import Stream, clock, quiet_reset
from dpin.net.metered import metered
from dpin.net.network import ANSWER_BYTES_MAX, QUESTION_BYTES_MAX, Handler

READ_BYTES: Final = 256 << 10
SERVING_SECONDS: Final = 60.0  # from the first byte of the question to the last of the answer

Count = Callable[[NodeId, int, int], None]  # bytes in and out
FRAMES: Final = Framing(QUESTION_BYTES_MAX, ANSWER_BYTES_MAX)


class _Outcome:
    """What became of one question."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.abandoned = False
        self.stream: Stream | None = None
        self.answer: bytes | None = None
        self.error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Note why there is no answer."""
        self.error = root_of(error)

    def settled(self) -> bytes:
        """The answer, or the reason why there is none as an exception."""
        if self.answer is not None:
            return self.answer
        if isinstance(self.error, PeerFault):
            raise self.error
        if self.error is not None:
            raise Unavailable(f"the peer did not answer: {one_line(self.error)}")
        raise Unavailable("the peer did not answer in time")


class Exchange:
    """All questions of one host in one protocol, asked and answered."""

    def __init__(
        self,
        open_stream: Callable[[NodeId], Awaitable[Stream]],
        count: Count,
        nursery: trio.Nursery,
        report: Report,
        framing: Framing = FRAMES,
    ) -> None:
        self._open_stream = open_stream
        self._framing = framing
        self._count = count
        self._nursery = nursery
        self._report = report
        self._handler: Handler | None = None
        self._slots: dict[NodeId, trio.Semaphore] = {}
        self._answering: Counter[NodeId] = Counter()
        self._cpu = Budget(CPU_MICROS)

    def serve(self, handler: Handler) -> None:
        """Answer with `handler` from now on."""
        self._handler = handler

    async def request(self, peer: NodeId, payload: bytes, patience_seconds: float) -> bytes:
        """Ask; see `Network.request`. Giving up never cancels a write: it resets the stream."""
        outcome = _Outcome()
        with trio.move_on_after(patience_seconds):
            async with self._slot(peer):
                self._nursery.start_soon(self._ask, peer, payload, outcome)
                try:
                    await outcome.ended.wait()
                finally:
                    self._abandon(outcome)
        return outcome.settled()

    @asynccontextmanager
    async def _slot(self, peer: NodeId) -> AsyncIterator[None]:
        full = REQUESTS_PER_PEER_MAX
        slots = self._slots.setdefault(peer, trio.Semaphore(full, max_value=full))
        try:
            async with slots:
                yield
        finally:
            if slots.value == full and not slots.statistics().tasks_waiting:
                self._slots.pop(peer, None)

    def _abandon(self, outcome: _Outcome) -> None:
        if not outcome.ended.is_set():
            outcome.abandoned = True
            if outcome.stream is not None:
                self._nursery.start_soon(quiet_reset, outcome.stream)

    async def _ask(self, peer: NodeId, payload: bytes, outcome: _Outcome) -> None:
        with Contained(outcome.fail):
            outcome.stream = stream = await self._open_stream(peer)
            if not outcome.abandoned:
                await stream.write(self._framing.frame(payload))
                self._count(peer, 0, len(payload))
                outcome.answer = await self._read_frame(stream, self._framing.answer_bytes_max)
                self._count(peer, len(outcome.answer), 0)
                outcome.ended.set()
                await stream.close()
        outcome.ended.set()
        if outcome.stream is not None and outcome.answer is None:
            await quiet_reset(outcome.stream)

    async def answer(self, peer: NodeId, stream: Stream) -> None:
        """Serve one stream that a peer opened; raises PeerFault where it asks too much at once."""
        if self._answering[peer] >= ANSWERS_PER_PEER_MAX:
            raise PeerFault("asked more questions at once than its budget allows")
        if not self._cpu.charge(peer, 1, clock()):
            raise PeerFault("asked questions that cost more time than its budget allows")
        if self._handler is None or self._answering.total() >= ANSWERS_MAX:
            await quiet_reset(stream)
            return
        self._answering[peer] += 1
        try:
            async with _deadline(stream):
                await self._answer(peer, stream, self._handler)
        finally:
            self._answering[peer] -= 1
            if not self._answering[peer]:
                del self._answering[peer]

    async def _answer(self, peer: NodeId, stream: Stream, handler: Handler) -> None:
        question = await self._read_frame(stream, self._framing.question_bytes_max)
        self._count(peer, len(question), 0)
        reply: bytes | None = None
        with Contained(self._report), suppress(Unavailable):  # There may be no answer.
            reply = await metered(
                handler(peer, question), lambda micros: self._cpu.spend(peer, micros, clock())
            )
        if reply is None:
            await quiet_reset(stream)
            return
        assert len(reply) <= self._framing.answer_bytes_max, "a handler keeps its answers in bounds"
        await stream.write(self._framing.frame(reply))
        self._count(peer, 0, len(reply))
        await stream.close()

    async def _read_frame(self, stream: Stream, limit: int) -> bytes:
        decoder = self._framing.decoder(limit)
        while data := await stream.read(READ_BYTES):
            for body in decoder.feed(data):
                return body
        raise Unavailable("the stream ended early")


@asynccontextmanager
async def _deadline(stream: Stream) -> AsyncIterator[None]:
    async def expire() -> None:
        await trio.sleep(SERVING_SECONDS)
        with trio.CancelScope(shield=True):
            await quiet_reset(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expire)
        yield
        nursery.cancel_scope.cancel()
