"""Whether bytes are a transaction that this chain may apply: form, signature, time, number, fee.

What is wrong with the bytes themselves (`Invalid`) is so for ever and on every node; what the state
does not take now (`Rejected`) another state may. Neither leaves a trace.

An account covers 64 sequence numbers below its highest with a mask, as IPsec does: transactions of
one account travel through different validators and arrive in any order, each at most once.
"""

from typing import Final

from dpin.base.crypto import SIGNATURE_BYTES, verify
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, ChainId, Digest
from dpin.base.units import MicroTokens
from dpin.ledger import fees
from dpin.ledger.accounts import Account, State
from dpin.ledger.params import Params
from dpin.ledger.transactions import (
    EPOCHS_AHEAD,
    OPERATIONS_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_TAG,
    VERSION,
    Register,
    SignedTransaction,
    Transaction,
    read_transaction,
)

SEQUENCE_WINDOW: Final = 64
SEQUENCE_AHEAD: Final = 1 << 16
NUMBER_MAX: Final = 2**63 - 1
VERIFIED_MAX: Final = 1 << 16  # transactions remembered whose signature is good
VERIFIED_BYTES_MAX: Final = 16 << 20  # of them
REFUTED_MAX: Final = 1 << 12  # remembered whose signature is wrong

_MASK: Final = (1 << (SEQUENCE_WINDOW - 1)) - 1


class Rejected(PeerFault):
    """No transaction that could be applied now; its text is a code in kebab-case."""


class Invalid(Rejected):
    """Bytes that no state of this chain could apply: whoever put them into a block is at fault."""


class Gate:
    """Reads transactions; remembers the good ones, so that each is read and checked once.

    A signature may be checked elsewhere: `claim` says what is to be checked, `settle` what was
    found. Whoever reads bytes that nothing is known of, or not yet, gets the same answer here.
    """

    def __init__(self, chain: ChainId) -> None:
        self._chain = chain
        # By all of the bytes: the id does not cover the signature.
        self._verified: dict[bytes, tuple[Digest, Transaction]] = {}
        self._bytes = 0
        self._claimed: dict[bytes, tuple[Digest, Transaction]] = {}
        self._refuted: dict[bytes, None] = {}

    def read(self, data: bytes) -> tuple[Digest, Transaction]:
        """The transaction and its id; raises Invalid."""
        known = self._verified.get(data)
        if known is not None:
            return known
        if data in self._refuted:
            raise Invalid("wrong-signature")
        identity, signed = self._parse(data)
        known = (identity, signed.transaction)
        sender = signed.transaction.sender
        if not verify(sender, TRANSACTION_TAG, self._chain, identity, signed.signature):
            raise Invalid("wrong-signature")
        self._remember(data, known)
        return known

    def claim(self, data: bytes) -> bytes | None:
        """What is to be checked of a transaction: signer, signature and id, 128 bytes.

        None where that is known, is being checked, or cannot make these bytes valid.
        """
        if data in self._verified or data in self._claimed or data in self._refuted:
            return None
        try:
            identity, signed = self._parse(data)
        except Invalid:
            return None
        transaction = signed.transaction
        if len(transaction.sender) != ID_BYTES:
            return None
        self._claimed[data] = (identity, transaction)
        return transaction.sender + signed.signature + identity

    def claimed(self, data: bytes) -> bool:
        """Whether its signature is being checked elsewhere."""
        return data in self._claimed

    def settle(self, data: bytes, *, good: bool | None) -> None:
        """What was found elsewhere; None where nothing was, so that it is checked here if read."""
        known = self._claimed.pop(data, None)
        if known is None or good is None:
            return
        if good:
            self._remember(data, known)
            return
        self._refuted[data] = None
        if len(self._refuted) > REFUTED_MAX:
            del self._refuted[next(iter(self._refuted))]

    def forget(self, data: bytes) -> None:
        """These bytes have been applied; their sequence number keeps them from coming back."""
        if self._verified.pop(data, None) is not None:
            self._bytes -= len(data)

    def _parse(self, data: bytes) -> tuple[Digest, SignedTransaction]:
        """All but the signature's truth, and the id; raises Invalid."""
        if len(data) > TRANSACTION_BYTES_MAX:
            raise Invalid("too-large")
        try:
            identity, signed = read_transaction(data)
        except PeerFault:
            raise Invalid("malformed") from None
        self._check_form(signed.transaction)
        if len(signed.signature) != SIGNATURE_BYTES:
            raise Invalid("wrong-signature")
        return identity, signed

    def _check_form(self, transaction: Transaction) -> None:
        if transaction.version != VERSION:
            raise Invalid("unknown-version")
        if transaction.chain != self._chain:
            raise Invalid("wrong-network")
        if not 1 <= len(transaction.operations) <= OPERATIONS_MAX:
            raise Invalid("not-1-to-16-operations")
        if not (
            0 <= transaction.valid_until_epoch <= NUMBER_MAX
            and 0 <= transaction.max_fee <= NUMBER_MAX
        ):
            raise Invalid("malformed")

    def _remember(self, data: bytes, known: tuple[Digest, Transaction]) -> None:
        """Keep what is good until it is applied; the oldest goes where there is too much."""
        if data not in self._verified:
            self._bytes += len(data)
        self._verified[data] = known
        while len(self._verified) > VERIFIED_MAX or self._bytes > VERIFIED_BYTES_MAX:
            self.forget(next(iter(self._verified)))


def check_sender(
    state: State, params: Params, transaction: Transaction, size: int
) -> tuple[Account | None, MicroTokens]:
    """The sender's account, if it has one, and the fee; raises Rejected unless it may go ahead.

    `size` is that of the signed transaction in bytes.
    """
    until = transaction.valid_until_epoch
    if not 0 <= until - state.term.number <= EPOCHS_AHEAD:
        raise Rejected("expired" if until < state.epoch else "valid-for-too-long")
    account = state.accounts.get(transaction.sender)
    if account is None and not isinstance(transaction.operations[0], Register):
        raise Rejected("unknown-account")
    payer = account or _STRANGER
    if not unused(payer, transaction.sequence):
        raise Rejected("sequence-used")
    fee = fees.fee(params, state.fee_multiplier, size, len(transaction.operations))
    if fee > transaction.max_fee:
        raise Rejected("fee-too-low")
    if fee > payer.free:
        raise Rejected("cannot-pay-fee")
    return account, fee


_STRANGER: Final = Account()


def unused(account: Account, sequence: int) -> bool:
    """Whether the sequence number lies in the window and was never used."""
    high = account.sequence_high
    if sequence > high:  # nearly always
        return sequence <= high + SEQUENCE_AHEAD
    if sequence <= max(0, high - SEQUENCE_WINDOW):
        return False
    return sequence < high and not account.sequence_mask >> (high - 1 - sequence) & 1


def use(account: Account, sequence: int) -> None:
    """Mark an unused sequence number as used."""
    assert unused(account, sequence), "a sequence number is used once"
    high = account.sequence_high
    if sequence < high:
        account.sequence_mask |= 1 << (high - 1 - sequence)
        return
    moved = sequence - high
    mask = (account.sequence_mask << moved) | (1 << (moved - 1)) if moved <= SEQUENCE_WINDOW else 0
    account.sequence_high, account.sequence_mask = sequence, mask & _MASK
