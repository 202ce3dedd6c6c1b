"""Blobs from any peer that has them: which chunk to ask of whom next, and what to do with liars.

Asker and server speak over `Network.request`. Every part is checked as it arrives, so it does not
matter whom it comes from; a fetch goes on where an earlier one stopped.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from dpin.base.blob import BlobManifest, check_chunk, check_manifest
from dpin.base.codec import Wire, decode
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId, NodeId
from dpin.base.machine import Blame
from dpin.base.units import Instant
from dpin.net.network import ANSWER_BYTES_MAX, QUESTION_BYTES_MAX

SOURCES_MAX: Final = 64
IN_FLIGHT_MAX: Final = 8
IN_FLIGHT_PER_SOURCE_MAX: Final = 4
FAILURES_MAX: Final = 3  # in a row, before a source is dropped
REASON_CHARACTERS_MAX: Final = 200


class AskManifest(Wire, frozen=True, tag=1):
    """What does this blob consist of?"""

    blob: bytes


class AskChunk(Wire, frozen=True, tag=2):
    """Give me this part."""

    blob: bytes
    index: int


class Manifest(Wire, frozen=True, tag=1):
    """The answer to AskManifest."""

    manifest: BlobManifest


class Chunk(Wire, frozen=True, tag=2):
    """The answer to AskChunk."""

    data: bytes


class Refused(Wire, frozen=True, tag=3):
    """No answer; the reason is for people."""

    reason: str


Question = AskManifest | AskChunk
Reply = Manifest | Chunk | Refused


def read_question(data: bytes) -> Question:
    """Decode a question; raises PeerFault."""
    question: Question = decode(Question, data, QUESTION_BYTES_MAX)
    return question


def read_reply(data: bytes) -> Reply:
    """Decode an answer; raises PeerFault."""
    reply: Reply = decode(Reply, data, ANSWER_BYTES_MAX)
    return reply


@dataclass(frozen=True, slots=True)
class Begin:
    """Start asking."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A peer answered a question of ours with these bytes."""

    peer: NodeId
    question: Question
    payload: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A peer did not answer a question of ours."""

    peer: NodeId
    question: Question
    reason: str


@dataclass(frozen=True, slots=True)
class SourceFound:
    """One more peer says that it has the blob."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Request:
    """Put this question to this peer; Answered or Failed follows."""

    peer: NodeId
    question: Question


@dataclass(frozen=True, slots=True)
class Known:
    """The manifest is here, and is the right one."""

    manifest: BlobManifest


