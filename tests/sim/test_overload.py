"""Machines that cannot keep up: the simulation plays what it says, and its checks can fail.

`python -m scripts.nemesis --name overload` plays more of it.
"""

from dpin.base.units import Micros, MicroTokens, after
from dpin.ledger.accounts import UnitState
from dpin.sim.overload import Overload, Strain
from dpin.sim.timeline import BEGINNING
from dpin.sim.workers import TRAIN

LATE, A_MOMENT = 6, Micros(1)


def test_who_is_punished_for_being_slow_is_found() -> None:
    """A conviction, money that burned for nothing, and a job that keeps its escrow are named."""
    overload = Overload(LATE)
    assert overload.play().problems == []
    state = overload.works.node(0).peer.state
    unit = next(one for one in state.units.values() if one.state == UnitState.PAID)
    unit.state, unit.reason = UnitState.SLASHED, "withheld-state"
    job = overload.works.job()
    job.escrow = MicroTokens(job.escrow + 1)
    convicted, burned, kept = overload.wrong()
    assert "was convicted: withheld-state" in convicted
    assert "burned" in burned
    assert "keeps its money" in kept


def test_a_machine_under_strain_takes_longer_and_no_other() -> None:
    strain = Strain(
        [(BEGINNING, after(BEGINNING, TRAIN), 7), (BEGINNING, after(BEGINNING, A_MOMENT), 9)]
    )
    moments = (Micros(-1), Micros(0), A_MOMENT, TRAIN)
    assert [strain.factor(after(BEGINNING, it)) for it in moments] == [1, 9, 7, 1]
