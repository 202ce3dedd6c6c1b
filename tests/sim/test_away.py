"""A requester that is away while its job is done, until its network has other epochs."""

import pytest

from dpin.base.units import after, seconds
from dpin.sim.jobs import Works, training
from dpin.sim.stage import since

AWAY = seconds(240)
EPOCHS_MIN = 3  # then it catches up by a state, whose records are all new

pytestmark = pytest.mark.timeout(600)


def test_a_requester_that_was_away_for_epochs_has_its_model_when_it_is_back() -> None:
    works = Works("away", 1, training(2))
    gone, back = since(16), after(since(16), AWAY)
    works.crash(works.nodes[0], gone, back)
    report = works.finish(after(back, seconds(5)))
    assert report.problems == []  # The job is done, and all have come to the same states.
    assert works.node(1).peer.state.epoch >= EPOCHS_MIN
    assert report.figures["units_paid"] == 2 * works.job().propose.rounds
