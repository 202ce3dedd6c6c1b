"""What everybody must have, computed once more from the terms of units alone, in fractions."""

from collections import Counter
from fractions import Fraction
from math import floor

from dpin.base.ids import NodeId
from dpin.ledger.accounts import Seat, State, Unit, UnitState
from dpin.ledger.params import Params

MILLION = 1_000_000

# From each state of a unit to the ones it may be found in next, however much has happened.
EDGES = {
    UnitState.RUNNING: {UnitState.COMMITTED, UnitState.LAPSED, UnitState.VOID},
    UnitState.COMMITTED: {UnitState.SEATED, UnitState.PAID},
    UnitState.SEATED: {UnitState.SEALED, UnitState.PAID},
    UnitState.SEALED: {UnitState.OPENED, UnitState.SLASHED, UnitState.LAPSED},
    UnitState.OPENED: {UnitState.PAID, UnitState.VOID, UnitState.SLASHED, UnitState.LAPSED},
}


def earnings(state: State, params: Params) -> Counter[NodeId]:
    """What units have moved to and from everybody, in all; escrow counts as the requester's."""
    moved: Counter[NodeId] = Counter()
    for unit in state.units.values():
        lease = state.leases[unit.lease]
        terms = state.jobs[lease.job].propose
        moved[lease.provider] += _provider(unit, terms.steps, params)
        share = floor(Fraction(unit.verifier_fee, max(1, terms.verifiers)))
        moved[state.jobs[lease.job].requester] += _requester(unit, terms.steps, share, params)
        for seat in unit.seats:
            moved[seat.verifier] += _verifier(unit, seat, share, params)
        bond = params.verifier_bond_multiple * share
        for node in _absent(unit):
            penalty = floor(Fraction(unit.price * params.absent_burn_ppm, MILLION))
            moved[node] -= min(penalty, bond)
    return moved


def _provider(unit: Unit, steps: int, params: Params) -> int:
    if unit.state == UnitState.PAID:
        assert unit.commit is not None
        gross = floor(Fraction(unit.price * unit.commit.steps, steps))
        return gross - floor(Fraction(gross * params.fee_ppm, MILLION))
    if unit.state == UnitState.LAPSED:
        assert unit.lost <= unit.price // 2
        return -unit.lost
    if unit.state == UnitState.SLASHED:
        assert unit.lost <= unit.price
        return -unit.lost
    return 0


def _requester(unit: Unit, steps: int, share: int, params: Params) -> int:
    heard = sum(seat.reveal is not None for seat in unit.seats)
    if unit.state == UnitState.PAID:
        assert unit.commit is not None
        return -floor(Fraction(unit.price * unit.commit.steps, steps)) - heard * share
    if unit.state == UnitState.VOID:
        return -heard * share
    if unit.state == UnitState.LAPSED:
        return unit.lost - share * sum(_counts(unit, seat) for seat in unit.seats)
    if unit.state == UnitState.SLASHED:
        burned = floor(Fraction(unit.lost * params.slash_burn_ppm, MILLION))
        accusers = sum(_counts(unit, seat) for seat in unit.seats)
        return unit.lost - burned - accusers * floor(Fraction(unit.lost - burned, accusers))
    return 0


def _verifier(unit: Unit, seat: Seat, share: int, params: Params) -> int:
    if unit.state in {UnitState.PAID, UnitState.VOID}:
        return share if seat.reveal is not None else 0
    if unit.state == UnitState.LAPSED:
        return share if _counts(unit, seat) else 0
    if unit.state != UnitState.SLASHED:
        return 0
    heard = [one for one in unit.seats if _counts(unit, one)]
    if seat not in heard:
        return 0
    burned = floor(Fraction(unit.lost * params.slash_burn_ppm, MILLION))
    return floor(Fraction(unit.lost - burned, len(heard)))


def _counts(unit: Unit, seat: Seat) -> bool:
    """Whether this seat shares in a conviction, or is paid where there was nothing to see."""
    judged = unit.reason in {"bad-work", "withheld-state", "wrong-start"}
    return (seat.reveal if judged else seat.sealed) is not None


def _absent(unit: Unit) -> list[NodeId]:
    """Everybody who was penalised over this unit, once for each time."""
    seated = {seat.verifier for seat in unit.seats}
    absent = sorted(unit.used - seated)  # Replaced by the refill.
    if unit.state in {UnitState.RUNNING, UnitState.COMMITTED, UnitState.SEATED}:
        return absent
    absent += [seat.verifier for seat in unit.seats if seat.sealed is None]
    judged = unit.state.settled and unit.reason not in {"optimizer-chain", "withheld-leaf"}
    if judged:
        absent += [seat.verifier for seat in unit.seats if seat.sealed and seat.reveal is None]
    return absent
