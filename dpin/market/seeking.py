"""A job's state from whoever holds it: ask, take an offer, fetch it, compare it with the ledger.

Who joins late begins so, and a requester for whom the updates of a round are not to be had any
more goes on so. Whoever has it merges the rounds after it as everybody does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from dpin.base.codec import encode
from dpin.base.ids import BlobId, Digest, NodeId, Round
from dpin.base.machine import Blame, Send
from dpin.ledger.accounts import Job, JobState, Phase, State
from dpin.ledger.views import ended_in
from dpin.market.messages import AskCheckpoint, CheckpointOffer
from dpin.storage.wanted import Fetch, Fetched, Oversized, Purpose
from dpin.verify.jobfiles import JobFiles


class Word(Enum):
    """What the ledger says of a state."""

    SAME = auto()
    OTHER = auto()
    NOT_YET = auto()
    NEVER = auto()  # nobody has committed in its round, or too few say what the last has led to


def word_on(job: Job, round_: Round, state: Digest) -> Word:
    """Whether the ledger names this as the state that a round begins with, or the last led to."""
    if round_ < len(job.rounds):
        record = job.rounds[round_]
        if record.state_hash is not None:
            return Word.SAME if record.state_hash == state else Word.OTHER
        return Word.NOT_YET if record.phase == Phase.TRAIN else Word.NEVER
    said = ended_in(job)
    if said is not None:
        return Word.SAME if said == state else Word.OTHER
    over = job.state == JobState.SETTLING or job.state.ended
    return Word.NEVER if over else Word.NOT_YET


@dataclass(slots=True)
class Seeking:
    """Of one job, by one node."""

    files: JobFiles
    me: NodeId
    least: Round = Round(0)  # a state that an earlier round begins with is of no use
    found: tuple[Round, BlobId] | None = None  # what was offered
    offered_by: NodeId | None = None
    path: str = ""  # once it is here
    refused: set[NodeId] = field(default_factory=set)  # who offered what was not the job's state
    _sources: tuple[NodeId, ...] = ()  # who was asked

    @property
    def start(self) -> tuple[Round, str] | None:
        """The round and the file to begin with, once it is here."""
        return (self.found[0], self.path) if self.found is not None and self.path else None

    def ask(self, state: State) -> Iterator[Send | Fetch]:
        """For offers, or for what was offered; again while it does not come."""
        out = {self.me, *self.refused}
        self._sources = tuple(peer for peer in self.files.sources(state) if peer not in out)
        if self.found is None:
            for peer in self._sources:
                yield Send(peer, encode(AskCheckpoint(self.files.job.id)))
        elif (most := self.files.checkpoint_bytes_max) is not None:
            yield Fetch(self.found[1], self._sources, Purpose.MODEL, most)

    def offered(self, peer: NodeId, offer: CheckpointOffer) -> bool:
        """Somebody who was asked holds the job's state; the first offer is taken."""
        if peer not in self._sources or self.found is not None:
            return False
        if not self.least <= offer.round <= len(self.files.job.rounds):
            return False
        self.found, self.offered_by = (offer.round, offer.blob), peer
        return True

    def missing(self, blob: BlobId) -> None:
        """Nobody has the blob; a checkpoint that nobody has was no offer."""
        if self.found is not None and self.found[1] == blob:
            self.forget()

    def fetched(self, event: Fetched | Oversized) -> Iterator[Blame]:
        """What was offered is here; of who offered too much nothing more is taken."""
        most = self.files.checkpoint_bytes_max
        if self.found is None or self.found[1] != event.blob or most is None:
            return
        if event.length > most:
            assert self.offered_by is not None, "a checkpoint is somebody's offer"
            yield Blame(self.offered_by, f"offered a state of {event.length} bytes, at most {most}")
            self.refuse()
        elif isinstance(event, Fetched):
            self.path = event.path

    def refuse(self) -> None:
        """It is not the job's state: of who offered it nothing more is taken."""
        if self.offered_by is not None:
            self.refused.add(self.offered_by)
        self.forget()

    def forget(self) -> None:
        """Another offer may be taken."""
        self.found, self.offered_by, self.path = None, None, ""
