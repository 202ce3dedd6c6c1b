"""The end of a lease: its seat is open again at once, its bond is let go with its last unit."""

from dpin.base.units import MicroTokens
from dpin.ledger.accounts import Job, JobState, Lease, LeaseState
from dpin.ledger.agenda import job_due, lease_due
from dpin.ledger.book import Book
from dpin.ledger.money import unlock


def end(book: Book, lease: Lease, reason: str) -> None:
    """End a lease, unless it has ended. A unit under way may still be committed in its time."""
    if lease.state == LeaseState.ENDED:
        return
    book.lease(lease.id)
    lease.state, lease.reason = LeaseState.ENDED, reason
    book.agenda.drop(lease_due(lease.id))
    release(book, lease)
    job = book.job(lease.job)
    if job.state in {JobState.OPEN, JobState.RUNNING} and job.current is None:
        reopen(book, job)


def release(book: Book, lease: Lease) -> None:
    """Let go of the bond once the lease has ended and nothing of it is pending."""
    if lease.state == LeaseState.ENDED and lease.pending == 0 and lease.bond:
        unlock(book.account(lease.provider), lease.bond)
        lease.bond = MicroTokens(0)


def reopen(book: Book, job: Job) -> None:
    """While no round is under way, a seat that opens anew has the whole time for an award."""
    job.deadline = book.in_ticks(book.params.award_ticks)
    book.agenda.set(job_due(job.id), job.deadline)
