"""Several operations that are done together or not at all."""

from dpin.base.ids import JobId, NodeId
from dpin.ledger.book import Book, Kind
from dpin.ledger.undo import Undo


class Attempt:
    """What is done to a book from when this is made until it stands or is reverted."""

    def __init__(self, book: Book) -> None:
        assert book.undo is None, "transactions are applied one by one"
        book.undo = self._undo = Undo(book.state)
        self._book = book
        self._receipts = len(book.receipts)
        self._changed = book.changed
        book.changed = set()
        book.agenda.begin()

    def stand(self) -> None:
        """All of it was done."""
        book = self._book
        book.changed |= self._changed
        book.agenda.end()
        book.undo = None

    def revert(self) -> None:
        """Take all of it back."""
        book = self._book
        self._undo.revert()
        for kind, identity, _ in sorted(book.changed):
            if kind == Kind.ACCOUNT:
                book.touched.pop(NodeId(identity), None)
            elif kind == Kind.JOB and identity not in book.state.jobs:
                book.escrows.pop(JobId(identity), None)
        book.changed = self._changed
        book.agenda.revert()
        del book.receipts[self._receipts :]
        book.undo = None
