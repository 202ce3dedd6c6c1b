"""The seam between agreeing on an order and acting on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dpin.base.codec import Wire
from dpin.base.ids import Digest, NodeId, Round
from dpin.base.units import MicroTokens
from dpin.ledger.checkpoint import Checkpoint, CheckpointSignature, CommitteeRecord


@dataclass(frozen=True, slots=True)
class OrderedBlock:
    """What execution must know of a committed block beside its transactions."""

    author: int
    round: Round
    transactions: int  # so many of the commit's, in order, are this block's
    signatures: Sequence[CheckpointSignature]  # over checkpoints, by its author; not checked yet


@dataclass(frozen=True, slots=True)
class OrderedCommit:
    """One commit of the log: what every node applies, in the order of `height`."""

    height: int  # 1, 2, 3, ...
    leader_round: Round
    leader: int  # author index in the committee
    reveal: Digest  # the leader header's hash-chain reveal; checked at execution
    timestamp_ms: int  # H9; strictly growing
    digest: Digest  # chained over all commits before
    transactions: Sequence[bytes]  # encoded SignedTransactions, in order
    epoch: int = 0
    blocks: Sequence[OrderedBlock] = ()  # in order


class Receipt(Wire, frozen=True):
    """What became of one transaction, or of one unit's money: a leaf of the receipts log."""

    height: int
    subject: Digest  # transaction id, or digest of [lease, round] for a settlement
    code: int
    detail: str  # "ok", or why not; for a settlement its state, reason and amounts


class Leaves(Protocol):
    """The receipts log, as far as checkpoints need it."""

    def __len__(self) -> int:
        """How many leaves there are."""
        ...

    @property
    def root(self) -> Digest:
        """The RFC 6962 root over all of them."""
        ...

    def prove(self, index: int) -> tuple[Digest, ...]:
        """The inclusion path of a leaf."""
        ...


class Done(Protocol):
    """What came of a commit."""

    @property
    def receipts(self) -> Sequence[Receipt]:
        """In order: transactions, then what fell due."""
        ...

    @property
    def state_root(self) -> Digest | None:
        """Every so many commits."""
        ...

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Whenever there is a state root: what the committee signs."""
        ...

    @property
    def closing(self) -> CommitteeRecord | None:
        """Of the last commit of an epoch: who validates the next."""
        ...


class Executor(Protocol):
    """What acts on the order: the state machine, as the replica drives it."""

    @property
    def mix(self) -> Digest:
        """The public randomness after the last commit."""
        ...

    @property
    def has_deadlines(self) -> bool:
        """Whether something fires by itself as ledger time goes on."""
        ...

    @property
    def receipts(self) -> Leaves:
        """The log of what became of everything; right after a checkpoint that is its last leaf."""
        ...

    def apply(self, commit: OrderedCommit) -> Done:
        """Act on the next commit."""
        ...

    def check(self, transaction: bytes) -> str | None:
        """Why an encoded transaction cannot wait for a block, if it cannot; cheap."""
        ...

    def funds(self, account: NodeId) -> MicroTokens:
        """What an account has free to pay fees with."""
        ...
