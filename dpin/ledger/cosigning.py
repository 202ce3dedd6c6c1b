"""Checkpoints in the state: each one made is noted, and who has signed its note is counted (H7).

A member's signature travels in its next headers and counts when such a block is committed, which is
after the checkpoint was made on every node alike.
"""

from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import digest, verify_note
from dpin.base.ids import NO_DIGEST, ChainId, Digest
from dpin.base.units import MILLION
from dpin.ledger.accounts import State
from dpin.ledger.book import Book
from dpin.ledger.checkpoint import (
    Checkpoint,
    CheckpointSignature,
    CommitteeRecord,
    checkpoint_digest,
    committee_digest,
    note_text,
)
from dpin.ledger.order import OrderedBlock, OrderedCommit
from dpin.ledger.params import Params
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.standing import Epoch, Noted

PARAMS_TAG: Final = "dpin/params/v1"
NOTED_MAX: Final = 16  # checkpoints that can still be signed with effect


def params_digest(params: Params) -> Digest:
    """Names the rules of a network."""
    return digest(PARAMS_TAG, encode(params))


def make_checkpoint(
    book: Book, commit: OrderedCommit, root: Digest, old: Epoch, closing: CommitteeRecord | None
) -> Checkpoint:
    """The checkpoint after a commit of the epoch `old`; the state root is of right now."""
    return Checkpoint(
        sequence=book.state.sequence,
        epoch=old.number,
        height=commit.height,
        commit=commit.digest,
        state_root=root,
        time_ms=book.state.time,
        params=params_digest(book.params),
        committee=committee_digest(old.committee),
        next_committee=NO_DIGEST if closing is None else committee_digest(closing),
    )


def noted(checkpoint: Checkpoint, log: ReceiptLog) -> Noted:
    """What there is to sign for a checkpoint that is the last leaf of the log."""
    name = checkpoint_digest(checkpoint)
    return Noted(checkpoint.sequence, name, checkpoint.height, len(log), log.root)


def note(epoch: Epoch, made: Noted) -> None:
    """From now on signatures over this checkpoint of the epoch count."""
    epoch.noted.append(made)
    if len(epoch.noted) > NOTED_MAX:
        settle(epoch, epoch.noted.pop(0))


def settle(epoch: Epoch, noted: Noted) -> None:
    """Count who has signed a checkpoint; whoever signs it later is too late."""
    epoch.counted += 1
    for author, seated in enumerate(epoch.seated):
        seated.cosigned += noted.cosigners >> author & 1


def count(state: State, chain: ChainId, block: OrderedBlock) -> None:
    """Take the signatures that a committed block of the present epoch carries."""
    for signature in block.signatures:
        noted = _noted(state.term, signature)
        bit = 1 << block.author
        if noted is None or noted.cosigners & bit:
            continue
        signer = state.term.committee.members[block.author].signer
        text = note_text(chain, noted.size, noted.root)
        if verify_note(signer, text, signature.signature):
            noted.cosigners |= bit


def live(epoch: Epoch, least_ppm: int) -> list[bool]:
    """Which members have signed so much of the epoch's checkpoints, rounded down, or more (H7).

    The newest does not count: nobody had the time to sign it. Who is alone is live, or the epoch
    would not have ended.
    """
    older = epoch.noted[:-1]
    made = epoch.counted + len(older)
    least = max(1, made * least_ppm // MILLION) if made else 0
    alone = len(epoch.seated) == 1
    return [
        alone or one.cosigned + sum(noted.cosigners >> author & 1 for noted in older) >= least
        for author, one in enumerate(epoch.seated)
    ]


def _noted(epoch: Epoch, signature: CheckpointSignature) -> Noted | None:
    """The checkpoint that a signature says it is for."""
    for noted in epoch.noted:
        if (noted.sequence, noted.checkpoint) == (signature.sequence, signature.checkpoint):
            return noted
    return None
