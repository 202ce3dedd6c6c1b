"""How one becomes a validator and stops being one: bond, keys, readiness, retirement.

A bond is no stake: units never touch it, and evidence touches nothing else (H11). Who is chosen for
an epoch is decided when the one before closes (`closing.py`).
"""

from typing import Final, assert_never

from dpin.base.crypto import verify
from dpin.base.ids import ID_BYTES, NO_DIGEST, Digest, NodeId, Round
from dpin.base.units import MicroTokens
from dpin.ledger import bonds, money
from dpin.ledger.book import Book
from dpin.ledger.candidacy import (
    POSSESSION_TAG,
    BondValidator,
    ReadyValidator,
    RegisterValidator,
    RetireValidator,
    WithdrawBond,
    possession_digest,
)
from dpin.ledger.reasons import Reason, require

Candidacy = BondValidator | RegisterValidator | RetireValidator | WithdrawBond | ReadyValidator
NUMBER_MAX: Final = 2**63 - 1
READY_PARTS: Final = 10  # readiness is said in the last of so many parts of an epoch


def apply(book: Book, sender: NodeId, operation: Candidacy) -> None:
    """Do what the sender asks, or refuse it."""
    match operation:
        case BondValidator():
            bond(book, sender, operation)
        case RegisterValidator():
            register(book, sender, operation)
        case RetireValidator():
            retire(book, sender)
        case WithdrawBond():
            withdraw(book, sender)
        case ReadyValidator():
            ready(book, sender, operation)
        case _:
            assert_never(operation)


def bond(book: Book, sender: NodeId, operation: BondValidator) -> None:
    """Move free tokens to the sender's validator bond."""
    account, amount = book.account(sender), operation.amount
    require(amount > 0, Reason.BAD_FIELD)
    require(amount <= account.free, Reason.NOT_ENOUGH_FREE)
    validator = bonds.open_(book, sender)
    account.free = MicroTokens(account.free - amount)
    validator.bond = MicroTokens(validator.bond + amount)


def register(book: Book, sender: NodeId, operation: RegisterValidator) -> None:
    """Take over the sender's keys from the next epoch on; needs the least bond."""
    anchor, anchor_round = operation.anchor, operation.anchor_round
    sizes = len(operation.signer), len(anchor)
    require(sizes == (ID_BYTES, ID_BYTES) and anchor != NO_DIGEST, Reason.BAD_FIELD)
    require(0 <= anchor_round <= NUMBER_MAX, Reason.BAD_FIELD)
    validator = book.state.validators.get(sender)
    enough = validator is not None and validator.bond >= book.params.validator_bond_min
    require(enough, Reason.BOND_TOO_SMALL)
    require(not _is_taken(book, sender, operation.signer), Reason.SIGNER_TAKEN)
    require(_is_held(book, sender, operation), Reason.WRONG_POSSESSION)
    validator = bonds.change(book, sender)
    if (anchor, anchor_round) != (validator.anchor, validator.anchor_round):
        validator.anchor, validator.anchor_round = anchor, anchor_round
        validator.new_chain = True
    validator.signer = operation.signer
    validator.retired = False


def _is_taken(book: Book, sender: NodeId, signer: NodeId) -> bool:
    """Whether another validator signs with this key."""
    validators = book.state.validators.items()
    return any(one.signer == signer for node, one in validators if node != sender)


def _is_held(book: Book, sender: NodeId, operation: RegisterValidator) -> bool:
    """Whether the consensus key itself has said that it belongs to the sender."""
    named = possession_digest(sender, Digest(operation.anchor), Round(operation.anchor_round))
    return verify(operation.signer, POSSESSION_TAG, book.chain, named, operation.possession)


def retire(book: Book, sender: NodeId) -> None:
    """Seat the sender no more; a committee that cannot do without it keeps it for an epoch."""
    validator = bonds.change(book, sender)
    require(validator.stands, Reason.NOT_REGISTERED)
    validator.retired = True


def withdraw(book: Book, sender: NodeId) -> None:
    """Give all of a bond back: its owner stands no more, and no evidence could touch it now."""
    validator = bonds.change(book, sender)
    require(not validator.stands, Reason.NOT_RETIRED)
    epoch = book.state.epoch
    oldest = epoch - book.params.unbonding_epochs
    answers = validator.last_epoch >= 0 and validator.last_epoch >= oldest
    require(not answers and validator.jailed_until <= epoch, Reason.UNBONDING)
    money.credit(book, sender, validator.bond)
    del book.state.validators[sender]


def ready(book: Book, sender: NodeId, operation: ReadyValidator) -> None:
    """Note that the sender can validate the next epoch; said near the end of this one."""
    validator, state = bonds.change(book, sender), book.state
    require(validator.stands, Reason.NOT_REGISTERED)
    require(operation.epoch == state.epoch + 1, Reason.WRONG_EPOCH)
    passed = state.time - state.term.opened_ms
    near = passed * READY_PARTS >= book.params.epoch_ms * (READY_PARTS - 1)
    require(near, Reason.TOO_EARLY)
    validator.ready_for = operation.epoch
