"""From "this should be on the ledger" to "it is": sign, submit, follow, try again.

Machines look at the state after every commit and wish for what is missing. A wish has a key, so
wishing again while the first is under way does nothing. A refused wish rests before it may be
wished again: the state may have changed what it means, or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import ChainId, Digest
from dpin.base.units import Instant, Micros, after, seconds
from dpin.ledger import fees
from dpin.ledger.accounts import Account, State
from dpin.ledger.admission import unused
from dpin.ledger.order import Receipt
from dpin.ledger.params import Params
from dpin.ledger.transactions import Operation, sign, transaction_id

OK: Final = "ok"
REST: Final = seconds(2)
IN_FLIGHT_MAX: Final = 64  # the ledger's window of sequence numbers
RESTING_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class Follow:
    """The ledger has moved: compare `state` with what is done, and do the rest."""

    state: State


@dataclass(frozen=True, slots=True)
class Wish:
    """Have this operation done in this node's name, once."""

    key: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class Submission:
    """A signed transaction to hand to the replica."""

    id: Digest
    data: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a wish: `detail` is "ok" or the ledger's reason code."""

    key: str
    transaction: Digest
    detail: str
    height: int


@dataclass(frozen=True, slots=True)
class _Flight:
    """A transaction that is under way."""

    key: str
    sequence: int
    since: Instant


class Wishes:
    """All wishes of one account that are under way."""

    def __init__(self, key: SigningKey, chain: ChainId, params: Params) -> None:
        self._key = key
        self._chain = chain
        self._params = params
        self._sequence = 0
        self._keys: dict[str, Digest] = {}
        self._flying: dict[Digest, _Flight] = {}
        self._resting: dict[str, Instant] = {}

    def wish(self, wish: Wish, state: State, now: Instant) -> Submission | None:
        """Sign and submit, unless the same wish is under way, rests, or too many are."""
        account = state.accounts.get(self._key.node_id) or Account()
        self._give_up(wish.key, account, now)
        resting = self._resting.get(wish.key)
        if wish.key in self._keys or (resting is not None and now < resting):
            return None
        if len(self._flying) >= IN_FLIGHT_MAX:
            return None
        self._resting.pop(wish.key, None)
        self._sequence = max(self._sequence, account.sequence_high) + 1
        terms = fees.terms(state, self._params, (wish.operation,))
        signed = sign(self._key, self._chain, self._sequence, wish.operation, terms)
        identity = transaction_id(signed.transaction)
        self._keys[wish.key] = identity
        self._flying[identity] = _Flight(wish.key, self._sequence, now)
        return Submission(identity, encode(signed))

    def _give_up(self, key: str, account: Account, now: Instant) -> None:
        """Forget a wish that lost its sequence number.

        After a restart another transaction of this account may hold the number: then this one is
        passed over without a receipt.
        """
        identity = self._keys.get(key)
        if identity is None:
            return
        flight = self._flying[identity]
        if now >= after(flight.since, REST) and not unused(account, flight.sequence):
            del self._keys[key], self._flying[identity]

    def settled(self, receipts: Sequence[Receipt], now: Instant) -> list[Outcome]:
        """The outcomes among these receipts."""
        outcomes = []
        for receipt in receipts:
            key = self._land(receipt.subject, receipt.detail, now)
            if key is not None:
                outcomes.append(Outcome(key, receipt.subject, receipt.detail, receipt.height))
        return outcomes

    def refused(self, identity: Digest, reason: str, now: Instant) -> Outcome | None:
        """The replica did not take the transaction."""
        key = self._land(identity, reason, now)
        return Outcome(key, identity, reason, 0) if key is not None else None

    def _land(self, identity: Digest, detail: str, now: Instant) -> str | None:
        flight = self._flying.pop(identity, None)
        if flight is None:
            return None
        key = flight.key
        del self._keys[key]
        if detail != OK:
            if len(self._resting) >= RESTING_MAX:
                self._resting = {k: at for k, at in self._resting.items() if now < at}
            self._resting[key] = after(now, Micros(REST))
        return key
