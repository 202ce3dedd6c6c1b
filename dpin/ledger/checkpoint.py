"""What a committee signs about the ledger, and who the committee is: plain data, hashed and signed.

A checkpoint is the last leaf of the receipts log when it is made, so that the root over the log
commits to it and a signed note needs no lines of its own (C2SP tlog-checkpoint).
"""

from base64 import b64encode
from typing import Final

from dpin.base.codec import Wire, encode
from dpin.base.crypto import digest
from dpin.base.ids import ChainId, Digest, NodeId, Round

CHECKPOINT_TAG: Final = "dpin/ckpt/v1"
COMMITTEE_TAG: Final = "dpin/committee/v1"


class CheckpointSignature(Wire, frozen=True):
    """An author's signature over the note of a checkpoint, carried in its next header."""

    sequence: int
    checkpoint: Digest
    signature: bytes


class Member(Wire, frozen=True):
    """A validator for one epoch."""

    node: NodeId  # libp2p id; the account that its bond and rewards belong to
    signer: NodeId  # consensus key of this epoch
    weight: int
    anchor: Digest  # of its chain of reveals
    anchor_round: Round  # the round that the anchor belongs to


class CommitteeRecord(Wire, frozen=True):
    """Who validates an epoch: ascending by node; the index is the author index."""

    epoch: int
    seed: Digest  # draws its leaders
    base: Round  # the round of its genesis blocks; rounds go on from epoch to epoch
    members: tuple[Member, ...]


class Checkpoint(Wire, frozen=True):
    """The ledger after one commit."""

    sequence: int  # 1, 2, 3, ... over the life of the chain
    epoch: int
    height: int  # of the commit
    commit: Digest  # chained over all commits
    state_root: Digest
    time_ms: int  # ledger time
    params: Digest
    committee: Digest  # of those who sign it
    next_committee: Digest  # NO_DIGEST unless this closes the epoch


def checkpoint_digest(checkpoint: Checkpoint) -> Digest:
    """Names a checkpoint."""
    return digest(CHECKPOINT_TAG, encode(checkpoint))


def committee_digest(record: CommitteeRecord) -> Digest:
    """Names a committee."""
    return digest(COMMITTEE_TAG, encode(record))


def note_text(chain: ChainId, size: int, root: Digest) -> str:
    """The body of the note that validators and witnesses sign: origin, size, root in base 64.

    `size` and `root` are of the receipts log whose last leaf is the checkpoint. Source: C2SP
    tlog-checkpoint.
    """
    return f"dpin/{chain.hex()}\n{size}\n{b64encode(root).decode()}\n"
