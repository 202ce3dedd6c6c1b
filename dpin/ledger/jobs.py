"""Jobs and the hold on them: register, propose, ready, stop, cancel."""

from typing import Final

from dpin.base.ids import ID_BYTES, JobId, NodeId
from dpin.base.units import MicroTokens
from dpin.ledger import leases, money
from dpin.ledger.accounts import Job, JobState, LeaseState
from dpin.ledger.agenda import job_due, lease_due
from dpin.ledger.book import Book
from dpin.ledger.reasons import Reason, require
from dpin.ledger.transactions import EVAL, INFER, TRAIN, Cancel, Propose, Ready, Register, Stop

NAME_CHARS_MAX: Final = 64
DEVICE_CHARS_MAX: Final = 128
NUMBER_MAX: Final = 2**63 - 1
SEATS_MAX: Final = 64
ROUNDS_MAX: Final = 10_000
STEPS_MAX: Final = 10**9
WINDOWS_MIN: Final = 4
WINDOWS_MAX: Final = 16
VERIFIERS_MAX: Final = 2
UNIT_MS_MAX: Final = 7 * 24 * 3_600 * 1_000


def register(book: Book, sender: NodeId, operation: Register) -> None:
    """Say what this node is; whoever was absent from a check is back."""
    words = len(operation.name) <= NAME_CHARS_MAX and len(operation.device) <= DEVICE_CHARS_MAX
    digests = len(operation.fingerprint) == len(operation.anchor) == ID_BYTES
    numbers = all(
        0 <= number <= NUMBER_MAX for number in (operation.memory_bytes, operation.anchor_round)
    )
    require(words and digests and numbers, Reason.BAD_FIELD)
    account = book.account(sender)
    account.registration = operation
    account.absences = ()


def propose(book: Book, sender: NodeId, operation: Propose, job: JobId) -> None:
    """Open a job with all of its money in escrow."""
    require(_possible(operation), Reason.BAD_FIELD)
    cap = operation.price_cap
    unit = cap + money.verifier_fee(book.params, operation, cap)
    escrow = MicroTokens(operation.seats * operation.rounds * unit)
    account = book.account(sender)
    require(escrow <= account.free + account.credit, Reason.NOT_ENOUGH_FREE)
    assert job not in book.state.jobs, "a transaction is applied once"
    book.state.jobs[job] = Job(
        id=job,
        requester=sender,
        propose=operation,
        state=JobState.OPEN,
        opened_at=book.state.time,
        escrow=escrow,
        deadline=book.in_ticks(book.params.award_ticks),
        credit=money.fund(account, escrow),
    )
    book.state.live_jobs.add(job)
    book.escrows[job] = 0  # before this commit
    book.agenda.set(job_due(job), book.job(job).deadline)


def ready(book: Book, sender: NodeId, operation: Ready) -> None:
    """The provider can start; it joins with the next round."""
    lease = book.own_lease(operation.lease, sender)
    require(lease.state == LeaseState.AWARDED, Reason.NOT_AWARDED)
    require(book.state.tick < lease.deadline, Reason.TOO_LATE)
    lease.state = LeaseState.READY
    book.agenda.drop(lease_due(lease.id))


def stop(book: Book, sender: NodeId, operation: Stop) -> None:
    """The requester lets a provider go."""
    lease = book.lease(operation.lease)
    book.own_job(lease.job, sender)
    require(lease.state != LeaseState.ENDED, Reason.LEASE_ENDED)
    lease.stopped = True
    leases.end(book, lease, "stopped")


def cancel(book: Book, sender: NodeId, operation: Cancel) -> None:
    """The requester wants no further round; the one under way runs to its end and is paid."""
    job = book.own_job(operation.job, sender)
    require(job.state in {JobState.OPEN, JobState.RUNNING}, Reason.JOB_CLOSED)
    require(not job.cancelled, Reason.JOB_CLOSED)
    job.cancelled, job.reason = True, "cancelled"


def _possible(operation: Propose) -> bool:
    """Whether every number is in its range and every id is one."""
    digests = (operation.manifest, operation.state_hash, operation.fingerprint)
    return (
        all(len(one) == ID_BYTES for one in digests)
        and 0 <= operation.verifiers <= VERIFIERS_MAX
        and 0 <= operation.quorum <= operation.seats
        and operation.windows <= operation.steps <= STEPS_MAX
        and 1 <= operation.unit_ms <= UNIT_MS_MAX
        and 0 <= operation.memory_bytes <= NUMBER_MAX
        and 1 <= operation.disk_bytes <= NUMBER_MAX
        and 1 <= operation.price_cap <= money.MAX_SUPPLY
        and _fits_kind(operation)
    )


def _fits_kind(operation: Propose) -> bool:
    shape = (operation.seats, operation.rounds, operation.windows)
    if operation.kind == INFER:
        return shape == (1, 1, 1) and operation.verifiers > 0
    return (
        operation.kind in {TRAIN, EVAL}
        and 1 <= operation.seats <= SEATS_MAX
        and 1 <= operation.rounds <= ROUNDS_MAX
        and WINDOWS_MIN <= operation.windows <= WINDOWS_MAX
    )
