"""The course of one transfer: what happened when, by hop, and what each source gave.

Bounded whatever peers do: HOPS_MAX lines, and one row for each source.
"""

from dataclasses import dataclass, field
from typing import Final

from dpin.base.blob import chunk_length
from dpin.base.ids import NodeId
from dpin.base.machine import Tick
from dpin.base.units import Instant, Micros, seconds
from dpin.net.blobwire import AskBlob, AskChunk, Have, Whole, indices_of
from dpin.net.transfer import (
    Answered,
    Begin,
    Denied,
    Done,
    Effect,
    Event,
    Failed,
    GaveUp,
    Known,
    Landed,
    Lied,
    Request,
    SourceFound,
    Stalled,
)

HOPS_MAX: Final = 256
QUIET: Final[Micros] = seconds(1)  # without a chunk from anybody: a hop says so


@dataclass(frozen=True, slots=True)
class Hop:
    """One thing that happened."""

    at: Instant
    peer: NodeId | None  # None: here
    what: str


@dataclass(slots=True)
class Share:
    """What one source gave."""

    chunks: int = 0
    bytes: int = 0
    asked_at: Instant | None = None  # for its first chunk
    first_at: Instant | None = None  # chunk
    last_at: Instant | None = None
    has: int | None = None  # chunks, as it said last


@dataclass(slots=True)
class Course:
    """Fed with the events and effects of a `transfer.Fetch`, and with the steps of sockets."""

    began: Instant
    hops: list[Hop] = field(default_factory=list)
    left_out: int = 0  # hops beyond HOPS_MAX
    shares: dict[NodeId, Share] = field(default_factory=dict)
    _known: Known | None = None
    _told_by: NodeId | None = None  # who sent a small blob with its manifest
    _asked_at: Instant = Instant(0)  # what the blob consists of
    _moved_at: Instant = Instant(0)

    def note(self, at: Instant, peer: NodeId | None, what: str) -> None:
        """One more hop."""
        if len(self.hops) < HOPS_MAX:
            self.hops.append(Hop(at, peer, what))
        else:
            self.left_out += 1

    def step(self, at: Instant, peer: NodeId, what: str) -> None:
        """Something about a socket to a peer; of no interest unless it is a source."""
        if peer in self.shares:
            self.note(at, peer, what)

    def took(self, event: Event, at: Instant) -> None:
        """An event that went into the plan."""
        match event:
            case Landed(peer, index):
                self._landed(peer, index, at)
            case Answered():
                self._answered(event, at)
            case Failed(peer, _, reason):
                self.note(at, peer, f"did not answer: {reason}")
            case Denied(peer, _, reason):
                self.note(at, peer, f"refused: {reason}")
            case Lied(peer, _, reason):
                self.note(at, peer, f"lied, and is dropped: {reason}")
            case SourceFound(peer):
                self.note(at, peer, "found to have it")
            case Begin() | Tick():
                pass

    def gave(self, effect: Effect, at: Instant) -> None:
        """An effect that came out of the plan."""
        match effect:
            case Request(peer, question):
                self._asked(peer, question, at)
            case Known():
                self._knows(effect, at)
            case Stalled(peer, dropped):
                ending = "it is asked for nothing more" if dropped else "its chunks go to others"
                self.note(at, peer, f"stalled: {ending}")
            case Done():
                self.note(at, None, "all chunks are here")
            case GaveUp(reason):
                self.note(at, None, f"gave up: {reason}")
            case _:
                pass

    def _knows(self, known: Known, at: Instant) -> None:
        self._known = known
        count = len(known.manifest.chunks)
        self.note(at, None, f"{known.manifest.length:,} bytes in {count:,} chunks")
        if known.data is not None and self._told_by is not None:
            share = self.shares.setdefault(self._told_by, Share())
            share.asked_at, self._moved_at = self._asked_at, at
            self._landed(self._told_by, 0, at)

    def _asked(self, peer: NodeId, question: object, at: Instant) -> None:
        share = self.shares.setdefault(peer, Share())
        if isinstance(question, AskBlob):
            self._asked_at = at
            self.note(at, peer, "asked what the blob consists of")
        elif isinstance(question, AskChunk) and share.asked_at is None:
            share.asked_at = at
            self._moved_at = self._moved_at or at
            self.note(at, peer, "asked for its first chunk")

    def _answered(self, event: Answered, at: Instant) -> None:
        match event.reply:
            case Have() as have:
                self._has(event.peer, have, at)
            case Whole():
                self._told_by = event.peer
            case _:
                pass

    def _has(self, peer: NodeId, have: Have, at: Instant) -> None:
        share = self.shares.setdefault(peer, Share())
        count = len(indices_of(have))
        if count != share.has:
            share.has = count
            self.note(at, peer, f"has {count:,} chunks")

    def _landed(self, peer: NodeId, index: int, at: Instant) -> None:
        share = self.shares.setdefault(peer, Share())
        share.chunks += 1
        if self._known is not None:
            share.bytes += chunk_length(self._known.manifest, index)
        if at - self._moved_at > QUIET:
            self.note(at, None, f"nothing had come for {(at - self._moved_at) / 1e6:.1f} s")
        if share.first_at is None:
            share.first_at = at
            self.note(at, peer, "gave its first chunk")
        self._moved_at = share.last_at = at
