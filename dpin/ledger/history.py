"""What has become of one account's money, commit by commit: a wallet's memory, and nobody's root.

Kept beside the state by whoever wants to look back; what is older than the last few thousand
movements is in archives. Whenever the log begins anew it begins with these, so they are as durable
as the log, and what it holds after them is counted once.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from typing_extensions import override

from dpin.base.codec import Wire, decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.ledger import fees
from dpin.ledger.accounts import Account, State
from dpin.ledger.assembly import Restored
from dpin.ledger.execute import Applied, Executor
from dpin.ledger.genesis import Genesis
from dpin.ledger.order import OrderedCommit, Receipt
from dpin.ledger.params import Params
from dpin.ledger.transactions import (
    Credit,
    Operation,
    Transaction,
    Transfer,
    read_transaction,
)
from dpin.ledger.wages import wages

MOVEMENTS_MAX: Final = 4_096
PAGE_MOVEMENTS: Final = 512  # in one record of the log: well below its limit
OK: Final = 0  # the code of a receipt
OTHER: Final = "jobs and bonds"  # escrows, refunds, rewards: all but transfers and wages

JOINED: Final = "all before a snapshot"


class Movement(Wire, frozen=True):
    """One line of an account's history."""

    number: int  # 1, 2, 3, ... since this node began to keep it
    height: int
    timestamp_ms: int
    transaction: Digest | None
    what: str
    other: NodeId | None  # who gave or got
    memo: bytes
    detail: str  # "ok", or why nothing happened but the fee
    fee: int  # paid by the account
    change: int  # of free tokens, stake and credit together, fee included
    free: int  # after the commit
    credit: int


class Page(Wire, frozen=True):
    """A record of the log: some of an account's history, oldest first."""

    account: NodeId
    worth: int  # of the account, after the last movement of all
    movements: tuple[Movement, ...]


class _Line(NamedTuple):
    """A movement before it is known how the commit ends."""

    transaction: Digest | None
    what: str
    other: NodeId | None = None
    memo: bytes = b""
    detail: str = "ok"
    fee: int = 0
    change: int = 0


class _Before(NamedTuple):
    """An account ahead of a commit, and the price of a transaction in it."""

    worth: int
    fee_multiplier: int


