"""The seam between agreeing on an order and acting on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dpin.base.codec import Wire
from dpin.base.ids import Digest, Round


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


class Receipt(Wire, frozen=True):
    """What became of one transaction, or of one unit's money: a leaf of the receipts log."""

    height: int
    subject: Digest  # transaction id, or digest of [lease, round] for a settlement
    code: int
    detail: str  # "ok", or why not; for a settlement its state, reason and amounts


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

    def apply(self, commit: OrderedCommit) -> Done:
        """Act on the next commit."""
        ...

    def check(self, transaction: bytes) -> str | None:
        """Why an encoded transaction cannot wait for a block, if it cannot; cheap."""
        ...
