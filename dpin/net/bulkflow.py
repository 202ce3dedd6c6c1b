"""Chunks between disk and socket in a thread: one stay there for as many as flow without a pause.

A hop to a thread and back costs as much as the cipher for half a MiB, and a turn of the loop for
each chunk as much again. Bounded: a stay is CHUNKS_AT_ONCE chunks and a few short waits.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from dpin.base.codec import encode
from dpin.base.errors import PeerFault, Unavailable
from dpin.net.blobwire import REASON_CHARACTERS_MAX, Refused
from dpin.net.budget import BULK_QUESTIONS_MAX
from dpin.net.bulkasked import Questions
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
from dpin.net.contained import Contained

CHUNKS_AT_ONCE: Final = 16
TOLD_AT: Final = 4  # chunks that have come, and the loop does not know it


class Loan(Protocol):
    """One chunk that is given away."""

    def read(self, into: memoryview, /) -> int:
        """In a thread: put it there; its length. Raises Unavailable where the peer gets none."""
        ...

    async def settle(self) -> None:
        """In the loop, after it was read or could not be."""
        ...


class _Denied:
    """No chunk, for a reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def read(self, _into: memoryview, /) -> int:
        raise Unavailable(self._reason)

    async def settle(self) -> None:
        return None


def denied(reason: str) -> Loan:
    """What to lend where there is nothing to lend."""
    return _Denied(reason)


class Outflow:
    """Reads, seals and sends chunks; one buffer."""

    def __init__(self, wire: Wire, sealer: Sealer) -> None:
        self._wire = wire
        self._sealer = sealer
        self._frame: bytearray | None = None
        self._loans: deque[tuple[int, Loan]] = deque()
        self._begun: deque[Loan] = deque()
        self._running = False  # in a thread, now

    @property
    def waits(self) -> bool:
        """Whether there are chunks to be sent."""
        return bool(self._loans)

    @property
    def joins(self) -> bool:
        """Whether one more chunk may go with those that are being sent."""
        return self._running and len(self._loans) < BULK_QUESTIONS_MAX

    def add(self, number: int, loan: Loan) -> None:
        """One more."""
        self._loans.append((number, loan))

    def done(self) -> Iterator[Loan]:
        """Those that were begun, each once; to be called when `run` has ended."""
        while self._begun:
            yield self._begun.popleft()

    def run(self) -> memoryview | None:
        """In a thread: send all that the other side takes at once; what is left of a frame."""
        pauses = self._wire.pauses_out()
        self._running = True
        try:
            for _ in range(CHUNKS_AT_ONCE):
                if not self._loans:
                    return None
                number, loan = self._loans.popleft()
                self._begun.append(loan)
                frame = self._sealed(number, loan)
                sent = self._wire.send_quickly(frame, pauses)
                if sent < len(frame):
                    return frame[sent:]
        finally:
            self._running = False
        return None

    def _sealed(self, number: int, loan: Loan) -> memoryview:
        frame = self._frame = self._frame or bytearray(CHUNK_FRAME_BYTES)
        reason, length = "it failed here", -1
        with Contained():
            try:
                length = loan.read(memoryview(frame)[HEADER_BYTES:-TAG_BYTES])
            except Unavailable as error:
                reason = str(error)[:REASON_CHARACTERS_MAX]
        if length >= 0:
            return self._sealer.seal(Header(length, Kind.CHUNK, number), frame)
        return self._sealer.sealed(Kind.ANSWER, number, encode(Refused(reason)))


@dataclass(frozen=True, slots=True)
class Halted:
    """Where a stay in a thread ended."""

    header: Header | None = None  # of the frame that comes; None where that is not known yet
    got: int = 0  # bytes of it, where it is a chunk; they lie in the buffer


class Inflow:
    """Receives, opens and lands chunks; one buffer."""

    def __init__(
        self, wire: Wire, opener: Opener, questions: Questions, soon: Callable[..., None]
    ) -> None:
        """`soon` has the loop call a function."""
        self._wire = wire
        self._opener = opener
        self._questions = questions
        self._soon = soon
        self._frame: bytearray | None = None
        self._landed: deque[tuple[int, Exception | None]] = deque()
        self._fault: PeerFault | None = None

    def room(self, header: Header) -> memoryview:
        """Where the body of a chunk's frame comes to lie."""
        frame = self._frame = self._frame or bytearray(CHUNK_FRAME_BYTES)
        return memoryview(frame)[: header.length + TAG_BYTES]

    def run(self, header: Header) -> Halted:
        """In a thread: this chunk and those behind it, while they come at once.

        Raises PeerFault for a frame that was not sealed with the key, or that nobody asked for.
        """
        head = memoryview(bytearray(HEADER_BYTES))
        pauses = self._wire.pauses_in(self._tell)
        for _ in range(CHUNKS_AT_ONCE):
            got = self._wire.fill_quickly(self.room(header), pauses)
            if got < header.length + TAG_BYTES:
                return Halted(header, got)
            self.land(header)
            if not self._wire.head_quickly(head, pauses):
                return Halted()
            header = read_header(bytes(head))
            if header.kind != Kind.CHUNK:
                break
        return Halted(header)

    def land(self, header: Header) -> None:
        """In a thread: open the chunk that is in the buffer, and put it where it belongs."""
        land = self._questions.landing(header.number)
        body = self._opener.open(self._opener.turn(), header, self.room(header))
        wrong: Exception | None = None
        try:
            if land is not None:
                land(body)
        except (PeerFault, Unavailable) as error:
            wrong = error
        self._landed.append((header.number, wrong))
        if len(self._landed) >= TOLD_AT:
            self._tell()

    def _tell(self) -> None:
        if self._landed:
            self._soon(self.settle)

    def settle(self) -> None:
        """In the loop: whoever waits for what has landed goes on."""
        while self._landed:
            number, wrong = self._landed.popleft()
            try:
                self._questions.landed(number, wrong)
            except PeerFault as fault:  # It came twice.
                self._fault = self._fault or fault

    def check(self) -> None:
        """Settle, and raise what was wrong."""
        self.settle()
        if self._fault is not None:
            raise self._fault
