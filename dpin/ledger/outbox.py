"""Transactions of a node that makes no blocks: handed to one validator after another until done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.base.machine import Send
from dpin.base.units import NEVER, Instant, Micros, after, seconds
from dpin.ledger.mempool import DUPLICATE, FULL, MALFORMED, Check, identify, unreadable_id
from dpin.ledger.messages import SubmitTransaction

OUTBOX_MAX: Final = 1_024
PATIENCE: Final[Micros] = seconds(2)  # how long a validator has to get a transaction committed
ATTEMPTS_MAX: Final = 30
INCLUDER_TAG: Final = "dpin/includer/v1"
UNTAKEN: Final = "no-validator-took-it"


@dataclass(slots=True)
class _Entry:
    id: Digest
    place: int  # of the validator to try first
    attempts: int = 0
    next_at: Instant = Instant(0)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A transaction that is not tried again."""

    id: Digest
    reason: str


class Outbox:
    """Submitted transactions that are not committed yet."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._entries: dict[bytes, _Entry] = {}

    @property
    def next_at(self) -> Instant:
        """When something is to be tried again."""
        return min((entry.next_at for entry in self._entries.values()), default=NEVER)

    def add(self, transaction: bytes, now: Instant) -> GivenUp | None:
        """Keep a transaction until it is committed, or refuse it."""
        try:
            identity, sender, *_ = identify(transaction)
        except PeerFault:
            return GivenUp(unreadable_id(transaction), MALFORMED)
        if transaction in self._entries:
            return GivenUp(identity, DUPLICATE)
        if len(self._entries) >= OUTBOX_MAX:
            return GivenUp(identity, FULL)
        reason = self._check(transaction)
        if reason is not None:
            return GivenUp(identity, reason)
        turn = encode([sender, now // PATIENCE])  # M6: spread senders, and move on with time
        place = int.from_bytes(digest(INCLUDER_TAG, turn)[:8])
        self._entries[transaction] = _Entry(identity, place, next_at=now)
        return None

    def drain(self) -> list[bytes]:
        """All of them, oldest first: this node makes blocks itself now."""
        kept, self._entries = self._entries, {}
        return list(kept)

    def committed(self, transactions: Sequence[bytes]) -> None:
        """These are on the ledger."""
        for transaction in transactions:
            self._entries.pop(transaction, None)

    def step(self, validators: Sequence[NodeId], now: Instant) -> list[Send | GivenUp]:
        """Try what is due with the next validator, of those that can be reached."""
        effects: list[Send | GivenUp] = []
        for transaction, entry in list(self._entries.items()):
            if entry.next_at <= now:
                effects += self._try(transaction, entry, validators, now)
        return effects

    def _try(
        self, transaction: bytes, entry: _Entry, validators: Sequence[NodeId], now: Instant
    ) -> list[Send | GivenUp]:
        reason = self._check(transaction)
        if reason is not None or entry.attempts >= ATTEMPTS_MAX:
            del self._entries[transaction]
            return [GivenUp(entry.id, reason or UNTAKEN)]
        entry.next_at = after(now, PATIENCE)
        if not validators:
            return []
        target = validators[(entry.place + entry.attempts) % len(validators)]
        entry.attempts += 1
        return [Send(target, encode(SubmitTransaction(transaction)))]
