"""The money of the ledger a second time: slow, obvious, and written from docs/protocol.

It shares words, ids and codecs with `dpin.ledger`, and no rule: sets of used numbers in place of a
window of bits, fractions in place of scaled integers, a copy of everything in place of an undo.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from dpin.base.codec import decode, encode
from dpin.base.crypto import verify
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId, Digest, NodeId
from dpin.ledger.params import Params
from dpin.ledger.transactions import (
    Credit,
    Operation,
    Register,
    SignedTransaction,
    Stake,
    Transaction,
    Transfer,
    Unstake,
    transaction_id,
)

Outcome = tuple[Digest, str]  # a transaction and what its receipt says


@dataclass
class Purse:
    """One account."""

    free: int = 0
    stake: int = 0
    credit: int = 0
    used: set[int] = field(default_factory=set)  # sequence numbers


class No(Exception):
    """Why not."""


@dataclass
class Reference:
    """All purses, two pools, a price, and time."""

    params: Params
    chain: ChainId
    purses: dict[NodeId, Purse]
    reserve: int
    validators: Sequence[NodeId] = ()  # of equal weight, for ever; they sign no checkpoint
    treasury: int = 0
    price: Fraction = Fraction(1)
    height: int = 0
    time_ms: int = 0
    clock_ms: int = 0
    epoch: int = 0
    epoch_began: tuple[int, int] = (0, 0)  # ledger time, height
    carried: list[int] = field(default_factory=list)  # bytes of each commit since the last root
    pool: int = 0  # fees of this epoch that did not burn
    roots: int = 0  # checkpoints of this epoch, less the one that closes it

    def commit(self, clock_ms: int, transactions: Sequence[bytes]) -> list[Outcome]:
        """Apply one commit; what became of every transaction that was applied."""
        self.height += 1
        self.time_ms += min(2_000, max(0, clock_ms - self.clock_ms))
        self.clock_ms = max(self.clock_ms, clock_ms)
        self.carried.append(sum(len(data) for data in transactions))
        outcomes = [self._apply(data) for data in transactions if self.check(data) is None]
        began_ms, began_height = self.epoch_began
        old = self.time_ms - began_ms >= self.params.epoch_ms
        closes = old and self.height - began_height >= self.params.epoch_commits_min
        has_root = self.height % self.params.consensus.root_every == 0
        if closes:
            self._close()
        elif has_root:
            self.roots += 1
        if closes or has_root:
            self._move_price()
        return outcomes

    def _close(self) -> None:
        """Share the pool, unless there was a checkpoint to sign: nobody here signs any."""
        if self.roots <= 1:  # Nobody had the time to sign the newest.
            for node in self.validators:
                share = self.pool // len(self.validators)
                self.treasury -= share
                self.purses[node].free += share
        self.epoch += 1
        self.epoch_began = self.time_ms, self.height
        self.pool = self.roots = 0

    def _move_price(self) -> None:
        """By an eighth at most, to where half of each block would be full; in whole ppm."""
        half = Fraction(self.params.consensus.block_bytes_max, 2) * len(self.carried)
        full = min(Fraction(sum(self.carried)) / floor(half), Fraction(2)) - 1
        ppm = int(self.price * 1_000_000)
        if full > 0:
            ppm += max(1, floor(ppm * full / 8))
        else:
            ppm = max(1_000_000, ppm - floor(ppm * -full / 8))
        self.price = Fraction(ppm, 1_000_000)
        self.carried = []

    def fee(self, data: bytes, operations: int) -> int:
        """What bytes and operations cost now."""
        rules = self.params
        plain = rules.fee_base + rules.fee_byte * len(data) + rules.fee_operation * operations
        return ceil(plain * self.price)

    def check(self, data: bytes) -> str | None:
        """Why these bytes cannot be applied now."""
        try:
            self._check(data, self._read(data))
        except No as no:
            return str(no)
        return None

    def _read(self, data: bytes) -> Transaction:
        if len(data) > 4_096:
            raise No("too-large")
        try:
            signed = decode(SignedTransaction, data)
        except PeerFault:
            raise No("malformed") from None
        made = signed.transaction
        if made.version != 1:
            raise No("unknown-version")
        if made.chain != self.chain:
            raise No("wrong-network")
        if len(made.operations) not in range(1, 17):
            raise No("not-1-to-16-operations")
        if made.valid_until_epoch < 0 or made.max_fee < 0:
            raise No("malformed")
        name = transaction_id(made)
        if len(signed.signature) != 64 or not verify(
            made.sender, "dpin/tx/v1", self.chain, name, signed.signature
        ):
            raise No("wrong-signature")
        return made

    def _check(self, data: bytes, made: Transaction) -> None:
        if made.valid_until_epoch < self.epoch:
            raise No("expired")
        if made.valid_until_epoch > self.epoch + 2:
            raise No("valid-for-too-long")
        if made.sender not in self.purses and not isinstance(made.operations[0], Register):
            raise No("unknown-account")
        purse = self.purses.get(made.sender, Purse())
        newest = max(purse.used, default=0)
        possible = range(max(1, newest - 63), newest + 65_536 + 1)
        if made.sequence not in possible or made.sequence in purse.used:
            raise No("sequence-used")
        fee = self.fee(data, len(made.operations))
        if fee > made.max_fee:
            raise No("fee-too-low")
        if fee > purse.free:
            raise No("cannot-pay-fee")

    def _apply(self, data: bytes) -> Outcome:
        made = decode(SignedTransaction, data).transaction
        purse = self.purses.setdefault(made.sender, Purse())
        purse.used.add(made.sequence)
        fee = self.fee(data, len(made.operations))
        purse.free -= fee
        self.reserve += fee // 2
        self.treasury += ceil(Fraction(fee, 2))
        self.pool += ceil(Fraction(fee, 2))
        before = deepcopy(self.purses)
        for place, operation in enumerate(made.operations, start=1):
            try:
                self._operate(made.sender, operation)
            except No as no:
                self.purses = before
                where = f" operation={place}" if len(made.operations) > 1 else ""
                return transaction_id(made), f"{no}{where}"
        return transaction_id(made), "ok"

    def _operate(self, sender: NodeId, operation: Operation) -> None:
        purse = self.purses[sender]
        match operation:
            case Transfer(to, amount, memo) | Credit(to, amount, memo):
                self._possible(len(to) == 32 and len(memo) <= 64 and amount > 0)
                self._enough(amount, purse.free, "not-enough-free")
                purse.free -= amount
                given = self.purses.setdefault(to, Purse())
                if isinstance(operation, Transfer):
                    given.free += amount
                else:
                    given.credit += amount
            case Stake(amount):
                self._possible(amount > 0)
                self._enough(amount, purse.free, "not-enough-free")
                purse.free -= amount
                purse.stake += amount
            case Unstake(amount):
                self._possible(amount > 0)
                self._enough(amount, purse.stake, "not-enough-stake")
                purse.stake -= amount
                purse.free += amount
            case Register():
                self._possible(len(operation.name) <= 64 and len(operation.device) <= 128)
            case _:
                raise AssertionError(operation)

    @staticmethod
    def _possible(holds: object) -> None:
        if not holds:
            raise No("bad-field")

    @staticmethod
    def _enough(amount: int, there: int, word: str) -> None:
        if amount > there:
            raise No(word)

    def total(self) -> int:
        """All that this reference knows of."""
        purses = self.purses.values()
        held = sum(one.free + one.stake + one.credit for one in purses)
        return held + self.reserve + self.treasury

    def described(self) -> bytes:
        """Everything that the ledger must agree with."""
        purses = [
            [node, one.free, one.stake, one.credit, max(one.used, default=0)]
            for node, one in sorted(self.purses.items())
        ]
        ppm = int(self.price * 1_000_000)
        return encode([purses, self.reserve, self.treasury, ppm, self.epoch, self.time_ms])
