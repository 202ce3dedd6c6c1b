"""A whole job whose rounds grow as the learning rate falls, really trained and really checked."""

from msgspec.structs import replace

from dpin.base.leaf import window_bounds
from dpin.ledger.accounts import UnitState
from tests.support.realworks import order, play

SEATS, ROUNDS, WINDOWS, STEPS = 2, 6, 8, 16


def test_shorter_units_are_whole_paid_by_their_steps_and_found_again_by_verifiers() -> None:
    wanted = order(SEATS)
    inner = replace(wanted.inner, steps=STEPS, steps_by_rate=True)
    played = play(replace(wanted, inner=inner, rounds=ROUNDS, windows=WINDOWS))
    assert played.outcome.problems == []
    works = played.works
    job, state = works.job(), works.node(0).peer.state
    assert not works.slashed()
    done = []
    for record in job.rounds:
        assert len(record.included) == SEATS
        units = [state.units[one.lease, record.round] for one in record.included]
        assert {unit.state for unit in units} == {UnitState.PAID}
        done.append({one.steps for one in record.included})
    bounds = window_bounds(STEPS, WINDOWS)
    assert done == [{bounds[windows]} for windows in (2, 3, 3, 3, 4, 6)]
