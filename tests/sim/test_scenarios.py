"""Nodes under everything that can happen: no divergence, nothing lost, progress after."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dpin.base.codec import encode
from dpin.base.errors import Misuse
from dpin.base.ids import Digest, NodeId
from dpin.base.units import Instant, Micros
from dpin.ledger.replica import Silenced
from dpin.sim.checks import Committed
from dpin.sim.disk import DiskHabits
from dpin.sim.network import LAN
from dpin.sim.scenarios import NAMES, SKEW, USUAL, crashing, run
from dpin.sim.stage import Cast, Stage, since
from dpin.sim.station import AnyMachine, Body
from dpin.sim.timeline import Step
from dpin.sim.world import Habits

KEPT = [line.split() for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()]
SEEDS = range(1, 3)
DONE = ("committed", "units_paid", "slashed", "renewed", "refunded")
HASHED = ("crash", "nemesis", "private")
PRINT = f"""
from dpin.sim.scenarios import run
for name in {HASHED}:
    print(name, run(name, 5).digest, flush=True)
"""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_diverges_and_everything_gets_done(name: str, seed: int) -> None:
    report = run(name, seed)
    assert report.problems == []
    figures = report.figures
    assert figures.get("committed") == figures.get("transactions")
    assert sum(figures.get(done, 0) for done in DONE) > 0


@pytest.mark.parametrize(("name", "seed"), KEPT)
def test_a_seed_that_once_failed_holds(name: str, seed: str) -> None:
    assert run(name, int(seed)).problems == []


def test_only_who_cheats_or_vanishes_is_slashed() -> None:
    reports = [run("cheat", seed) for seed in (1, 2)]
    assert all(report.figures["units_slashed"] > 0 for report in reports)
    assert all(report.problems == [] for report in reports)


def under(hash_seed: str) -> "subprocess.Popen[str]":
    """All of HASHED in a process of their own; loading the simulator takes longer than any."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.Popen(  # noqa: S603  This interpreter, with a program from above.
        [sys.executable, "-c", PRINT], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_one_seed_is_one_history_in_every_process() -> None:
    """However Python hashes there: nothing follows the order of a set."""
    with under("1") as first, under("2") as second:
        printed = [process.communicate()[0].splitlines() for process in (first, second)]
    assert [line.split()[0] for line in printed[0]] == list(HASHED)
    assert printed[0] == printed[1]


def test_another_seed_is_another_history() -> None:
    assert run("quiet", 1).digest != run("quiet", 2).digest


def test_a_report_can_be_written_down() -> None:
    assert encode(run("quiet", 1))


def test_a_name_that_nobody_gave_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(Misuse, match="no simulation 'war'") as refused:
        run("war", 1)
    assert "quiet" in refused.value.fix


def everyone_forgets(stage: Stage) -> None:
    for node in stage.nodes:
        stage.world.crash(node)
        stage.world.stations[node].disk.go_back(0)
    for node in stage.nodes:
        stage.world.start(node)


def test_a_network_that_loses_all_its_synced_records_is_caught() -> None:
    stage = Stage("crash", 1, USUAL, Cast())
    stage.ask(20, since(1), since(8))
    stage.world.timeline.at(since(5), lambda: everyone_forgets(stage))
    problems = stage.finish(since(10)).problems
    assert problems[0].startswith(("Agreement", "OneBlockARound"))


class Forking:
    """A replica whose fifth commit is another one."""

    def __init__(self, inner: AnyMachine) -> None:
        self._inner = inner

    def step(self, event: object, now: Instant) -> Sequence[object]:
        effects = self._inner.step(event, now)
        return [self._bent(effect) for effect in effects]

    def _bent(self, effect: object) -> object:
        if isinstance(effect, Committed) and effect.height == 5:
            return replace(effect, commit=Digest(bytes(32)))
        return effect


def test_a_replica_that_forks_is_caught() -> None:
    stage = Stage("quiet", 1, USUAL, Cast())
    station = stage.world.stations[stage.nodes[2]]
    assert station.body is not None
    station.body = Body(Forking(station.body.machine), station.body.device)
    stage.ask(20, since(1), since(8))
    problems = stage.finish(since(10)).problems
    assert problems[0].startswith("Agreement")


def test_what_is_asked_too_late_to_be_done_is_missing() -> None:
    stage = Stage("quiet", 1, USUAL, Cast())
    stage.ask(20, since(1), since(8))
    stage.world.timeline.at(since(10.1), partial(cut_off, stage))
    stage.ask(3, since(10.2), since(11))
    problems = stage.finish(since(10)).problems
    assert problems[0].startswith("Progress: 3 of 23 transactions are missing")


def cut_off(stage: Stage) -> None:
    """The first validator hears nothing any more."""
    for other in stage.nodes[1:]:
        stage.world.network.deafen(other, stage.nodes[0])


VERY_SLOW = DiskHabits(Micros(50_000), Micros(400_000))


def test_a_driver_whose_messages_overtake_a_sync_is_caught() -> None:
    """After a crash another block is made in place of one that was served but never durable."""
    hasty = [crashing(seed, Habits(LAN, VERY_SLOW, SKEW, overtaking=True)) for seed in (4, 13)]
    found = [problem for report in hasty for problem in report.problems]
    assert any(problem.startswith("OneBlockARound") for problem in found)
    orderly = [crashing(seed, Habits(LAN, VERY_SLOW, SKEW)) for seed in (4, 13)]
    assert all(report.problems == [] for report in orderly)


class Silences:
    """A check that finds nothing and remembers who fell silent."""

    def __init__(self) -> None:
        self.nodes: list[NodeId] = []

    def see(self, step: Step) -> str | None:
        if isinstance(step.effect, Silenced):
            self.nodes.append(step.node)
        return None


def test_a_validator_with_an_old_log_falls_silent_and_follows() -> None:
    silences = Silences()
    stage = Stage("amnesia", 1, USUAL, Cast(forgetful=[0], watch=[silences]))
    stage.ask(20, since(1), since(8))
    node, world = stage.nodes[0], stage.world
    world.timeline.at(since(4), lambda: world.crash(node))
    world.timeline.at(since(4), lambda: world.stations[node].disk.go_back(3))
    world.timeline.at(since(5), lambda: world.start(node))
    assert stage.finish(since(10)).problems == []
    assert silences.nodes == [node]


def test_liars_are_seen_through() -> None:
    """Over some seeds every lie is told, and junk is blamed on nobody but the liar."""
    reports = [run("byzantine", seed) for seed in (3, 6)]
    assert all(report.problems == [] for report in reports)
    assert any(report.figures["blames"] for report in reports)
