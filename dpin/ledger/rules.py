"""One operation, or one deadline, applied to the state: the only way that it changes.

A refused operation changes nothing. After each, every job that was stirred takes what steps it can.
Of several operations that go together, one that is refused takes back all of them.
"""

from collections.abc import Sequence
from typing import Final, assert_never

from dpin.base.ids import Digest, JobId, NodeId, Round
from dpin.ledger import awards, evidence, jobs, leases, money, rounds, units, validators
from dpin.ledger.agenda import Due, Subject
from dpin.ledger.atomic import Attempt
from dpin.ledger.book import Book
from dpin.ledger.offences import CheckpointContradiction, CheckpointFork, Equivocation
from dpin.ledger.reasons import Reason, Refused
from dpin.ledger.transactions import (
    Award,
    Cancel,
    Commit,
    Credit,
    Have,
    LastState,
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
    job_id,
)

DEADLINES_MAX: Final = 4_096  # that one commit acts on; the rest waits for the next


def apply(
    book: Book, sender: NodeId, operations: Sequence[Operation], transaction: Digest
) -> tuple[Reason, int]:
    """Apply all of a transaction's operations, or none; why none, and at which place."""
    if len(operations) == 1:
        return _apply(book, sender, operations[0], job_id(transaction, 0)), 0
    attempt = Attempt(book)
    for place, operation in enumerate(operations):
        reason = _apply(book, sender, operation, job_id(transaction, place))
        if reason:
            attempt.revert()
            return reason, place
    attempt.stand()
    return Reason.OK, 0


def _apply(book: Book, sender: NodeId, operation: Operation, job: JobId) -> Reason:
    """Apply one operation, or say why it changed nothing."""
    try:
        match operation:
            case Transfer():
                money.transfer(book, sender, operation)
                return Reason.OK  # It stirs no job.
            case Register() | Stake() | Unstake() | Credit():
                _apply_to_account(book, sender, operation)
            case Propose():
                jobs.propose(book, sender, operation, job)
            case Award() | Ready() | Stop() | Cancel() | Have() | LastState():
                _apply_to_job(book, sender, operation)
            case Commit() | OpenLeaf() | VerifyCommit() | VerifyReveal():
                _apply_to_unit(book, sender, operation)
            case Equivocation() | CheckpointFork() | CheckpointContradiction():
                evidence.show(book, sender, operation)
            case _:
                validators.apply(book, sender, operation)
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
        rounds.advance(book, book.job(job))
    book.stirred.clear()


def _apply_to_account(
    book: Book, sender: NodeId, operation: Register | Stake | Unstake | Credit
) -> None:
    match operation:
        case Register():
            jobs.register(book, sender, operation)
        case Stake():
            money.stake(book, sender, operation)
        case Unstake():
            money.unstake(book, sender, operation)
        case Credit():
            money.buy_credit(book, sender, operation)
        case _:
            assert_never(operation)


def _apply_to_job(
    book: Book, sender: NodeId, operation: Award | Ready | Stop | Cancel | Have | LastState
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
        case LastState():
            rounds.last_state(book, sender, operation)
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
