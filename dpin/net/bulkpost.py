"""All that goes out of one bulk socket, in the order in which it was sealed.

A question or an answer goes at once where nothing is on its way: a task of its own for it costs a
turn of the loop at either end. Chunks go out in a thread, and what is asked for meanwhile goes with
them.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import trio

from dpin.net.blobwire import AskChunk
from dpin.net.budget import BULK_QUESTIONS_MAX
from dpin.net.bulkflow import CHUNKS_AT_ONCE, Loan, Outflow
from dpin.net.bulkframe import Kind, Sealer
from dpin.net.bulkwire import AHEAD_BYTES, Wire
from dpin.net.contained import Contained


@dataclass(frozen=True, slots=True)
class Small:
    """A frame to be sealed and sent."""

    kind: Kind
    number: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A chunk to be read, sealed and sent."""

    number: int
    question: AskChunk


class Post:
    """What waits to go out; `run` sends it."""

    def __init__(self, wire: Wire, sealer: Sealer, lend: Callable[[AskChunk], Loan]) -> None:
        self._wire = wire
        self._sealer = sealer
        self._lend = lend
        self._outflow = Outflow(wire, sealer)
        self._idle = False  # nothing waits, and nothing is on its way
        self._put, self._take = trio.open_memory_channel[Small | _Wanted | memoryview](
            3 * BULK_QUESTIONS_MAX  # our questions, our answers, chunks asked of us
        )

    def close(self) -> None:
        """Nothing goes out any more."""
        self._idle = False
        self._put.close()

    async def put(self, small: Small, *, soon: bool = True) -> None:
        """Send a question or an answer; raises ClosedResourceError after the end.

        Not `soon` goes with what else is put in this turn of the loop.
        """
        if soon and self._sent_at_once(small):
            return
        self._idle = False
        try:
            self._put.send_nowait(small)
        except trio.WouldBlock:
            await self._put.send(small)

    def put_chunk(self, number: int, question: AskChunk) -> None:
        """Send a chunk; raises WouldBlock where too many wait."""
        if self._outflow.joins:
            self._outflow.add(number, self._lend(question))
            return
        self._idle = False
        self._put.send_nowait(_Wanted(number, question))

    def _sent_at_once(self, small: Small) -> bool:
        """Send it now, or leave all as it was; what the socket did not take of it goes next."""
        if not self._idle or self._wire.outward.limited or len(small.body) > AHEAD_BYTES:
            return False
        frame = self._sealer.sealed(small.kind, small.number, small.body)
        sent = 0
        with suppress(OSError):  # `run` finds out when it sends the rest.
            sent = self._wire.send_quickly(frame, None)
        if sent < len(frame):
            self._idle = False
            self._put.send_nowait(frame[sent:])
        return True

    async def run(self) -> None:
        """Send, until cancelled. One task seals what waits, so the count of frames has no gap."""
        while True:
            items = await self._waiting()
            small = [
                item
                if isinstance(item, memoryview)
                else self._sealer.sealed(item.kind, item.number, item.body)
                for item in items
                if not isinstance(item, _Wanted)
            ]
            if small:
                await self._wire.send(memoryview(b"".join(small)))
            for item in items:
                if isinstance(item, _Wanted):
                    self._outflow.add(item.number, self._lend(item.question))
            if self._outflow.waits:
                await self._send_chunks()

    async def _waiting(self) -> list[Small | _Wanted | memoryview]:
        """What waits; waits for something where there are no chunks to go on with."""
        items: list[Small | _Wanted | memoryview] = []
        with suppress(trio.WouldBlock):
            while len(items) < CHUNKS_AT_ONCE:
                items.append(self._take.receive_nowait())
        if not items and not self._outflow.waits:
            self._idle = True  # Whoever puts something in ends that.
            items.append(await self._take.receive())
        return items

    async def _send_chunks(self) -> None:
        """One stay in a thread; then small frames have their turn."""
        with self._wire.watch.frame():
            rest = await trio.to_thread.run_sync(self._outflow.run)
            self._wire.watch.moved()
        if rest is not None:
            await self._wire.send(rest)
        for loan in self._outflow.done():
            with Contained():
                await loan.settle()
