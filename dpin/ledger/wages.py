"""What single units of jobs have brought an account, or cost it, as they are settled."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from dpin.base.ids import NodeId
from dpin.ledger.accounts import State, Unit, UnitState
from dpin.ledger.order import Receipt
from dpin.ledger.settlement import unit_subject
from dpin.ledger.views import checkers

WORK: Final = "work"
CHECK: Final = "check"


class Wage(NamedTuple):
    """Tokens for one unit: of whom, for which round, and why they were lost, if so."""

    what: str  # WORK or CHECK
    requester: NodeId
    memo: bytes
    change: int
    reason: str  # "ok", or why the bond paid


def wages(state: State, account: NodeId, receipts: Sequence[Receipt]) -> Iterator[Wage]:
    """What the units settled by these receipts gave an account that worked on or checked them."""
    settled = {receipt.subject for receipt in receipts if receipt.code >= UnitState.PAID}
    for key in sorted(state.units) if settled else ():
        found = [wage for wage in _of_unit(state, account, state.units[key]) if wage.change]
        if found and unit_subject(*key) in settled:
            yield from found


def _of_unit(state: State, account: NodeId, unit: Unit) -> Iterator[Wage]:
    job = state.jobs[state.leases[unit.lease].job]
    memo = b"job %b, round %d" % (job.id.hex()[:8].encode(), unit.round + 1)
    worked, checked = _of_provider(state, account, unit), _of_verifier(state, account, unit)
    yield Wage(WORK, job.requester, memo, worked, unit.reason if worked < 0 else "ok")
    yield Wage(CHECK, job.requester, memo, checked, "ok")


def _of_provider(state: State, account: NodeId, unit: Unit) -> int:
    mine = state.leases[unit.lease].provider == account
    return unit.paid - unit.lost if mine and unit.state.settled else 0


def _of_verifier(state: State, account: NodeId, unit: Unit) -> int:
    if unit.state not in {UnitState.PAID, UnitState.VOID, UnitState.LAPSED}:
        return 0
    verifiers = max(1, state.jobs[state.leases[unit.lease].job].propose.verifiers)
    return checkers(unit).count(account) * (unit.verifier_fee // verifiers)
