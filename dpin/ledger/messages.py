"""What replicas say to each other about blocks. Blocks travel as their own bytes."""

from typing import Final

from dpin.base.codec import Wire, decode
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, Round
from dpin.ledger.blocks import Header, Reference
from dpin.ledger.certificates import Certificate
from dpin.ledger.handover import Handover
from dpin.ledger.statemessages import (
    AskBucket,
    AskState,
    BucketPage,
    NoState,
    StateAnswer,
    StateQuestion,
    StateSummary,
    check_lengths,
)

REFERENCES_MAX: Final = 32  # in one AskBlocks
HELD_MAX: Final = 4_096  # in one AskRange
BLOCKS_MAX: Final = 2_048  # in one Blocks


class BlockMessage(Wire, frozen=True, tag=1):
    """A block: the sender's own, or one that a follower asked to be told."""

    block: bytes


class AskBlocks(Wire, frozen=True, tag=2):
    """Send me these blocks."""

    references: tuple[Reference, ...]


class AskRange(Wire, frozen=True, tag=3):
    """Send me every block of an epoch from `start` on, in order of (round, author, digest).

    Those held are left out.
    """

    epoch: int
    start: Reference
    held: tuple[Digest, ...]


class Blocks(Wire, frozen=True, tag=4):
    """An answer; with `then`, the range goes on there."""

    blocks: tuple[bytes, ...]
    then: Reference | None


class Subscribe(Wire, frozen=True, tag=5):
    """Tell me every block that you accept."""


class Subscribed(Wire, frozen=True, tag=6):
    """Whether you will be told; a validator has only so many followers."""

    taken: bool


class AskNewest(Wire, frozen=True, tag=7):
    """I have started: which is the newest block of mine that you know (H10)?"""


class Newest(Wire, frozen=True, tag=8):
    """The newest header of the asker, signed by it, if any; and my own epoch and highest round."""

    epoch: int
    highest: Round
    header: Header | None
    signature: bytes


class SubmitTransaction(Wire, frozen=True, tag=9):
    """Put this transaction on the ledger for its sender."""

    transaction: bytes


class AskHandover(Wire, frozen=True, tag=10):
    """How did this epoch end?"""

    epoch: int


class Handed(Wire, frozen=True, tag=11):
    """How an epoch ended; and the epoch that the sender is in."""

    epoch: int
    handover: Handover


class AskCertificate(Wire, frozen=True, tag=12):
    """Who signed the checkpoint of this number?"""

    sequence: int


class CertificateMessage(Wire, frozen=True, tag=13):
    """A checkpoint that a quorum has signed."""

    certificate: Certificate


Message = (
    BlockMessage
    | AskBlocks
    | AskRange
    | Blocks
    | Subscribe
    | Subscribed
    | AskNewest
    | Newest
    | SubmitTransaction
    | AskHandover
    | Handed
    | AskCertificate
    | CertificateMessage
    | StateQuestion
    | StateAnswer
)


def read_message(payload: bytes) -> Message:
    """Decode a message; raises PeerFault, also for lists longer than any honest node sends."""
    message: Message = decode(Message, payload)
    match message:
        case AskBlocks(references) if len(references) > REFERENCES_MAX:
            raise PeerFault(f"asked for {len(references)} blocks at once")
        case AskRange(_, _, held) if len(held) > HELD_MAX:
            raise PeerFault(f"named {len(held)} blocks that it holds")
        case Blocks(blocks) if len(blocks) > BLOCKS_MAX:
            raise PeerFault(f"sent {len(blocks)} blocks at once")
        case AskState() | AskBucket() | StateSummary() | BucketPage() | NoState():
            check_lengths(message)
            return message
        case _:
            return message
