"""Blobs from any peer that has them: which chunk to ask of whom next, and what to do with liars.

The rarest chunks first, of the best sources first, as many at once as each has shown to be good
for; what a slow source holds up is asked of another one (after Cohen, "Incentives Build Robustness
in BitTorrent", 2003). Bulk bytes never come here: whoever drives a fetch checks each chunk against
the manifest where it lands. Only what is small comes with the manifest, and is checked with it. A
fetch goes on where an earlier one stopped.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from dpin.base.blob import BlobManifest, check_manifest
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId, NodeId
from dpin.base.machine import Blame, Tick, Wake
from dpin.base.units import Instant, Micros, after, seconds
from dpin.net.blobwire import (
    HAVE_BYTES_MAX,
    REASON_CHARACTERS_MAX,
    AskBlob,
    AskChunk,
    AskHave,
    BlobQuestion,
    Have,
    Manifest,
    Whole,
    check_whole,
)
from dpin.net.sharing import Work
from dpin.net.sources import SOURCES_MAX, Source, Sources

LOOK: Final[Micros] = seconds(1)  # how often it looks for who is slow
AGAIN: Final[Micros] = seconds(2)  # before a source is asked again what it has by now
HOPELESS: Final[Micros] = seconds(60)  # without anything new


@dataclass(frozen=True, slots=True)
class Begin:
    """Start asking."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A peer answered a question of ours, chunks aside."""

    peer: NodeId
    question: AskBlob | AskHave
    reply: Manifest | Whole | Have


@dataclass(frozen=True, slots=True)
class Landed:
    """A chunk that we asked of a peer is here, and is the right one."""

    peer: NodeId
    index: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A peer did not answer a question of ours."""

    peer: NodeId
    question: BlobQuestion
    reason: str


@dataclass(frozen=True, slots=True)
class Denied:
    """A peer said that it will not answer."""

    peer: NodeId
    question: BlobQuestion
    reason: str


@dataclass(frozen=True, slots=True)
class Lied:
    """A peer's answer is not an answer to our question."""

    peer: NodeId
    question: BlobQuestion
    reason: str


