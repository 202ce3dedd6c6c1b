"""Who checks a unit, and which window of it: drawn from the mix after the commit."""

from typing import Final

from dpin.base.chance import Chance
from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import NodeId
from dpin.base.units import MicroTokens, ceil_div
from dpin.ledger import money, settlement
from dpin.ledger.accounts import Account, Job, Seat, Unit, UnitState
from dpin.ledger.book import Book
from dpin.ledger.params import ticks_for

SEAT_TAG: Final = "dpin/seat/v1"
SEATINGS_KEPT: Final = 3


def draw(book: Book, unit: Unit) -> None:
    """Seat verifiers with the present mix; where nobody is eligible, pay unverified.

    A job without verifiers is `scored`: paid for taking part, without reputation.
    """
    job = book.job(book.lease(unit.lease).job)
    assert unit.commit is not None, "only what was committed is checked"
    if not job.propose.verifiers:
        settlement.pay(book, unit, "scored")
        return
    chance = Chance(digest(SEAT_TAG, encode([book.state.mix, unit.lease, unit.round])))
    window = 1 + chance.below(unit.commit.leaves - 1)
    bond = verifier_bond(book, job, unit)
    chosen = _chosen(book, job, unit, chance)
    if not chosen:
        settlement.pay(book, unit, "unverified")
        return
    for verifier in chosen:
        money.lock(book.account(verifier), bond)
    unit.window = window if unit.window < 0 else unit.window
    unit.seats = [Seat(verifier, bond) for verifier in chosen]
    unit.used.update(chosen)
    unit.state = UnitState.SEATED
    window_ms = ceil_div(job.propose.unit_ms, job.propose.windows)
    params = book.params
    book.put_off(
        unit, ticks_for(params, params.verify_commit_ticks, window_ms, params.verify_window_ppm)
    )


def verifier_bond(book: Book, job: Job, unit: Unit) -> MicroTokens:
    """What each verifier of this unit locks: a multiple of its pay (H6)."""
    share = unit.verifier_fee // job.propose.verifiers
    return MicroTokens(book.params.verifier_bond_multiple * share)


def _chosen(book: Book, job: Job, unit: Unit, chance: Chance) -> list[NodeId]:
    """Verifiers in drawn order: those that take jobs first, others where they are too few."""
    working: list[NodeId] = []
    watching: list[NodeId] = []
    for node, account in sorted(eligible(book, job, unit), key=lambda pair: pair[0]):
        assert account.registration is not None, "the eligible are registered"
        (working if account.registration.provides else watching).append(node)
    chosen = chance.chosen(working, job.propose.verifiers)
    return chosen + chance.chosen(watching, job.propose.verifiers - len(chosen))


def eligible(book: Book, job: Job, unit: Unit) -> list[tuple[NodeId, Account]]:
    """Everybody who may check this unit now, in no particular order."""
    parties = {job.requester, book.state.leases[unit.lease].provider}
    bond = verifier_bond(book, job, unit)
    return [
        (node, account)
        for node, account in book.state.accounts.items()
        if account.registration is not None
        and account.registration.fingerprint == job.propose.fingerprint
        and not any(account.absences)
        and money.unlocked(account) >= bond
        and node not in parties
        and node not in unit.used
    ]


def excuse(book: Book, seat: Seat) -> None:
    """The verifier was there."""
    _note(book.account(seat.verifier), absent=False)


def penalise(book: Book, unit: Unit, seat: Seat) -> None:
    """The verifier was absent: a part of the unit price burns, the rest of its bond is let go."""
    account = book.account(seat.verifier)
    burned = min(money.share_ppm(unit.price, book.params.absent_burn_ppm), seat.bond)
    money.seize(account, burned)
    money.burn(book, burned)
    money.unlock(account, seat.bond - burned)
    seat.bond = MicroTokens(0)
    _note(account, absent=True)


def _note(account: Account, *, absent: bool) -> None:
    account.absences = (*account.absences, absent)[-SEATINGS_KEPT:]
