"""Each check catches the bug that it is there for, and nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from dpin.base.crypto import digest
from dpin.base.machine import Blame, Store
from dpin.base.units import Instant, Micros, after, seconds
from dpin.sim import checks
from dpin.sim.checks import Committed
from dpin.sim.network import BAD, LAN
from dpin.sim.station import Body, Boot
from dpin.sim.timeline import BEGINNING, Check
from dpin.sim.world import Habits, World
from tests.support.toys import (
    SUPPLY,
    Keeper,
    Post,
    Signer,
    Silence,
    keeper,
    node,
    signed_block,
    signer,
)

A, B, C = NODES = (node(0), node(1), node(2))
HONEST = frozenset(NODES)


def later(value: float) -> Instant:
    return after(BEGINNING, seconds(value))


class Bent:
    """A keeper that goes wrong in one of its effects."""

    def __init__(self, records: Sequence[bytes], bend: Callable[[object], object]) -> None:
        self._inner = Keeper(B, records)
        self._bend = bend

    def step(self, event: object, now: Instant) -> Sequence[object]:
        return [self._bend(effect) for effect in self._inner.step(event, now)]


def bent(bend: Callable[[object], object]) -> Boot:
    return lambda records, _now: Body(Bent(records, bend), Silence())


def other_commit(effect: object) -> object:
    """Fork at height 3."""
    if isinstance(effect, Committed) and effect.height == 3:
        return replace(effect, commit=digest("toy", b"fork"))
    return effect


def other_root(effect: object) -> object:
    if isinstance(effect, Committed) and effect.height == 3:
        return replace(effect, state=digest("toy", b"fork"))
    return effect


def skipped_height(effect: object) -> object:
    if isinstance(effect, Committed) and effect.height >= 3:
        return replace(effect, height=effect.height + 1)
    return effect


def repeated_transaction(effect: object) -> object:
    again = (digest("toy", b"0"),)
    return replace(effect, transactions=again) if isinstance(effect, Committed) else effect


def minted_token(effect: object) -> object:
    return replace(effect, supply=SUPPLY + 1) if isinstance(effect, Committed) else effect


def unfair_blame(effect: object) -> object:
    return Blame(A, "looked at me") if isinstance(effect, Store) else effect


def played(boot: Boot, *some: Check) -> World:
    world = World(3, Habits(link=LAN), some)
    world.add(A, keeper(A))
    world.add(B, boot)
    for i in range(6):
        world.inject(A, Post(b"%d" % i), later(0.1 * i))
    world.timeline.at(later(0.4), lambda: world.crash(B))
    world.timeline.at(later(0.6), lambda: world.start(B))
    world.run(later(5))
    return world


def everything() -> list[Check]:
    return [
        checks.Agreement(HONEST),
        checks.States(HONEST),
        checks.Continuity(HONEST),
        checks.Conservation(HONEST, SUPPLY),
        checks.Fairness(HONEST),
    ]


def test_a_sound_world_has_no_problem() -> None:
    assert played(keeper(B), *everything()).trace.problems == []


@pytest.mark.parametrize(
    ("bend", "check"),
    [
        (other_commit, checks.Agreement(HONEST)),
        (other_root, checks.States(HONEST)),
        (skipped_height, checks.Continuity(HONEST)),
        (repeated_transaction, checks.Continuity(HONEST)),
        (minted_token, checks.Conservation(HONEST, SUPPLY)),
        (unfair_blame, checks.Fairness(HONEST)),
    ],
)
def test_a_planted_bug_is_caught(bend: Callable[[object], object], check: Check) -> None:
    problems = played(bent(bend), check).trace.problems
    assert len(problems) == 1
    assert problems[0].startswith(type(check).__name__)


@pytest.mark.parametrize("bend", [other_commit, other_root, skipped_height, minted_token])
def test_a_liar_is_not_held_to_the_rules(bend: Callable[[object], object]) -> None:
    some: list[Check] = [checks.Agreement(frozenset({A})), checks.States(frozenset({A}))]
    assert played(bent(bend), *some).trace.problems == []


def signers(boot: Boot, damage: Callable[[World], None]) -> list[str]:
    check = checks.OneBlockARound(frozenset({A}), lambda payload: signed_block(A, payload))
    world = World(1, Habits(), [check])
    world.add(B, signer(B, []))
    world.add(A, boot)
    for i in range(1, 20):
        world.timeline.at(later(i * 0.33), lambda: world.crash(A))
        world.timeline.at(later(i * 0.33 + 0.01), lambda: damage(world))
        world.timeline.at(later(i * 0.33 + 0.02), lambda: world.start(A))
    world.run(later(8))
    return world.trace.problems


def test_one_block_a_round_holds_across_crashes() -> None:
    assert signers(signer(A, NODES), lambda _: None) == []


def test_a_disk_that_loses_synced_records_is_caught() -> None:
    def damage(world: World) -> None:
        world.stations[A].disk.go_back(2)

    assert "two blocks in round 2" in signers(signer(A, NODES), damage)[0]


class Hasty:
    """Sends its block before that is durable."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self._inner = Signer([B], records)

    def step(self, event: object, now: Instant) -> Sequence[object]:
        effects = self._inner.step(event, now)
        return [Store(effect.record) if isinstance(effect, Store) else effect for effect in effects]


def test_a_block_sent_before_it_is_durable_is_caught() -> None:
    def boot(records: Sequence[bytes], _now: Instant) -> Body:
        return Body(Hasty(records), Silence())

    assert "two blocks" in signers(boot, lambda _: None)[0]


def test_what_never_arrives_is_missing_at_the_end() -> None:
    progress = checks.Progress(HONEST)
    world = World(1, Habits(link=BAD), [progress])
    for who in NODES:
        world.add(who, keeper(who))
    world.partition([A, B], [C])
    for i in range(6):
        world.inject(A, Post(b"%d" % i), later(i))
    world.run(later(30))
    assert progress.missing([A, B]) == []
    assert progress.missing([A, B, C])[0].startswith("Progress: 6 of 6 transactions are missing")
    world.heal(BAD)
    world.run(later(60))
    assert progress.missing(NODES) == []


def test_latency_counts_from_submission_to_the_first_commit() -> None:
    progress = checks.Progress(HONEST)
    world = World(1, Habits(), [progress])
    world.add(A, keeper(A))
    world.inject(A, Post(b"x"), later(1))
    world.run(later(2))
    assert progress.latencies() == [Micros(0)]
