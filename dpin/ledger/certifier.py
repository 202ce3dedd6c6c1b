"""From the signatures in accepted blocks to certificates: one epoch's checkpoints.

Signatures are taken from accepted blocks and not only from committed ones, because nothing commits
after the commit that closes an epoch. Of each author the first signature for a sequence counts. An
author names the checkpoint that it signs in a header that it signs too: whoever names another than
ours, or signs another log, has come to another state than we have.
"""

from dataclasses import dataclass
from typing import Final

from dpin.base.ids import ChainId, Digest
from dpin.ledger.blocks import Header
from dpin.ledger.certificates import AuthorSignature, Certificate, chosen, is_signed
from dpin.ledger.checkpoint import Checkpoint, CheckpointSignature, checkpoint_digest
from dpin.ledger.committee import Committee
from dpin.ledger.order import Leaves

RECENT_MAX: Final = 16  # certificates of one epoch that are kept
SPAN: Final = 64  # sequences before and after the newest own checkpoint that signatures are kept of


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint that this node has come to, and the receipts log whose last leaf it is."""

    checkpoint: Checkpoint
    name: Digest
    size: int
    root: Digest
    path: tuple[Digest, ...]


def made(checkpoint: Checkpoint, leaves: Leaves) -> Made:
    """A checkpoint right after it was made."""
    size = len(leaves)
    return Made(
        checkpoint, checkpoint_digest(checkpoint), size, leaves.root, leaves.prove(size - 1)
    )


@dataclass(frozen=True, slots=True)
class Divergence:
    """Members of whom one is correct signed other checkpoints than this one of ours."""

    ours: Made
    others: tuple[tuple[int, Digest], ...]  # author index and the checkpoint it names

    @property
    def report(self) -> str:
        """What differs, for people."""
        ours, checkpoint = self.ours, self.ours.checkpoint
        said = ", ".join(f"member {author} {name.hex()}" for author, name in self.others)
        return (
            f"checkpoint {checkpoint.sequence} at height {checkpoint.height} is "
            f"{ours.name.hex()} here (state root {checkpoint.state_root.hex()}, receipts log of "
            f"{ours.size} leaves with root {ours.root.hex()}), but {said} signed otherwise"
        )


class Certifier:
    """Checkpoints of one epoch and who has signed them; `sequence` is of the last one before."""

    def __init__(self, chain: ChainId, committee: Committee, sequence: int) -> None:
        self.newest: Certificate | None = None
        self.recent: dict[int, Certificate] = {}  # the newest, by sequence
        self.divergence: Divergence | None = None
        self._chain = chain
        self._committee = committee
        self._last = sequence  # of the newest own checkpoint
        self._floor = sequence  # up to here nothing is to be certified
        self._made: dict[int, Made] = {}
        self._told: dict[int, dict[int, CheckpointSignature]] = {}  # by sequence and author
        self._right: dict[int, dict[int, bytes]] = {}  # those that were checked and hold
        self._other: dict[int, dict[int, Digest]] = {}  # those of another checkpoint or log

    def __len__(self) -> int:
        """How many signatures are kept."""
        return sum(map(len, self._told.values()))

    def take(self, header: Header) -> None:
        """An accepted block's header may carry signatures of its author."""
        for signature in header.checkpoint_signatures:
            sequence, author = signature.sequence, header.author
            if not self._floor < sequence <= self._last + SPAN:
                continue
            told = self._told.setdefault(sequence, {})
            if author not in told:
                told[author] = signature
                if sequence in self._made:
                    self._judge(sequence, author)

    def made(self, own: Made) -> None:
        """The node has come to its next checkpoint."""
        sequence = self._last = own.checkpoint.sequence
        self._made[sequence] = own
        self._forget(max(self._floor, sequence - SPAN))
        for author in sorted(self._told.get(sequence, ())):
            if sequence in self._made:
                self._judge(sequence, author)

    def _judge(self, sequence: int, author: int) -> None:
        own, signature = self._made[sequence], self._told[sequence][author]
        signer = self._committee.signer(author)
        if signature.checkpoint == own.name and is_signed(
            self._chain, signer, own.size, own.root, signature.signature
        ):
            right = self._right.setdefault(sequence, {})
            right[author] = signature.signature
            self._certify(own, chosen(right, self._committee))
            return
        others = self._other.setdefault(sequence, {})
        others[author] = signature.checkpoint
        if self._committee.weigh(others) >= self._committee.honest:
            self.divergence = self.divergence or Divergence(own, tuple(sorted(others.items())))

    def _certify(self, own: Made, signatures: tuple[AuthorSignature, ...]) -> None:
        if signatures:
            self.newest = Certificate(own.checkpoint, own.size, own.root, own.path, signatures)
            self.recent[own.checkpoint.sequence] = self.newest
            while len(self.recent) > RECENT_MAX:
                del self.recent[next(iter(self.recent))]
            self._forget(own.checkpoint.sequence)

    def _forget(self, floor: int) -> None:
        """Older checkpoints are covered by a certificate, or too old to be worth one."""
        self._floor = floor
        self._made = {at: one for at, one in self._made.items() if at > floor}
        self._told = {at: one for at, one in self._told.items() if at > floor}
        self._right = {at: one for at, one in self._right.items() if at > floor}
        self._other = {at: one for at, one in self._other.items() if at > floor}
