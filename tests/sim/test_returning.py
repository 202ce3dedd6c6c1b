"""Requesters that are away while their job goes on, in whole simulated nodes."""

import pytest

from dpin.sim.jobs import absent, belated


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
