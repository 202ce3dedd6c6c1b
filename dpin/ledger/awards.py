"""Who works on a job and for how much: the lowest fitting bids, at the second price."""

from typing import Final

from dpin.base.crypto import verify
from dpin.base.ids import NodeId
from dpin.base.units import MicroTokens
from dpin.ledger import money
from dpin.ledger.accounts import Job, JobState, Lease, LeaseState
from dpin.ledger.agenda import lease_due
from dpin.ledger.book import Book
from dpin.ledger.reasons import Reason, require
from dpin.ledger.transactions import BID_TAG, EVAL, Award, Bid, SignedBid, bid_digest, lease_id
from dpin.ledger.views import convicts, evaluated

LEASES_MAX: Final = 1_024  # of one job in its life, so that looking at all of them stays cheap


def award(book: Book, sender: NodeId, operation: Award) -> None:
    """Fill the open seats with the cheapest bids that fit; what does not fit is passed over."""
    job = book.own_job(operation.job, sender)
    require(job.state in {JobState.OPEN, JobState.RUNNING}, Reason.JOB_CLOSED)
    last = len(job.rounds) == job.propose.rounds
    require(not job.cancelled and not last, Reason.JOB_CLOSED)
    require(job.current is not None or book.state.tick < job.deadline, Reason.TOO_LATE)
    seats = open_seats(book, job)
    require(bool(seats), Reason.NO_OPEN_SEAT)
    bids = fitting(book, job, operation.bids)
    require(bool(bids), Reason.NO_FITTING_BID)
    winners, losers = bids[: len(seats)], bids[len(seats) :]
    require(len(job.leases) + len(winners) <= LEASES_MAX, Reason.TOO_MANY_LEASES)
    for seat, bid in zip(seats, winners, strict=False):
        _grant(book, job, seat, (bid.provider, losers[0].price if losers else bid.price))


def open_seats(book: Book, job: Job) -> list[int]:
    """Seats that no live lease holds, lowest first; of an evaluation, those that are not done."""
    live = book.leases_of(job, LeaseState.AWARDED, LeaseState.READY, LeaseState.RUNNING)
    held = {lease.seat for lease in live}
    if job.propose.kind == EVAL:
        held |= evaluated(book.state, job).keys()
    return [seat for seat in range(job.propose.seats) if seat not in held]


def fitting(book: Book, job: Job, signed: tuple[SignedBid, ...]) -> list[Bid]:
    """The bids that may win, best first, one a provider; ties go by the bid's digest."""
    live = book.leases_of(job, LeaseState.AWARDED, LeaseState.READY, LeaseState.RUNNING)
    busy = {lease.provider for lease in live}
    if job.propose.kind == EVAL:  # Else a liar that bids low would have its part for ever.
        busy |= convicts(book.state, job)
    taken: dict[NodeId, Bid] = {}
    for offer in sorted(signed, key=lambda one: (one.bid.price, bid_digest(one.bid))):
        bid = offer.bid
        if bid.provider in busy or bid.provider in taken or not _fits(book, job, bid):
            continue
        if verify(bid.provider, BID_TAG, book.chain, bid_digest(bid), offer.signature):
            taken[bid.provider] = bid
    return list(taken.values())


def _fits(book: Book, job: Job, bid: Bid) -> bool:
    """Whether this bid, if its signature holds, may win a seat of this job now."""
    account = book.state.accounts.get(bid.provider)
    if account is None or account.registration is None or bid.provider == job.requester:
        return False
    registration = account.registration
    return (
        bid.job == job.id
        and 0 < bid.price <= job.propose.price_cap
        and book.state.tick <= bid.until
        and registration.provides
        and registration.fingerprint == job.propose.fingerprint
        and money.unlocked(account) >= book.params.bond_multiple * bid.price
    )


def _grant(book: Book, job: Job, seat: int, terms: tuple[NodeId, MicroTokens]) -> None:
    """Make the lease and lock its bond: the second price may ask for more than there is."""
    provider, price = terms
    account = book.account(provider)
    bond = MicroTokens(min(book.params.bond_multiple * price, money.unlocked(account)))
    money.lock(account, bond)
    number, deadline = len(job.leases), book.in_ticks(book.params.ready_ticks)
    identity = lease_id(job.id, provider, number)
    book.state.leases[identity] = Lease(
        id=identity,
        job=job.id,
        number=number,
        seat=seat,
        provider=provider,
        price=price,
        bond=bond,
        state=LeaseState.AWARDED,
        deadline=deadline,
    )
    book.lease(identity)
    job.leases.append(identity)
    book.agenda.set(lease_due(identity), deadline)
