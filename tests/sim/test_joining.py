"""Nodes that join, stay away for epochs, or start from the state on their disk, among liars too."""

from dataclasses import dataclass, field
from functools import partial

import pytest

from dpin.base.codec import decode
from dpin.base.ids import NodeId
from dpin.base.machine import Roll
from dpin.ledger import closings
from dpin.ledger.annals import CLOSED, OPENING, STATE, Record
from dpin.ledger.replica import Resumed
from dpin.sim import station
from dpin.sim.deceivers import embezzle
from dpin.sim.ledgers import LedgerNode
from dpin.sim.stage import Cast, Stage, since
from dpin.sim.timeline import Step
from dpin.sim.world import Habits

EPOCH_MS = 2_000

pytestmark = pytest.mark.timeout(600)


@dataclass
class Seen:
    """What happened, of some kinds."""

    resumed: list[tuple[NodeId, Resumed]] = field(default_factory=list)
    rolls: list[tuple[NodeId, Roll]] = field(default_factory=list)

    def see(self, step: Step) -> str | None:
        if isinstance(step.effect, Resumed):
            self.resumed.append((step.node, step.effect))
        if isinstance(step.effect, Roll):
            self.rolls.append((step.node, step.effect))
        return None


def stage_of(seed: int, **changes: object) -> tuple[Stage, Seen]:
    seen = Seen()
    cast = Cast(watch=[seen], epoch_ms=EPOCH_MS, **changes)  # type: ignore[arg-type]
    stage = Stage("joining", seed, Habits(), cast)
    stage.ask(40, since(1), since(13))
    return stage, seen


def epoch_of(stage: Stage, node: NodeId) -> int:
    body = stage.world.stations[node].body
    assert body is not None
    assert isinstance(body.machine, LedgerNode)
    return body.machine.state.epoch


@pytest.mark.parametrize("seed", [1, 2])
def test_a_late_follower_joins_by_the_state_and_goes_on(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all validators have started again from logs that hold one handover alone."""
    monkeypatch.setattr(closings, "CARRIED", 1)
    monkeypatch.setattr(station, "UNFINISHED_ONE_IN", 1_000_000)  # An old log would hold more.
    stage, seen = stage_of(seed)
    for place, node in enumerate(stage.nodes if seed == 2 else ()):
        stage.world.timeline.at(since(6.3 + place / 3), partial(stage.world.crash, node))
        stage.world.timeline.at(since(6.5 + place / 3), partial(stage.world.start, node))
    stage.world.timeline.at(since(8), stage.join)
    report = stage.finish(since(14))
    assert report.problems == []
    follower = stage.follower.node_id
    joined = [one for node, one in seen.resumed if node == follower]
    assert joined
    assert joined[0].joined
    assert joined[0].height > 20
    assert epoch_of(stage, follower) > 4


def test_a_log_begins_anew_with_each_epoch() -> None:
    stage, seen = stage_of(3)
    report = stage.finish(since(14))
    assert report.problems == []
    assert len(seen.rolls) > 4 * 4
    for node, roll in seen.rolls:
        kinds = [decode(Record, record).kind for record in roll.records]
        closed = kinds.count(CLOSED)
        assert 0 < closed <= closings.CARRIED
        assert kinds == [*closed * [CLOSED], *(len(kinds) - closed - 1) * [STATE], OPENING]
        assert node in stage.nodes
    assert seen.resumed == []


def test_a_validator_starts_from_the_state_on_its_disk() -> None:
    stage, seen = stage_of(4)
    node = stage.nodes[1]
    for at in (5.3, 8.1, 11.7):
        stage.world.timeline.at(since(at), lambda: stage.world.crash(node))
        stage.world.timeline.at(since(at + 0.4), lambda: stage.world.start(node))
    report = stage.finish(since(14))
    assert report.problems == []
    assert [one.joined for who, one in seen.resumed if who == node] == 3 * [False]


def test_a_validator_that_was_away_for_epochs_joins_by_the_state() -> None:
    stage, seen = stage_of(5)
    node = stage.nodes[2]
    stage.world.timeline.at(since(3), lambda: stage.world.crash(node))
    stage.world.timeline.at(since(12), lambda: stage.world.start(node))
    report = stage.finish(since(14))
    assert report.problems == []
    assert any(one.joined for who, one in seen.resumed if who == node)
    epochs = {epoch_of(stage, one) for one in stage.nodes}
    assert max(epochs) - min(epochs) <= 1


def test_a_liar_about_states_is_blamed_and_does_no_harm() -> None:
    blamed: set[NodeId] = set()
    for seed in range(6, 14):  # Whether the newcomer asks the liar at all is drawn too.
        stage, seen = stage_of(seed, lies={0: embezzle})
        stage.world.timeline.at(since(8), stage.join)
        report = stage.finish(since(14))
        assert report.problems == []
        assert [one.joined for who, one in seen.resumed if who == stage.follower.node_id] == [True]
        blamed = {blame.peer for _, blame in stage.world.blames}
        assert blamed <= {stage.nodes[0]}
        if blamed:
            break
    assert blamed
