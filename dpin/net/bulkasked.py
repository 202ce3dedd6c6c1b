"""The questions of this node that are under way on one bulk socket."""

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Final, Protocol

import trio

from dpin.base.codec import encode
from dpin.base.errors import PeerFault, Unavailable
from dpin.net.blobwire import (
    REASON_CHARACTERS_MAX,
    AskBlob,
    AskChunk,
    AskHave,
    AskManifest,
    Refused,
    Reply,
    read_reply,
)
from dpin.net.budget import BULK_QUESTIONS_MAX
from dpin.net.bulkwire import Watch

LATE_MAX: Final = 64  # answers to what is no longer asked, still to come

Land = Callable[[memoryview], None]  # called in a thread; raises PeerFault for the wrong bytes


class Send(Protocol):
    """What puts a question on its way; `soon`: alone, if need be."""

    async def __call__(self, number: int, body: bytes, *, soon: bool) -> None:
        """Returns when it is."""
        ...


class Denial(Unavailable):
    """The peer said that it will not answer."""


class Asked:
    """A question of ours that is under way."""

    def __init__(self, land: Land | None) -> None:
        self.land = land
        self.ended = trio.Event()
        self.reply: Reply | None = None
        self.error: Exception | None = None


class Questions:
    """At most BULK_QUESTIONS_MAX at once; each ends with its answer, or with the socket."""

    def __init__(self, send: Send, watch: Watch) -> None:
        self._send = send
        self._watch = watch
        self._numbers = count(1)
        self._asked: dict[int, Asked] = {}
        self._late: set[int] = set()  # whoever asked has gone; the answer may still come
        self._turns = trio.Semaphore(BULK_QUESTIONS_MAX)

    async def ask(self, question: AskManifest | AskBlob | AskHave) -> Reply:
        """Anything but a chunk. Raises Denial, Unavailable, PeerFault."""
        asked = await self._ended(encode(question), Asked(None))
        assert asked.reply is not None, "an answer or an error"
        return asked.reply

    async def fetch(self, question: AskChunk, land: Land) -> None:
        """A chunk; `land` is called with it, and what it raises is raised here."""
        await self._ended(encode(question), Asked(land))

    async def _ended(self, question: bytes, asked: Asked) -> Asked:
        try:
            self._turns.acquire_nowait()  # A turn of the loop less than to wait for one.
        except trio.WouldBlock:
            await self._turns.acquire()
        number = next(self._numbers)
        self._asked[number] = asked
        try:
            with self._watch.busy(), suppress(trio.ClosedResourceError):
                # Chunks are asked for several at a time.
                await self._send(number, question, soon=asked.land is None)
                await asked.ended.wait()
        finally:
            self._turns.release()
            if number in self._asked:
                self._late.add(number)  # First: a thread may look for it in both.
                del self._asked[number]
        if asked.error is not None:
            raise asked.error
        if not asked.ended.is_set():
            raise Unavailable("the bulk socket is closed")
        return asked

    def _settled(self, number: int) -> Asked | None:
        """Whose answer this is; None where nobody waits any more. PeerFault for one not asked."""
        asked = self._asked.pop(number, None)
        if asked is None and number not in self._late:
            raise PeerFault("answered a question that was not put")
        self._late.discard(number)
        if len(self._late) > LATE_MAX:
            raise PeerFault("left too many questions open")
        return asked

    def answered(self, number: int, body: bytes) -> None:
        """An answer has come; raises PeerFault for one that is none."""
        reply = read_reply(body)
        asked = self._settled(number)
        if asked is not None:
            asked.reply = reply
            if isinstance(reply, Refused):
                asked.error = Denial(reply.reason[:REASON_CHARACTERS_MAX])
            elif asked.land is not None:
                asked.error = PeerFault("answered another question than the one that was put")
            asked.ended.set()

    def landing(self, number: int) -> Land | None:
        """Where the chunk goes that comes; None where nobody waits any more. In any thread.

        Raises PeerFault for one that was not asked for.
        """
        asked = self._asked.get(number)
        if asked is None and number not in self._late:
            raise PeerFault("answered a question that was not put")
        if asked is not None and asked.land is None:
            raise PeerFault("answered another question than the one that was put")
        return asked.land if asked is not None else None

    def landed(self, number: int, wrong: Exception | None) -> None:
        """It is there, or is not what it should be."""
        asked = self._settled(number)
        if asked is not None:
            asked.error = wrong
            asked.ended.set()

    def end(self, reason: str) -> None:
        """No answer comes any more."""
        for asked in self._asked.values():
            asked.error = asked.error or Unavailable(reason)
            asked.ended.set()
