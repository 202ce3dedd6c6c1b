"""Requesters that are away while their job goes on, in whole simulated nodes."""

from functools import partial

import pytest

from dpin.base.units import after, seconds
from dpin.ledger.views import ended_in
from dpin.sim.jobs import Works, _clear, absent, belated, training
from dpin.sim.kills import Kill
from dpin.sim.stage import since


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_requester_that_was_away_goes_on_though_nobody_has_the_updates_it_missed(
    seed: int,
) -> None:
    report = absent(seed)
    assert report.problems == []
    assert report.figures["units_paid"] == 40


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_requester_that_is_back_after_its_job_has_ended_gets_its_model(seed: int) -> None:
    report = belated(seed)
    assert report.problems == []
    assert report.figures["units_paid"] == 8


@pytest.mark.parametrize("seed", [1, 2])
def test_a_masked_job_that_has_ended_is_taken_as_the_seats_say_it_ended(seed: int) -> None:
    works = Works("masked-belated", seed, training(3, "secagg"))
    back = since(90)
    works.crash(works.nodes[0], since(14), back)
    works.world.timeline.at(back, partial(_clear, works, states=False))
    assert works.finish(after(back, seconds(1))).problems == []
    own = works.own
    assert own.merging is not None
    assert own.merging.state_hash == ended_in(works.job()) is not None
    assert own.merging.states.keys() == {3}  # Nothing of the rounds before is made up.


def test_a_requester_killed_before_its_job_has_providers_proposes_it_again() -> None:
    kill = Kill("requester", 0, seed=1)
    report = kill.play()
    assert kill.killer.killed == "KeepData"
    assert report.problems == []
    assert report.figures["units_paid"] == 8
    assert kill.killer.works is not None
    assert len(kill.killer.works.own.given_up) == 1
