"""The last act of an epoch: who validates the next one, and where its rounds begin.

An epoch closes with the first commit that has its ledger time and number of commits behind it. That
commit is executed under the old committee; the state after it is already the next epoch's.
"""

from dpin.base.crypto import digest
from dpin.base.ids import Round
from dpin.ledger.book import Book, Kind
from dpin.ledger.checkpoint import CommitteeRecord, Member
from dpin.ledger.committee import SEED_TAG
from dpin.ledger.order import OrderedCommit
from dpin.ledger.standing import Seated, opened


def is_due(book: Book) -> bool:
    """Whether the present commit is the last of its epoch."""
    state, params = book.state, book.params
    long_enough = state.time >= state.term.opened_ms + params.epoch_ms
    return long_enough and state.height - state.term.opened_height >= params.epoch_commits_min


def close(book: Book, commit: OrderedCommit) -> CommitteeRecord:
    """Choose the next committee and open its epoch; `commit` is the last of the present one."""
    state = book.state
    old, number = state.term, state.term.number + 1
    members = tuple(
        _stays(member, seated)
        for member, seated in zip(old.committee.members, old.seated, strict=True)
    )
    record = CommitteeRecord(
        number,
        digest(SEED_TAG, state.mix + number.to_bytes(8)),
        Round(commit.leader_round + book.params.consensus.gc_depth),
        members,
    )
    state.term = opened(record, state.time, state.height)
    state.committees[number] = record
    book.changed.add((Kind.COMMITTEE, b"", number))
    _forget(book, number - book.params.unbonding_epochs)
    return record


def _stays(member: Member, seated: Seated) -> Member:
    """A member goes on with its chain of reveals from the newest that was checked."""
    return Member(member.node, member.signer, member.weight, seated.reveal, seated.round)


def _forget(book: Book, oldest: int) -> None:
    """Committees of before `oldest` are needed no more: no bond is left from then."""
    for epoch in sorted(book.state.committees):
        if epoch < oldest:
            del book.state.committees[epoch]
            book.changed.add((Kind.COMMITTEE, b"", epoch))
