"""What nodes say to each other about a state as an epoch's end left it."""

from collections.abc import Sequence
from typing import Final

from dpin.base.codec import Wire, decode
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest
from dpin.ledger.frozen import Entry, Frozen
from dpin.ledger.statetree import BUCKETS

PEAKS_MAX: Final = 64


class AskState(Wire, frozen=True, tag=32):
    """Do you have the state of this closing checkpoint, and what do its buckets hash to?"""

    checkpoint: Digest


class StateSummary(Wire, frozen=True, tag=33):
    """It is here: hashes of the buckets, and peaks of the receipts log at the checkpoint."""

    checkpoint: Digest
    hashes: tuple[Digest, ...]
    peaks: tuple[Digest, ...]


class AskBucket(Wire, frozen=True, tag=34):
    """Send me parts of this bucket, from a place in your own order on."""

    checkpoint: Digest
    bucket: int
    start: int


class BucketPage(Wire, frozen=True, tag=35):
    """Parts of a bucket; with `then`, it goes on there."""

    checkpoint: Digest
    bucket: int
    start: int
    entries: tuple[Entry, ...]
    then: int | None


class NoState(Wire, frozen=True, tag=36):
    """The state of that checkpoint is not here, or not any more."""

    checkpoint: Digest


StateQuestion = AskState | AskBucket
StateAnswer = StateSummary | BucketPage | NoState
StateMessage = StateQuestion | StateAnswer


def check_lengths(message: StateMessage) -> None:
    """Raises PeerFault for lists longer than any honest node sends."""
    if isinstance(message, StateSummary):
        if len(message.hashes) != BUCKETS or len(message.peaks) > PEAKS_MAX:
            raise PeerFault("a state has 256 buckets and as many peaks as its size has bits set")
    elif isinstance(message, AskBucket) and (
        not 0 <= message.bucket < BUCKETS or message.start < 0
    ):
        raise PeerFault("asked for a bucket that no state has")


def read_state_message(payload: bytes) -> StateMessage:
    """Decode a message; raises PeerFault."""
    message: StateMessage = decode(StateMessage, payload)
    check_lengths(message)
    return message


def answer(states: Sequence[Frozen], question: StateQuestion) -> StateAnswer:
    """What a node that holds these states says; one page at most."""
    for frozen in states:
        if frozen.name == question.checkpoint:
            if isinstance(question, AskState):
                return StateSummary(frozen.name, frozen.hashes, frozen.peaks)
            entries, then = frozen.page(question.bucket, question.start)
            return BucketPage(frozen.name, question.bucket, question.start, entries, then)
    return NoState(question.checkpoint)
