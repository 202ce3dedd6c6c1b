"""Transactions that wait for a block of this validator: first come, first served, bounded.

A transaction stays here until some commit holds it. One that this node has put into a block is not
put into another, unless that block fell behind for ever. A full pool takes a newcomer only in place
of queued ones that offer less for each byte, the lowest offer first. An account covers the sum of
what it offers (M6): else one with a single token could fill every pool.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from dpin.base.crypto import digest
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.base.units import MILLION, MicroTokens
from dpin.ledger.transactions import TRANSACTION_BYTES_MAX, TRANSACTION_TAG, read_transaction

TRANSACTIONS_MAX: Final = 20_000
BYTES_MAX: Final = 16 << 20
ACCOUNT_MAX: Final = 64  # of one sender: the ledger's window of sequence numbers
OFFERS_SPARE: Final = 64  # of the heap, before it is cleaned

TOO_LARGE: Final = "transaction-too-large"
MALFORMED: Final = "transaction-malformed"
DUPLICATE: Final = "transaction-known"
FULL: Final = "mempool-full"
ACCOUNT_FULL: Final = "account-has-too-many-waiting"
UNCOVERED: Final = "account-cannot-cover-all-fees"
EXPIRED: Final = "expired"

Check = Callable[[bytes], str | None]  # why a transaction cannot be taken, if it cannot
Funds = Callable[[NodeId], MicroTokens]  # what an account has free
_Offer = tuple[int, int, bytes]  # offer for a byte in ppm, minus the number of arrival, transaction


class Claims(NamedTuple):
    """What an encoded transaction says of itself, its signature unchecked."""

    id: Digest
    sender: NodeId
    until: int  # the last epoch in which it can be applied
    max_fee: MicroTokens


@dataclass(slots=True)
class _Sender:
    """What one account has waiting."""

    count: int = 0
    fees: int = 0  # at most


_NOBODY: Final = _Sender()  # to be read


@dataclass(frozen=True, slots=True)
class Dropped:
    """A transaction that was taken and does not wait any more, though no commit held it."""

    id: Digest
    reason: str


class Mempool:
    """Waiting transactions of one validator."""

    def __init__(self, check: Check, funds: Funds) -> None:
        self._check = check
        self._funds = funds
        self._entries: dict[bytes, Claims] = {}  # by their bytes
        self._ids: set[Digest] = set()
        self._senders: dict[NodeId, _Sender] = {}
        # In no block yet, oldest first, each with the number of its arrival.
        self._queue: OrderedDict[bytes, int] = OrderedDict()
        self._offers: list[_Offer] = []  # a heap over the queue; what left it stays for a while
        self._bytes = 0
        self._arrived = 0
        self._dropped: list[Dropped] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def queued(self) -> int:
        """How many wait for a block."""
        return len(self._queue)

    def add(self, transaction: bytes) -> tuple[Digest, str | None]:
        """Take a transaction: its id, and the reason if it is refused."""
        try:
            claims = identify(transaction)
        except PeerFault:
            return unreadable_id(transaction), MALFORMED
        reason = self._refusal(transaction, claims) or self._check(transaction)
        if reason is None:
            for outbid in self._outbid(transaction, claims) or []:
                self._drop(outbid, FULL)
            self._keep(transaction, claims)
        return claims.id, reason

    def _keep(self, transaction: bytes, claims: Claims) -> None:
        self._entries[transaction] = claims
        self._ids.add(claims.id)
        self._bytes += len(transaction)
        waiting = self._senders.get(claims.sender)
        if waiting is None:
            waiting = self._senders[claims.sender] = _Sender()
        waiting.count += 1
        waiting.fees += claims.max_fee
        self._enqueue(transaction)

    def _refusal(self, transaction: bytes, claims: Claims) -> str | None:
        """Reasons that cost little to find; signatures are checked after them."""
        if len(transaction) > TRANSACTION_BYTES_MAX:
            return TOO_LARGE
        if claims.id in self._ids:
            return DUPLICATE
        waiting = self._senders.get(claims.sender, _NOBODY)
        if waiting.count >= ACCOUNT_MAX:
            return ACCOUNT_FULL
        if waiting.fees + claims.max_fee > self._funds(claims.sender):
            return UNCOVERED
        return None if self._outbid(transaction, claims) is not None else FULL

    def _outbid(self, transaction: bytes, claims: Claims) -> list[bytes] | None:
        """Which queued ones have to make room; None if they do not offer less for each byte."""
        room = TRANSACTIONS_MAX - len(self._entries) - 1
        space = BYTES_MAX - self._bytes - len(transaction)
        if room >= 0 <= space:
            return []
        offered, looked, going = _offered(transaction, claims), list[_Offer](), list[bytes]()
        while (room < 0 or space < 0) and self._offers and self._offers[0][0] < offered:
            offer = heappop(self._offers)
            if _stands(offer, self._queue):
                looked.append(offer)
                going.append(offer[2])
                room, space = room + 1, space + len(offer[2])
        for offer in looked:
            heappush(self._offers, offer)
        return going if room >= 0 <= space else None

    def _enqueue(self, transaction: bytes) -> None:
        """Let it wait behind the others."""
        self._arrived += 1
        self._queue[transaction] = self._arrived
        offered = _offered(transaction, self._entries[transaction])
        heappush(self._offers, (offered, -self._arrived, transaction))
        if len(self._offers) > 2 * len(self._queue) + OFFERS_SPARE:
            self._offers = [offer for offer in self._offers if _stands(offer, self._queue)]
            heapify(self._offers)

    def take(self, count_max: int, bytes_max: int) -> tuple[bytes, ...]:
        """The payload of the next own block: oldest first, up to these limits."""
        taken: list[bytes] = []
        left = bytes_max
        while self._queue and len(taken) < count_max:
            transaction, number = self._queue.popitem(last=False)
            left -= len(transaction)
            if left < 0:
                self._queue[transaction] = number
                self._queue.move_to_end(transaction, last=False)
                break
            taken.append(transaction)
        return tuple(taken)

    def put_back(self, body: Sequence[bytes]) -> None:
        """An own block fell behind for ever: its transactions wait again."""
        for transaction in body:
            if transaction in self._entries:
                self._enqueue(transaction)
            else:
                self.add(transaction)  # From before a restart; refused if another block had it.

    def committed(self, transactions: Sequence[bytes]) -> None:
        """These are on the ledger: nobody need wait for them."""
        for transaction in transactions:
            self._remove(transaction)

    def expire(self, epoch: int) -> None:
        """An epoch has begun: what was valid until the one before cannot be applied any more."""
        late = [data for data, claims in self._entries.items() if claims.until < epoch]
        for transaction in late:
            self._drop(transaction, EXPIRED)

    def dropped(self) -> list[Dropped]:
        """What has been dropped since this was asked last."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _drop(self, transaction: bytes, reason: str) -> None:
        self._dropped.append(Dropped(self._entries[transaction].id, reason))
        self._remove(transaction)

    def _remove(self, transaction: bytes) -> None:
        claims = self._entries.pop(transaction, None)
        if claims is None:
            return
        self._ids.discard(claims.id)
        self._bytes -= len(transaction)
        self._queue.pop(transaction, None)
        waiting = self._senders[claims.sender]
        waiting.count -= 1
        waiting.fees -= claims.max_fee
        if waiting.count == 0:
            del self._senders[claims.sender]


def _stands(offer: _Offer, queue: Mapping[bytes, int]) -> bool:
    """Whether an offer is that of a transaction which still waits in this queue."""
    _, number, transaction = offer
    return queue.get(transaction) == -number


def _offered(transaction: bytes, claims: Claims) -> int:
    """What a transaction offers for each of its bytes, in millionths, rounded down."""
    return claims.max_fee * MILLION // len(transaction)


def identify(transaction: bytes) -> Claims:
    """What an encoded transaction says of itself; raises PeerFault."""
    identity, signed = read_transaction(transaction)
    read = signed.transaction
    return Claims(identity, read.sender, read.valid_until_epoch, read.max_fee)


def unreadable_id(transaction: bytes) -> Digest:
    """What a refusal calls bytes that are no transaction."""
    return digest(TRANSACTION_TAG, transaction)
