"""From "this should be on the ledger" to "it is": sign, submit, follow, try again.

Machines look at the state after every commit and wish for what is missing. A wish has a key, so
wishing again while the first is under way does nothing. A refused wish rests before it may be
wished again: the state may have changed what it means, or not.

A transaction that could not be applied leaves no receipt. So after every commit each one under way
is held against the state: where its fee is too low by now or its epochs are over it is signed anew
under the same sequence number, of which the ledger takes one at most; where its number is used up
the wish ends, with a reason.

What a person asked for, and no state shows as due, lasts over a restart: see `pledges`. A person
waits for an answer and is told of a refusal; once that time is over it does not end because no
validator has room or can be reached, but is offered again after every commit until it expires.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import ChainId, Digest
from dpin.base.units import Instant, Micros, after, seconds
from dpin.ledger import fees
from dpin.ledger.accounts import Account, State
from dpin.ledger.admission import unused
from dpin.ledger.mempool import ACCOUNT_FULL, FULL
from dpin.ledger.order import OrderedCommit, Receipt
from dpin.ledger.outbox import UNTAKEN
from dpin.ledger.params import Params
from dpin.ledger.pledges import Pledge
from dpin.ledger.replica import Refused
from dpin.ledger.transactions import (
    Operation,
    SignedTransaction,
    Terms,
    Transaction,
    sign,
    transaction_id,
)

OK: Final = "ok"
NUMBER_USED: Final = "sequence-used"  # by another transaction of the account
EXPIRED: Final = "expired"
FEE_TOO_LOW: Final = "fee-too-low"
UNAPPLIED: Final = "could-not-be-applied"  # it was in a block and left no receipt
UNDER_WAY: Final = "already-under-way"
TOO_MANY: Final = "too-many-under-way"
NO_ROOM: Final = frozenset({FULL, ACCOUNT_FULL, UNTAKEN})  # now; later there may be some
ANSWERED: Final = seconds(10)  # from the asking on a refusal is an answer
REST: Final = seconds(2)
IN_FLIGHT_MAX: Final = 64  # the ledger's window of sequence numbers
RESTING_MAX: Final = 1_024
SIGNED_MAX: Final = 4  # times that one wish is signed


@dataclass(frozen=True, slots=True)
class Follow:
    """The ledger has moved: compare `state` with what is done, and do the rest."""

    state: State


@dataclass(frozen=True, slots=True)
class Wish:
    """Have this operation done in this node's name, once, and those of `more` with it.

    With `lasting` also after a restart, where nobody would wish for it again.
    """

    key: str
    operation: Operation
    more: tuple[Operation, ...] = ()
    lasting: bool = False

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All of them, in order: they are done together or not at all."""
        return (self.operation, *self.more)


@dataclass(frozen=True, slots=True)
class Carry:
    """Bring to the ledger what somebody else has signed: a cold account's key is elsewhere."""

    key: str
    signed: SignedTransaction


@dataclass(frozen=True, slots=True)
class Submission:
    """A signed transaction to hand to the replica."""

    id: Digest
    data: bytes
    pledge: Pledge | None = None  # to be durable before anybody is told of it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a wish: `detail` is "ok" or the ledger's reason code."""

    key: str
    transaction: Digest
    detail: str
    height: int
    released: bool = False  # its pledge holds no more, though the ledger has not used its number


@dataclass(slots=True)
class _Flight:
    """A wish that is under way: the transaction signed last, and the ids of those before."""

    key: str
    transaction: Transaction
    data: bytes
    ours: bool  # signed here, so that it can be signed anew
    older: list[Digest] = field(default_factory=list)
    signed: int = 1  # times
    grounded: bool = False  # nobody tries to have it committed any more
    lasting: bool = False
    restored: bool = False  # from before a start: what expired meanwhile is not signed anew
    asked: Instant = Instant(0)
    parked: bool = False  # there was no room for it: it is offered again after the next commit

    @property
    def id(self) -> Digest:
        return transaction_id(self.transaction)

    @property
    def pledge(self) -> Pledge | None:
        return Pledge(self.key, self.data, self.signed) if self.lasting else None

    @property
    def submission(self) -> Submission:
        return Submission(self.id, self.data, self.pledge)

    def failed(self, reason: str) -> Outcome:
        return Outcome(self.key, self.id, reason, 0, released=self.lasting)


