"""Validators in the hands of the rules: handed out here, they are marked, counted and kept.

As `Book` does for accounts and jobs: the next state root covers them, a commit is audited by what
their bonds were before it, and several operations that go together can be taken back.
"""

from dpin.base.ids import NodeId
from dpin.ledger.book import Book, Kind
from dpin.ledger.reasons import Reason, Refused
from dpin.ledger.standing import Validator


def change(book: Book, node: NodeId) -> Validator:
    """A validator to change or to remove; who has no bond refuses the operation."""
    found = book.state.validators.get(node)
    if found is None:
        raise Refused(Reason.UNKNOWN_VALIDATOR)
    _mark(book, node, found)
    return found


def open_(book: Book, node: NodeId) -> Validator:
    """A validator to change, one without a bond yet where there was none."""
    found = book.state.validators.get(node)
    _mark(book, node, found)
    if found is None:
        found = book.state.validators[node] = Validator()
    return found


def _mark(book: Book, node: NodeId, validator: Validator | None) -> None:
    book.bonds.setdefault(node, validator.bond if validator else 0)
    book.changed.add((Kind.VALIDATOR, node, 0))
    if book.undo is not None:
        book.undo.keep_validator(node, validator)
