"""Two hundred worlds of troubles and liars: safety at every step, everything done after healing.

`python -m scripts.nemesis` plays more of them.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial

import pytest

from dpin.base.units import after, seconds
from dpin.sim.liars import colluding
from dpin.sim.nemesis import (
    ALL_LIES,
    END,
    NOISY,
    PATIENCE,
    ROT,
    TROUBLES,
    Plot,
    bonds,
    cast_of,
    departure,
    forget,
    nemesis,
    running,
    staged,
)
from dpin.sim.network import LAN
from dpin.sim.stage import Cast, Stage, since
from dpin.sim.station import Refused
from dpin.sim.timeline import Check, Step, dice
from dpin.sim.world import Habits

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


def plot_of(members: int, *watch: Check) -> Plot:
    """Nothing happens but what a test says."""
    stage = Stage(
        "nemesis", 1, Habits(), Cast(members, forgetful=(0,), watch=watch, epoch_ms=2_000)
    )
    stage.ask(6, since(0.5), since(END))
    return Plot(stage, dice(1, "nemesis"), 0)


def test_weights_come_to_differ_and_committees_to_change() -> None:
    plot = plot_of(7)
    bonds(plot)
    departure(plot)
    assert plot.stage.settle(since(END + 0.5), PATIENCE).problems == []
    replica = running(plot.stage, plot.nodes[0])
    assert replica is not None
    engine = replica.replica.engine
    committees = [engine.annals.committee(epoch) for epoch in range(engine.core.epoch + 1)]
    weights = [committee.weights for committee in committees if committee is not None]
    assert {len(one) for one in weights} == {6, 7}
    assert any(len(set(one)) > 1 for one in weights)


@dataclass
class Rotten:
    """Counts logs that would not open."""

    found: int = 0

    def see(self, step: Step) -> str | None:
        self.found += isinstance(step.effect, Refused)
        return None


def test_a_log_in_which_a_bit_flips_does_not_open_and_its_node_comes_back_without() -> None:
    rotten = Rotten()
    plot = plot_of(4, rotten)
    plot.stage.world.timeline.at(since(3), partial(forget, plot, plot.nodes[0], ROT))
    report = plot.stage.settle(since(END + 4), PATIENCE)
    assert report.problems == []
    assert rotten.found
    assert running(plot.stage, plot.nodes[0]) is not None


def test_a_bit_that_flips_on_the_wire_ends_a_connection_that_is_made_again() -> None:
    plot = plot_of(4)
    world = plot.stage.world
    world.network.habits = replace(NOISY, flip_ppm=50_000)
    world.run(since(3))
    before = world.wires.counts.sent
    world.heal(LAN)
    world.run(after(since(3), seconds(1)))
    assert all(len(world.stations[node].peers) == 3 for node in plot.nodes)
    assert before - world.wires.counts.delivered > 0
    assert world.trace.problems == []
