"""What shows that a validator broke its word: operations as data, and what is kept of it.

Rules live in `evidence.py`. Wire structures are final.
"""

from enum import IntEnum

from dpin.base.codec import Wire
from dpin.base.ids import Digest
from dpin.ledger.checkpoint import Checkpoint


class Crime(IntEnum):
    """What a validator can be slashed for."""

    EQUIVOCATION = 1  # E1: two blocks of one round
    FORK = 2  # E2: two checkpoints of one number


class Offence(Wire, frozen=True):
    """Kept beside the bond that it cost: each is shown once."""

    crime: int
    epoch: int  # in which it was done
    weight_ppm: int  # of the committee of that epoch


class SignedHeader(Wire, frozen=True):
    """The encoded header of a block, and its author's signature."""

    header: bytes
    signature: bytes


class Equivocation(Wire, frozen=True, tag=21):
    """E1: two headers of one author, epoch and round, both signed with its consensus key."""

    first: SignedHeader
    second: SignedHeader


class CheckpointContradiction(Wire, frozen=True, tag=23):
    """E2: two headers of one author and epoch that sign one number of a checkpoint differently."""

    first: SignedHeader
    second: SignedHeader


class SignedCheckpoint(Wire, frozen=True):
    """A checkpoint, its place as the last leaf of a log, and a signature over that log's note."""

    checkpoint: Checkpoint
    size: int
    path: tuple[Digest, ...]
    signature: bytes


class CheckpointFork(Wire, frozen=True, tag=22):
    """E2: a member of an epoch signed two notes for one number of a checkpoint (M5)."""

    author: int
    first: SignedCheckpoint
    second: SignedCheckpoint
