"""Two hundred worlds of troubles and liars: safety at every step, everything done after healing.

`python -m scripts.nemesis` plays more of them.
"""

from collections import Counter

import pytest

from dpin.sim.liars import colluding
from dpin.sim.nemesis import (
    ALL_LIES,
    END,
    PATIENCE,
    TROUBLES,
    cast_of,
    nemesis,
    running,
    staged,
)
from dpin.sim.stage import since
from dpin.sim.timeline import dice

GROUP = 10
SEEDS = range(0, 200, GROUP)


@pytest.mark.parametrize("first", SEEDS)
def test_no_trouble_divides_the_honest_and_all_is_done_after_healing(first: int) -> None:
    reports = [nemesis(seed) for seed in range(first, first + GROUP)]
    assert {report.seed: report.problems for report in reports if report.problems} == {}
    assert all(report.figures["committed"] for report in reports)


def test_the_seeds_meet_every_trouble_and_every_lie() -> None:
    """Also: liars in league, forgetful validators beside liars, and nobody at all."""
    troubles: Counter[str] = Counter()
    for seed in range(60):
        troubles.update(staged(seed).told)
    assert set(troubles) == set(TROUBLES), set(TROUBLES) - set(troubles)
    casts = [cast_of(dice(seed, "nemesis"))[0] for seed in range(200)]
    told = {id(lie) for cast in casts for lie in cast.lies.values()}
    assert {name for name, lie in ALL_LIES.items() if id(lie) not in told} == set()
    assert any(colluding in cast.lies.values() for cast in casts)
    assert any(cast.lies and cast.forgetful for cast in casts)
    assert any(not cast.lies and not cast.forgetful for cast in casts)
    assert all(3 * len({*cast.lies, *cast.forgetful}) < cast.members for cast in casts)


def test_epochs_change_in_the_middle_of_it() -> None:
    plot = staged(0)
    assert plot.stage.settle(since(END + 0.5), PATIENCE).problems == []
    replicas = [replica for node in plot.nodes if (replica := running(plot.stage, node))]
    epochs = {one.replica.engine.core.rules.committee.epoch for one in replicas}
    assert min(epochs) >= 1
