"""What verifiers and providers say to each other, off the ledger."""

from dpin.base.codec import Wire
from dpin.base.ids import BlobId, Digest, Round
from dpin.base.leaf import Leaf


class AskOpening(Wire, frozen=True, tag=1):
    """A seated verifier asks the provider for what it may see of a unit.

    Not `final`: the state in which the checked window starts. `final`, once the provider has opened
    its leaves on the ledger: the last state, and the checkpoint that the unit started from.
    """

    lease: Digest
    round: Round
    final: bool


class Opening(Wire, frozen=True, tag=2):
    """The provider's answer: a leaf with its path, and the blobs behind it.

    `base` is the global checkpoint of the unit's round where `final`, else NO_BLOB.
    """

    lease: Digest
    round: Round
    final: bool
    leaf: Leaf
    path: tuple[Digest, ...]
    state: BlobId
    base: BlobId


class NoOpening(Wire, frozen=True, tag=3):
    """The provider cannot answer, now or at all; the reason is for people."""

    lease: Digest
    round: Round
    final: bool
    reason: str


VerifyMessage = AskOpening | Opening | NoOpening