class Wishes:
    """All wishes of one account that are under way."""

    def __init__(self, key: SigningKey, chain: ChainId, params: Params) -> None:
        self._key = key
        self._chain = chain
        self._params = params
        self._sequence = 0
        self._keys: dict[str, _Flight] = {}
        self._flying: dict[Digest, _Flight] = {}  # by every id under which it may land
        self._resting: dict[str, Instant] = {}

    def step(
        self, event: Wish | Carry | Refused, state: State, now: Instant
    ) -> Iterator[Submission | Outcome]:
        """What is to be done, or has come of it."""
        told: Submission | Outcome | None
        match event:
            case Wish():
                told = self.wish(event, state, now)
            case Carry():
                told = self.carry(event, now)
            case Refused(id=identity, reason=reason):
                told = self.refused(identity, reason, now)
        if told is not None:
            yield told

    def wish(self, wish: Wish, state: State, now: Instant) -> Submission | None:
        """Sign and submit, unless the same wish is under way, rests, or too many are."""
        account = state.accounts.get(self._key.node_id) or Account()
        resting = self._resting.get(wish.key)
        if wish.key in self._keys or (resting is not None and now < resting):
            return None
        if len(self._keys) >= IN_FLIGHT_MAX:
            return None
        self._resting.pop(wish.key, None)
        self._sequence = max(self._sequence, account.sequence_high) + 1
        terms = fees.terms(state, self._params, wish.operations)
        signed = sign(self._key, self._chain, self._sequence, wish.operations, terms)
        data = encode(signed)
        return self._launch(
            _Flight(wish.key, signed.transaction, data, ours=True, lasting=wish.lasting, asked=now)
        )

    def carry(self, carry: Carry, now: Instant) -> Submission | Outcome:
        """Submit what another key has signed and follow it, as long as there is room."""
        identity = transaction_id(carry.signed.transaction)
        if identity in self._flying:
            return Outcome(carry.key, identity, UNDER_WAY, 0)
        if len(self._keys) >= IN_FLIGHT_MAX:
            return Outcome(carry.key, identity, TOO_MANY, 0)
        data, transaction = encode(carry.signed), carry.signed.transaction
        flight = _Flight(carry.key, transaction, data, ours=False, lasting=True, asked=now)
        return self._launch(flight)

    def restore(self, pledge: Pledge, state: State) -> Submission | None:
        """Go on with what was under way before a start, unless it was applied or has expired."""
        transaction = decode(SignedTransaction, pledge.data).transaction
        ours = transaction.sender == self._key.node_id
        if ours:  # Its number is taken, by this one or by nobody.
            self._sequence = max(self._sequence, transaction.sequence)
        account = state.accounts.get(transaction.sender) or Account()
        if not unused(account, transaction.sequence) or _expired(transaction, state):
            return None
        flight = _Flight(pledge.key, transaction, pledge.data, ours, signed=pledge.signed)
        flight.lasting = flight.restored = True
        launched = self._launch(flight)
        return replace(launched, pledge=None)  # That is in the log already.

    @property
    def pledges(self) -> list[Pledge]:
        """All that must outlive this process, in the order in which it was asked for."""
        return [pledge for one in self._keys.values() if (pledge := one.pledge) is not None]

    def _launch(self, flight: _Flight) -> Submission:
        self._keys[flight.key] = self._flying[flight.id] = flight
        return flight.submission

    def settled(self, receipts: Sequence[Receipt], now: Instant) -> list[Outcome]:
        """The outcomes among these receipts."""
        outcomes = []
        for receipt in receipts:
            flight = self._flying.get(receipt.subject)
            if flight is not None:
                self._land(flight, receipt.detail, now)
                outcomes.append(
                    Outcome(flight.key, receipt.subject, receipt.detail, receipt.height)
                )
        return outcomes

    def review(
        self, commit: OrderedCommit, state: State, now: Instant
    ) -> Iterator[Submission | Outcome]:
        """After the outcomes of a commit: what of the rest must be signed anew, or has ended.

        Says nothing while the state is that of a later commit: its receipts are still to come.
        """
        if not self._keys or commit.height != state.height:
            return
        for flight in list(self._keys.values()):
            trouble = self._trouble(flight, commit, state)
            if trouble is None:
                yield from _again(flight)
            elif _may_sign_again(flight, trouble):
                yield self._sign_again(flight, state)
            else:
                self._land(flight, trouble, now)
                yield flight.failed(trouble)

    def _trouble(self, flight: _Flight, commit: OrderedCommit, state: State) -> str | None:
        """Why the transaction signed last will never be applied, if it will not."""
        transaction = flight.transaction
        account = state.accounts.get(transaction.sender) or Account()
        if not unused(account, transaction.sequence):
            return NUMBER_USED
        if _expired(transaction, state):
            return EXPIRED
        size, count = len(flight.data), len(transaction.operations)
        if fees.fee(self._params, state.fee_multiplier, size, count) > transaction.max_fee:
            return FEE_TOO_LOW
        if flight.grounded:
            return FEE_TOO_LOW
        return UNAPPLIED if flight.data in commit.transactions else None

    def _sign_again(self, flight: _Flight, state: State) -> Submission:
        """On new terms. Both have one sequence number, so that only one can be applied."""
        last = flight.id
        operations, sequence = flight.transaction.operations, flight.transaction.sequence
        terms: Terms = fees.terms(state, self._params, operations)
        signed = sign(self._key, self._chain, sequence, operations, terms)
        flight.transaction, flight.data = signed.transaction, encode(signed)
        flight.grounded = False
        if flight.id != last:  # It is the same where the terms are.
            flight.older.append(last)
        flight.signed += 1
        self._flying[flight.id] = flight
        return flight.submission

    def refused(self, identity: Digest, reason: str, now: Instant) -> Outcome | None:
        """The replica did not take the transaction, or has dropped it."""
        flight = self._flying.get(identity)
        if flight is None or identity != flight.id:
            return None  # One signed later is under way.
        if _may_sign_again(flight, reason):
            flight.grounded = True  # It is signed anew after the next commit.
            return None
        if flight.lasting and reason in NO_ROOM and now >= after(flight.asked, ANSWERED):
            flight.parked = True
            return None
        self._land(flight, reason, now)
        return flight.failed(reason)

    def _land(self, flight: _Flight, detail: str, now: Instant) -> None:
        for identity in (*flight.older, flight.id):
            del self._flying[identity]
        del self._keys[flight.key]
        if detail == OK:
            return
        if len(self._resting) >= RESTING_MAX:
            self._resting = {k: at for k, at in self._resting.items() if now < at}
        self._resting[flight.key] = after(now, Micros(REST))


def _again(flight: _Flight) -> Iterator[Submission]:
    """Offer what there was no room for once more; its pledge is in the log already."""
    if flight.parked:
        flight.parked = False
        yield replace(flight.submission, pledge=None)


def _expired(transaction: Transaction, state: State) -> bool:
    return state.epoch > transaction.valid_until_epoch


def _may_sign_again(flight: _Flight, trouble: str) -> bool:
    """Whether other terms would help; nobody expects a payment of days ago to be made after all."""
    helps = trouble == FEE_TOO_LOW or (trouble == EXPIRED and not flight.restored)
    return helps and flight.ours and flight.signed < SIGNED_MAX