@dataclass(frozen=True, slots=True)
class Keep:
    """Chunk `index` is here, and is the right one."""

    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """All of the blob is here."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """No source is left; the reason names what each of the last ones did."""

    reason: str


Event = Begin | Answered | Failed | SourceFound
Effect = Request | Known | Keep | Done | GaveUp | Blame


@dataclass(slots=True)
class _Source:
    in_flight: int = 0
    failures: int = 0


class Fetch:
    """One blob on its way here."""

    def __init__(
        self,
        blob: BlobId,
        sources: Sequence[NodeId],
        manifest: BlobManifest | None = None,
        have: Collection[int] = (),
    ) -> None:
        self._blob = blob
        self._sources = {peer: _Source() for peer in sources[:SOURCES_MAX]}
        self._manifest = manifest
        self._have = set(have)
        self._asking: set[int] = set()
        self._asking_manifest = False
        self._ended = False
        self._last_reason = "no peer is known to have it"

    def step(self, event: Event, now: Instant) -> Sequence[Effect]:  # noqa: ARG002  Machines take the time; this one leaves time-outs to the request.
        """See dpin.base.machine.Machine."""
        if self._ended:
            return []
        effects = list(self._take(event))
        return [*effects, *self._end_or_ask()]

    @property
    def missing(self) -> list[int]:
        """The chunks that are not here yet; none before the manifest is."""
        if self._manifest is None:
            return []
        return [index for index in range(len(self._manifest.chunks)) if index not in self._have]

    def _take(self, event: Event) -> Iterable[Effect]:
        match event:
            case Begin():
                return []
            case SourceFound(peer):
                if len(self._sources) < SOURCES_MAX:
                    self._sources.setdefault(peer, _Source())
                return []
            case Failed(peer, question, reason):
                self._settle(peer, question)
                self._strike(peer, reason)
                return []
            case Answered(peer, question, payload):
                self._settle(peer, question)
                return self._answered(peer, question, payload)
            case _:
                assert_never(event)

    def _settle(self, peer: NodeId, question: Question) -> None:
        if peer in self._sources:
            self._sources[peer].in_flight -= 1
        match question:
            case AskManifest():
                self._asking_manifest = False
            case AskChunk(_, index):
                self._asking.discard(index)
            case _:
                assert_never(question)

    def _strike(self, peer: NodeId, reason: str) -> None:
        self._last_reason = reason[:REASON_CHARACTERS_MAX]
        source = self._sources.get(peer)
        if source is not None:
            source.failures += 1
            if source.failures >= FAILURES_MAX:
                del self._sources[peer]

    def _answered(self, peer: NodeId, question: Question, payload: bytes) -> Iterable[Effect]:
        try:
            reply = read_reply(payload)
            if isinstance(reply, Refused):
                self._last_reason = reply.reason[:REASON_CHARACTERS_MAX]
                self._sources.pop(peer, None)
                return []
            effects = self._accepted(question, reply)
        except PeerFault as fault:
            self._last_reason = str(fault)
            self._sources.pop(peer, None)
            return [Blame(peer, str(fault))]
        if peer in self._sources:
            self._sources[peer].failures = 0
        return effects

    def _accepted(self, question: Question, reply: Manifest | Chunk) -> Iterable[Effect]:
        match question, reply:
            case AskManifest(), Manifest(manifest):
                check_manifest(self._blob, manifest)
                if self._manifest is not None:
                    return []
                self._manifest = manifest
                return [Known(manifest)]
            case AskChunk(_, index), Chunk(data):
                assert self._manifest is not None, "chunks are asked for by the manifest"
                check_chunk(self._manifest, index, data)
                if index in self._have:
                    return []
                self._have.add(index)
                return [Keep(index, data)]
            case _:
                raise PeerFault("answered another question than the one that was put")

    def _end_or_ask(self) -> Iterable[Effect]:
        missing = self.missing
        if self._manifest is not None and not missing:
            self._ended = True
            return [Done()]
        if not self._sources:
            self._ended = True
            return [GaveUp(f"no source is left; the last one: {self._last_reason}")]
        if self._manifest is None:
            return self._ask_for_manifest()
        return self._ask_for_chunks(missing)

    def _ask_for_manifest(self) -> Iterable[Effect]:
        if self._asking_manifest:
            return []
        self._asking_manifest = True
        return [self._request(self._idlest(), AskManifest(self._blob))]

    def _ask_for_chunks(self, missing: Sequence[int]) -> Iterable[Effect]:
        effects: list[Effect] = []
        for index in missing:
            if len(self._asking) >= IN_FLIGHT_MAX:
                break
            peer = self._idlest()
            if self._sources[peer].in_flight >= IN_FLIGHT_PER_SOURCE_MAX:
                break
            if index not in self._asking:
                self._asking.add(index)
                effects.append(self._request(peer, AskChunk(self._blob, index)))
        return effects

    def _request(self, peer: NodeId, question: Question) -> Request:
        self._sources[peer].in_flight += 1
        return Request(peer, question)

    def _idlest(self) -> NodeId:
        """The source with the fewest failures and questions; the first come among equals."""
        return min(
            self._sources, key=lambda p: (self._sources[p].failures, self._sources[p].in_flight)
        )