@dataclass(frozen=True, slots=True)
class SourceFound:
    """One more peer says that it has the blob."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Request:
    """Put this question to this peer; one of Answered, Landed, Failed, Denied, Lied follows."""

    peer: NodeId
    question: BlobQuestion


@dataclass(frozen=True, slots=True)
class Known:
    """The manifest is here, and is the right one; so is `data`, all of a small blob."""

    manifest: BlobManifest
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Stalled:
    """A source let others wait: what it was asked for is asked of others too."""

    peer: NodeId
    dropped: bool  # it is asked for nothing more


@dataclass(frozen=True, slots=True)
class Done:
    """All of the blob is here."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """No source is left; the reason names what the last one did."""

    reason: str


Event = Begin | Answered | Landed | Failed | Denied | Lied | SourceFound | Tick
Effect = Request | Known | Stalled | Done | GaveUp | Blame | Wake


class Fetch:
    """One blob on its way here."""

    def __init__(
        self,
        blob: BlobId,
        sources: Sequence[NodeId],
        manifest: BlobManifest | None = None,
        have: Collection[int] = (),
        start: int = 0,
    ) -> None:
        """Without a manifest it ends when that is Known. `start`: where to begin among equals."""
        self._blob = blob
        self._sources = Sources((peer, Source()) for peer in sources[:SOURCES_MAX])
        self._manifest = manifest
        self._count = len(manifest.chunks) if manifest is not None else 0
        self._work = Work(self._sources, self._count, have, start)
        self._moved_at = Instant(0)  # the last time that anything new came
        self._ended = False
        self._last_reason = "no peer is known to have it"

    def step(self, event: Event, now: Instant) -> Sequence[Effect]:
        """See dpin.base.machine.Machine."""
        if self._ended:
            return []
        effects = [*self._take(event, now)]
        return [*effects, *self._end_or_ask(now)]

    @property
    def missing(self) -> list[int]:
        """The chunks that are not here yet."""
        return [index for index in range(self._count) if index not in self._work.have]

    def _take(self, event: Event, now: Instant) -> Iterable[Effect]:
        match event:
            case Begin():
                self._moved_at = now
                self._work.begin(self.missing)
                return [Wake(after(now, LOOK))]
            case Tick():
                return self._look(now)
            case Answered():
                return self._answered(event, now)
            case Lied(peer, _, reason):
                return self._lied(peer, reason)
            case SourceFound(peer):
                self._sources.found(peer)
            case Landed(peer, index):
                self._moved_at = now
                self._work.landed(peer, index, now)
            case Failed(peer, question, reason) | Denied(peer, question, reason):
                self._unanswered(peer, question, reason, denied=isinstance(event, Denied))
            case _:
                assert_never(event)
        return []

    def _look(self, now: Instant) -> Iterable[Effect]:
        stalled = self._work.replace_slow(now)
        if stalled:
            self._last_reason = "it was slow"
        told = [Stalled(peer, dropped=peer not in self._sources) for peer in stalled]
        return [*told, Wake(after(now, LOOK))]

    # --- what came ---

    def _answered(self, event: Answered, now: Instant) -> Iterable[Effect]:
        source = self._sources.get(event.peer)
        if source is not None:
            source.asking = False
        match event.question, event.reply:
            case AskBlob(), Manifest() | Whole() as reply:
                return self._known(event.peer, reply)
            case AskHave(), Have(bits) if len(bits) <= HAVE_BYTES_MAX:
                if source is not None and self._work.said(source, bits, now):
                    self._moved_at = now
                return []
            case _:
                return self._lied(event.peer, "answered another question than the one put")

    def _known(self, peer: NodeId, reply: Manifest | Whole) -> Iterable[Effect]:
        try:
            if isinstance(reply, Whole):
                check_whole(self._blob, reply)
            else:
                check_manifest(self._blob, reply.manifest)
        except PeerFault as fault:
            return self._lied(peer, str(fault))
        self._ended = True
        return [Known(reply.manifest, reply.data if isinstance(reply, Whole) else None)]

    def _unanswered(
        self, peer: NodeId, question: BlobQuestion, reason: str, *, denied: bool
    ) -> None:
        self._last_reason = reason[:REASON_CHARACTERS_MAX]
        source = self._sources.get(peer)
        if source is None:
            return
        if isinstance(question, AskChunk):
            self._work.failed(source, question.index)
            if denied:  # It has less than it said, by now.
                source.bits, source.whole = None, False
        else:
            source.asking = False
        gone = denied and not isinstance(question, AskChunk)
        if source.strike() or gone:
            self._work.drop(peer)

    def _lied(self, peer: NodeId, reason: str) -> Iterable[Effect]:
        self._last_reason = reason[:REASON_CHARACTERS_MAX]
        self._work.drop(peer)
        return [Blame(peer, reason)]

    # --- what to do next ---

    def _end_or_ask(self, now: Instant) -> Iterable[Effect]:
        if self._ended:
            return []
        reason = self._hopeless(now)
        if self._manifest is not None and len(self._work.have) >= self._count:
            self._ended = True
            return [Done()]
        if reason:
            self._ended = True
            return [GaveUp(f"{reason}; the last one: {self._last_reason}")]
        if self._manifest is None:
            return self._ask_for_manifest()
        return [*self._ask_what_they_have(now), *self._ask_for_chunks(now)]

    def _ask_for_chunks(self, now: Instant) -> Iterable[Effect]:
        for peer, index in self._work.hand_out(now):
            yield Request(peer, AskChunk(self._blob, index))

    def _hopeless(self, now: Instant) -> str:
        if not self._sources:
            return "no source is left"
        idle = not any(source.in_flight for source in self._sources.values())
        if idle and now - self._moved_at > HOPELESS:
            return "no source has what is missing"
        return ""

    def _ask_for_manifest(self) -> Iterable[Effect]:
        if any(source.asking for source in self._sources.values()):
            return []
        best = self._sources.best_first()[0]
        self._sources[best].asking = True
        return [Request(best, AskBlob(self._blob))]

    def _ask_what_they_have(self, now: Instant) -> Iterable[Effect]:
        for peer, source in self._sources.items():
            known = source.bits is not None
            stale = not source.whole and not source.in_flight and now - source.said_at >= AGAIN
            if not source.asking and (stale if known else True):
                source.asking = True
                yield Request(peer, AskHave(self._blob))
