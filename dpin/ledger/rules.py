"""One operation, or one deadline, applied to the state: the only way that it changes.

A refused operation changes nothing. After each, every job that was stirred takes what steps it can.
"""

from typing import Final, assert_never

from dpin.base.ids import Digest, JobId, NodeId, Round
from dpin.ledger import awards, jobs, leases, money, rounds, units
from dpin.ledger.agenda import Due, Subject
from dpin.ledger.book import Book
from dpin.ledger.reasons import Reason, Refused
from dpin.ledger.transactions import (
    Award,
    Cancel,
    Commit,
    Have,
    OpenLeaf,
    Operation,
    Propose,
    Ready,
    Register,
    Stake,
    Stop,
    Transfer,
    Unstake,
    VerifyCommit,
    VerifyReveal,
)

DEADLINES_MAX: Final = 4_096  # that one commit acts on; the rest waits for the next


def apply(book: Book, sender: NodeId, operation: Operation, transaction: Digest) -> Reason:
    """Apply one operation, or say why it changed nothing."""
    try:
        match operation:
            case Transfer() | Register() | Stake() | Unstake():
                _apply_to_account(book, sender, operation)
            case Propose():
                jobs.propose(book, sender, operation, JobId(transaction))
            case Award() | Ready() | Stop() | Cancel() | Have():
                _apply_to_job(book, sender, operation)
            case Commit() | OpenLeaf() | VerifyCommit() | VerifyReveal():
                _apply_to_unit(book, sender, operation)
            case _:
                assert_never(operation)
    except Refused as refused:
        book.stirred.clear()
        return refused.reason
    _settle_down(book)
    return Reason.OK


def expire(book: Book) -> None:
    """Act on what is due, first the longest due; at most DEADLINES_MAX of it."""
    for _ in range(DEADLINES_MAX):
        due = book.agenda.pop(book.state.tick)
        if due is None:
            return
        _expire(book, due)
        _settle_down(book)


def _expire(book: Book, due: Due) -> None:
    subject, identity, round_ = due
    match subject:
        case Subject.JOB | Subject.ROUND:
            book.job(JobId(identity))
        case Subject.LEASE:
            leases.end(book, book.lease(Digest(identity)), "never-ready")
        case Subject.UNIT:
            units.expire(book, book.unit(Digest(identity), Round(round_)))
        case _:
            assert_never(subject)


def _settle_down(book: Book) -> None:
    for job in sorted(book.stirred):
        rounds.advance(book, book.state.jobs[job])
    book.stirred.clear()


def _apply_to_account(
    book: Book, sender: NodeId, operation: Transfer | Register | Stake | Unstake
) -> None:
    match operation:
        case Transfer():
            money.transfer(book, sender, operation)
        case Register():
            jobs.register(book, sender, operation)
        case Stake():
            money.stake(book, sender, operation)
        case Unstake():
            money.unstake(book, sender, operation)
        case _:
            assert_never(operation)


def _apply_to_job(
    book: Book, sender: NodeId, operation: Award | Ready | Stop | Cancel | Have
) -> None:
    match operation:
        case Award():
            awards.award(book, sender, operation)
        case Ready():
            jobs.ready(book, sender, operation)
        case Stop():
            jobs.stop(book, sender, operation)
        case Cancel():
            jobs.cancel(book, sender, operation)
        case Have():
            rounds.have(book, sender, operation)
        case _:
            assert_never(operation)


def _apply_to_unit(
    book: Book, sender: NodeId, operation: Commit | OpenLeaf | VerifyCommit | VerifyReveal
) -> None:
    match operation:
        case Commit():
            units.commit(book, sender, operation)
        case OpenLeaf():
            units.open_leaf(book, sender, operation)
        case VerifyCommit():
            units.verify_commit(book, sender, operation)
        case VerifyReveal():
            units.verify_reveal(book, sender, operation)
        case _:
            assert_never(operation)
