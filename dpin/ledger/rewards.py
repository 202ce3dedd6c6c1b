"""What validators have from an epoch: the part of its transaction fees that did not burn."""

from collections.abc import Sequence

from dpin.base.units import MicroTokens
from dpin.ledger import money
from dpin.ledger.book import Book
from dpin.ledger.standing import Epoch


def pay(book: Book, epoch: Epoch, live: Sequence[bool]) -> None:
    """Share an epoch's pool by weight, rounded down.

    What would go to a member that was not there, or that put a transaction into a block which
    nobody could ever apply, stays in the treasury.
    """
    members = epoch.committee.members
    total = sum(member.weight for member in members)
    for member, seated, is_live in zip(members, epoch.seated, live, strict=True):
        share = epoch.fees * member.weight // total
        if share and is_live and not seated.faults:
            book.state.treasury = MicroTokens(book.state.treasury - share)
            money.credit(book, member.node, share)