class History:
    """The newest movements of one account."""

    def __init__(self, account: NodeId, params: Params) -> None:
        self._account = account
        self._params = params
        self._movements: deque[Movement] = deque(maxlen=MOVEMENTS_MAX)
        self._count = 0
        self._recalled: int | None = None  # what the account was worth where pages ended

    def between(self, after: int, before: int, count: int) -> list[Movement]:
        """The newest `count` of those numbered between two numbers, newest first; 0: no bound."""
        found: list[Movement] = []
        for movement in reversed(self._movements):
            if movement.number <= after or len(found) >= count:
                break
            if before == 0 or movement.number < before:
                found.append(movement)
        return found

    def before(self, state: State) -> _Before:
        """Look at the account ahead of a commit."""
        account = state.accounts.get(self._account)
        return _Before(account.worth if account else 0, state.fee_multiplier)

    def note(
        self, before: _Before, commit: OrderedCommit, receipts: Sequence[Receipt], state: State
    ) -> None:
        """Take down what a commit did to the account."""
        account = state.accounts.get(self._account)
        if account is None:
            return
        lines = list(self._lines(commit, receipts, before.fee_multiplier))
        unexplained = account.worth - before.worth - sum(line.change for line in lines)
        if unexplained:
            for wage in wages(state, self._account, receipts):
                unexplained -= wage.change
                memo, reason = wage.memo, wage.reason
                lines.append(_Line(None, wage.what, wage.requester, memo, reason, 0, wage.change))
        if unexplained:
            lines.append(_Line(None, OTHER, change=unexplained))
        for line in lines:
            self._add(line, commit.height, commit.timestamp_ms, account)

    def jump(self, before: _Before, state: State) -> None:
        """The state has gone on by itself, without its commits."""
        account = state.accounts.get(self._account)
        worth = before.worth if self._recalled is None else self._recalled
        self._recalled = None
        if account is not None and account.worth != worth:
            line = _Line(None, JOINED, change=account.worth - worth)
            self._add(line, state.height, state.timestamp_ms, account)

    def pages(self, state: State) -> Iterator[bytes]:
        """All that is remembered now, as records that are made when they are taken."""
        movements, worth = tuple(self._movements), self.before(state).worth
        return (
            encode(Page(self._account, worth, movements[at : at + PAGE_MOVEMENTS]))
            for at in range(0, len(movements), PAGE_MOVEMENTS)
        )

    def recall(self, record: bytes) -> None:
        """The next of such records, ahead of the state that it belongs to; raises PeerFault."""
        page = decode(Page, record)
        if page.account != self._account:
            return  # The home has another key now.
        self._movements += page.movements
        self._count, self._recalled = page.movements[-1].number, page.worth

    def _add(self, line: _Line, height: int, timestamp_ms: int, account: Account) -> None:
        self._count += 1
        self._movements.append(
            Movement(
                number=self._count,
                height=height,
                timestamp_ms=timestamp_ms,
                free=account.free,
                credit=account.credit,
                **line._asdict(),
            )
        )

    def _lines(
        self, commit: OrderedCommit, receipts: Sequence[Receipt], multiplier: int
    ) -> Iterator[_Line]:
        # Its id stands as it is in every transaction that names it: few are decoded in vain.
        named = [data for data in commit.transactions if data.find(self._account) >= 0]
        found = {receipt.subject: receipt for receipt in receipts} if named else {}
        for data in named:
            try:
                identity, signed = read_transaction(data)
            except PeerFault:
                continue
            transaction, receipt = signed.transaction, found.pop(identity, None)
            if receipt is None:
                continue  # It could not be applied, or stands here twice.
            if transaction.sender == self._account:
                size, operations = len(data), len(transaction.operations)
                fee = fees.fee(self._params, multiplier, size, operations)
                yield from self._sent(transaction, receipt, fee)
            elif receipt.code == OK:
                yield from self._received(transaction, receipt)

    def _sent(self, transaction: Transaction, receipt: Receipt, fee: int) -> Iterator[_Line]:
        """The account's own transaction, operation by operation; the first bears the fee."""
        for operation in transaction.operations:
            what, other, memo, given = _told(operation)
            gone = given if receipt.code == OK and other != self._account else 0
            yield _Line(receipt.subject, what, other, memo, receipt.detail, fee, -gone - fee)
            fee = 0

    def _received(self, transaction: Transaction, receipt: Receipt) -> Iterator[_Line]:
        for operation in transaction.operations:
            what, to, memo, given = _told(operation)
            if to == self._account:
                yield _Line(receipt.subject, what, transaction.sender, memo, change=given)


def _told(operation: Operation) -> tuple[str, NodeId | None, bytes, int]:
    """What an operation is, and whom it gives how much with which words."""
    what = type(operation).__name__.lower()
    if isinstance(operation, Transfer | Credit):
        return what, operation.to, operation.memo, operation.amount
    return what, None, b"", 0


class Remembering(Executor):
    """An executor that keeps the history of one account."""

    def __init__(self, genesis: Genesis, account: NodeId) -> None:
        super().__init__(genesis)
        self.history = History(account, genesis.params)

    @override
    def resume(self, restored: Restored) -> None:
        """Go on from a state that others have had; what led there is one line of the history."""
        before = self.history.before(self.state)
        super().resume(restored)
        self.history.jump(before, self.state)

    @override
    def apply(self, commit: OrderedCommit) -> Applied:
        """Apply the next commit, and remember what it did to the account."""
        before = self.history.before(self.state)
        applied = super().apply(commit)
        self.history.note(before, commit, applied.receipts, self.state)
        return applied

    def pages(self) -> Iterator[bytes]:
        """The history as records, for a log that begins anew with this state."""
        return self.history.pages(self.state)

    def recall(self, record: bytes) -> None:
        """The next of these."""
        self.history.recall(record)
