"""Transactions that wait for a block of this validator: first come, first served, bounded.

A transaction stays here until some commit holds it. One that this node has put into a block is not
put into another, unless that block fell behind for ever.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import decode
from dpin.base.crypto import digest
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.ledger.transactions import (
    TRANSACTION_BYTES_MAX,
    TRANSACTION_TAG,
    SignedTransaction,
    transaction_id,
)

TRANSACTIONS_MAX: Final = 20_000
BYTES_MAX: Final = 16 << 20
ACCOUNT_MAX: Final = 64  # of one sender: the ledger's window of sequence numbers

TOO_LARGE: Final = "transaction-too-large"
MALFORMED: Final = "transaction-malformed"
DUPLICATE: Final = "transaction-known"
FULL: Final = "mempool-full"
ACCOUNT_FULL: Final = "account-has-too-many-waiting"

Check = Callable[[bytes], str | None]  # why a transaction cannot be taken, if it cannot


@dataclass(frozen=True, slots=True)
class _Entry:
    id: Digest
    sender: NodeId


class Mempool:
    """Waiting transactions of one validator."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._entries: dict[bytes, _Entry] = {}  # by their bytes
        self._ids: set[Digest] = set()
        self._senders: dict[NodeId, int] = {}
        self._queue: OrderedDict[bytes, None] = OrderedDict()  # in no block yet, oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def queued(self) -> int:
        """How many wait for a block."""
        return len(self._queue)

    def add(self, transaction: bytes) -> tuple[Digest, str | None]:
        """Take a transaction: its id, and the reason if it is refused."""
        try:
            identity, sender = identify(transaction)
        except PeerFault:
            return unreadable_id(transaction), MALFORMED
        reason = self._refusal(transaction, identity, sender) or self._check(transaction)
        if reason is None:
            self._entries[transaction] = _Entry(identity, sender)
            self._ids.add(identity)
            self._senders[sender] = self._senders.get(sender, 0) + 1
            self._bytes += len(transaction)
            self._queue[transaction] = None
        return identity, reason

    def _refusal(self, transaction: bytes, identity: Digest, sender: NodeId) -> str | None:
        """Reasons that cost nothing to find; signatures are checked after them."""
        if len(transaction) > TRANSACTION_BYTES_MAX:
            return TOO_LARGE
        if identity in self._ids:
            return DUPLICATE
        if self._senders.get(sender, 0) >= ACCOUNT_MAX:
            return ACCOUNT_FULL
        if len(self._entries) >= TRANSACTIONS_MAX or self._bytes + len(transaction) > BYTES_MAX:
            return FULL
        return None

    def take(self, count_max: int, bytes_max: int) -> tuple[bytes, ...]:
        """The payload of the next own block: oldest first, up to these limits."""
        taken: list[bytes] = []
        left = bytes_max
        while self._queue and len(taken) < count_max:
            transaction, _ = self._queue.popitem(last=False)
            left -= len(transaction)
            if left < 0:
                self._queue[transaction] = None
                self._queue.move_to_end(transaction, last=False)
                break
            taken.append(transaction)
        return tuple(taken)

    def put_back(self, body: Sequence[bytes]) -> None:
        """An own block fell behind for ever: its transactions wait again."""
        for transaction in body:
            if transaction in self._entries:
                self._queue[transaction] = None
            else:
                self.add(transaction)  # From before a restart; refused if another block had it.

    def committed(self, transactions: Sequence[bytes]) -> None:
        """These are on the ledger: nobody need wait for them."""
        for transaction in transactions:
            entry = self._entries.pop(transaction, None)
            if entry is not None:
                self._ids.discard(entry.id)
                self._bytes -= len(transaction)
                self._queue.pop(transaction, None)
                self._senders[entry.sender] -= 1
                if self._senders[entry.sender] == 0:
                    del self._senders[entry.sender]


def identify(transaction: bytes) -> tuple[Digest, NodeId]:
    """Id and sender of an encoded transaction; raises PeerFault."""
    signed = decode(SignedTransaction, transaction, TRANSACTION_BYTES_MAX)
    return transaction_id(signed.transaction), signed.transaction.sender


def unreadable_id(transaction: bytes) -> Digest:
    """What a refusal calls bytes that are no transaction."""
    return digest(TRANSACTION_TAG, transaction)
