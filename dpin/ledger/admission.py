"""Whether bytes are a transaction that this chain may apply: form, signature, sequence.

An account covers 64 sequence numbers below its highest with a mask, as IPsec does: transactions of
one account travel through different validators and arrive in any order, each at most once.
"""

from hashlib import sha256
from typing import Final

from dpin.base.codec import decode
from dpin.base.crypto import verify
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId, Digest
from dpin.ledger.accounts import Account, State
from dpin.ledger.transactions import (
    TRANSACTION_BYTES_MAX,
    TRANSACTION_TAG,
    VERSION,
    Register,
    SignedTransaction,
    Transaction,
    transaction_id,
)

SEQUENCE_WINDOW: Final = 64
SEQUENCE_AHEAD: Final = 1 << 16
NUMBER_MAX: Final = 2**63 - 1
VERIFIED_MAX: Final = 1 << 16  # signatures remembered as good

_MASK: Final = (1 << (SEQUENCE_WINDOW - 1)) - 1


class Rejected(PeerFault):
    """No transaction that could be applied; its text is a code in kebab-case."""


class Gate:
    """Reads transactions; remembers good signatures, so that each is checked once."""

    def __init__(self, chain: ChainId) -> None:
        self._chain = chain
        self._verified: dict[bytes, Digest] = {}  # digest of the signed bytes -> transaction id

    def read(self, data: bytes) -> tuple[Digest, Transaction]:
        """The transaction and its id; raises Rejected."""
        if len(data) > TRANSACTION_BYTES_MAX:
            raise Rejected("too-large")
        try:
            signed = decode(SignedTransaction, data)
        except PeerFault:
            raise Rejected("malformed") from None
        self._check_form(signed.transaction)
        return self._check_signature(data, signed), signed.transaction

    def forget(self, data: bytes) -> None:
        """These bytes have been applied; their sequence number keeps them from coming back."""
        self._verified.pop(sha256(data).digest(), None)

    def _check_form(self, transaction: Transaction) -> None:
        if transaction.version != VERSION:
            raise Rejected("unknown-version")
        if transaction.chain != self._chain:
            raise Rejected("wrong-network")
        if len(transaction.operations) != 1:
            raise Rejected("not-one-operation")
        numbers = (transaction.valid_until_epoch, transaction.max_fee)
        if not all(0 <= number <= NUMBER_MAX for number in numbers):
            raise Rejected("malformed")

    def _check_signature(self, data: bytes, signed: SignedTransaction) -> Digest:
        # The id does not cover the signature, so the memory goes by all of the bytes.
        name = sha256(data).digest()
        known = self._verified.get(name)
        if known is not None:
            return known
        identity = transaction_id(signed.transaction)
        sender = signed.transaction.sender
        if not verify(sender, TRANSACTION_TAG, self._chain, identity, signed.signature):
            raise Rejected("wrong-signature")
        if len(self._verified) >= VERIFIED_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[name] = identity
        return identity


def check_sender(state: State, transaction: Transaction) -> None:
    """Raise Rejected unless the sender may use this sequence number now."""
    account = state.accounts.get(transaction.sender)
    if account is None and not isinstance(transaction.operations[0], Register):
        raise Rejected("unknown-account")
    if not unused(account or Account(), transaction.sequence):
        raise Rejected("sequence-used")


def unused(account: Account, sequence: int) -> bool:
    """Whether the sequence number lies in the window and was never used."""
    high = account.sequence_high
    if sequence <= max(0, high - SEQUENCE_WINDOW) or sequence > high + SEQUENCE_AHEAD:
        return False
    if sequence > high:
        return True
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
