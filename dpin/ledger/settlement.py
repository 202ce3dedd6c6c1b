"""How a unit's money moves for the last time: paid, void, lapsed or slashed.

Everything paid out is rounded down; what remains of price and verifier fee goes back to the
requester.
"""

from collections.abc import Sequence
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import Digest, NodeId, Round
from dpin.base.units import MicroTokens
from dpin.ledger import leases, money
from dpin.ledger.accounts import Job, Lease, Unit, UnitState
from dpin.ledger.agenda import unit_due
from dpin.ledger.book import Book
from dpin.ledger.order import Receipt

UNIT_TAG: Final = "dpin/unit/v1"


def unit_subject(lease: Digest, round_: Round) -> Digest:
    """What the receipt of a unit's settlement is filed under."""
    return digest(UNIT_TAG, encode([lease, round_]))


def pay(book: Book, unit: Unit, reason: str) -> None:
    """PAID: the provider for the work done, whoever revealed for the check."""
    job, lease = _parties(book, unit)
    assert unit.commit is not None, "only what was committed is paid"
    gross = unit.price * unit.commit.steps // job.propose.steps
    fee = money.share_ppm(gross, book.params.fee_ppm)
    burned = money.share_ppm(fee, book.params.burn_ppm)
    money.spend_escrow(job, gross)
    money.credit(book, lease.provider, gross - fee)
    money.burn(book, burned)
    book.state.treasury = MicroTokens(book.state.treasury + fee - burned)
    unit.paid = MicroTokens(gross - fee)
    checked = _pay_verifiers(book, job, unit)
    money.refund(book, job, unit.price + unit.verifier_fee - gross - checked)
    if reason == "verified":
        book.account(lease.provider).units_ok += 1
    _close(book, unit, UnitState.PAID, reason)


def void(book: Book, unit: Unit, reason: str) -> None:
    """VOID: nobody can tell who is right; the requester pays for the check alone."""
    job, _ = _parties(book, unit)
    checked = _pay_verifiers(book, job, unit)
    money.refund(book, job, unit.price + unit.verifier_fee - checked)
    _close(book, unit, UnitState.VOID, reason)


def lapse(book: Book, unit: Unit) -> None:
    """LAPSED: the requester has everything back, and half a price from the bond."""
    job, lease = _parties(book, unit)
    unit.lost = money.seize_bond(book, lease, unit.price // 2)
    money.credit(book, job.requester, unit.lost)
    money.refund(book, job, unit.price + unit.verifier_fee)
    book.account(lease.provider).faults += 1
    _close(book, unit, UnitState.LAPSED, "not-committed")
    if lease.bond < unit.price:
        leases.end(book, lease, "bond-spent")


def withhold(book: Book, unit: Unit, reason: str, heard: Sequence[NodeId]) -> None:
    """LAPSED after a commit: there was nothing to check in time. It costs what no commit costs.

    Whoever is slow cannot be told from whoever hides, so nobody is convicted, nobody gains by
    saying that nothing was shown, and the lease ends. `heard` are paid for their checks.
    """
    job, lease = _parties(book, unit)
    checked = _pay_checks(book, job, unit, heard)
    unit.lost = money.seize_bond(book, lease, unit.price // 2)
    money.credit(book, job.requester, unit.lost)
    money.refund(book, job, unit.price + unit.verifier_fee - checked)
    book.account(lease.provider).faults += 1
    _close(book, unit, UnitState.LAPSED, reason)
    leases.end(book, lease, reason)


def slash(book: Book, unit: Unit, reason: str, accusers: Sequence[NodeId]) -> None:
    """SLASHED: at most one price of the bond (C1); a part burns, the accusers share the rest.

    A unit of the lease that is still under way is forfeit: nobody waits for a convict's work. What
    it has committed already is judged like any other.
    """
    job, lease = _parties(book, unit)
    unit.lost = money.seize_bond(book, lease, unit.price)
    burned = money.share_ppm(unit.lost, book.params.slash_burn_ppm)
    money.burn(book, burned)
    share = (unit.lost - burned) // max(1, len(accusers))
    for accuser in accusers:
        money.credit(book, accuser, share)
    money.credit(book, job.requester, unit.lost - burned - share * len(accusers))
    money.refund(book, job, unit.price + unit.verifier_fee)
    book.account(lease.provider).faults += 1
    _close(book, unit, UnitState.SLASHED, reason)
    leases.end(book, lease, reason)
    for record in job.rounds:
        pending = book.state.units.get((lease.id, record.round))
        if pending is not None and pending.state == UnitState.RUNNING:
            void(book, book.unit(lease.id, record.round), "forfeit")


def _parties(book: Book, unit: Unit) -> tuple[Job, Lease]:
    """Job and lease of a unit, to change."""
    lease = book.lease(unit.lease)
    return book.job(lease.job), lease


def _pay_verifiers(book: Book, job: Job, unit: Unit) -> MicroTokens:
    """A share of the verifier fee to each seat that revealed; returns what was paid in all."""
    revealed = [seat.verifier for seat in unit.seats if seat.reveal is not None]
    return _pay_checks(book, job, unit, revealed)


def _pay_checks(book: Book, job: Job, unit: Unit, heard: Sequence[NodeId]) -> MicroTokens:
    share = unit.verifier_fee // max(1, job.propose.verifiers)
    money.spend_escrow(job, share * len(heard))
    for verifier in heard:
        money.credit(book, verifier, share)
    return MicroTokens(share * len(heard))


def _close(book: Book, unit: Unit, state: UnitState, reason: str) -> None:
    """The unit is settled: no deadline, no locked seats, one receipt."""
    for seat in unit.seats:
        money.unlock(book.account(seat.verifier), seat.bond)
        seat.bond = MicroTokens(0)
    unit.state, unit.reason = state, reason
    book.agenda.drop(unit_due(unit.lease, unit.round))
    lease = book.lease(unit.lease)
    lease.pending -= 1
    leases.release(book, lease)
    detail = f"{state.name.lower()} {reason} paid={unit.paid} lost={unit.lost}"
    subject = unit_subject(unit.lease, unit.round)
    book.receipts.append(Receipt(book.state.height, subject, int(state), detail))
