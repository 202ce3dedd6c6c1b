"""The simulated world does to machines what production may do to them, and only that."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dpin.base.machine import PeerDown, PeerUp, Received, Send, Store, Tick, Wake
from dpin.base.units import Instant, Micros, after, seconds
from dpin.sim.disk import DiskHabits
from dpin.sim.network import BAD, LAN, LinkHabits
from dpin.sim.station import Body, Booted, Crashed
from dpin.sim.timeline import BEGINNING, CROWD_MAX, Step, dice
from dpin.sim.world import Habits, World
from tests.support.toys import Post, Silence, keeper, node

A, B, C = node(0), node(1), node(2)
HALF_SECOND = DiskHabits(Micros(500_000), Micros(500_000))


def later(value: float) -> Instant:
    return after(BEGINNING, seconds(value))


@dataclass(slots=True)
class Diary:
    """A machine that writes down what happens to it and answers from a script."""

    answers: dict[object, Sequence[object]] = field(default_factory=dict)
    events: list[tuple[Instant, object]] = field(default_factory=list)

    def step(self, event: object, now: Instant) -> Sequence[object]:
        self.events.append((now, event))
        return self.answers.get(event, [])

    def body(self, records: Sequence[bytes], now: Instant) -> Body:
        self.events.append((now, tuple(records)))
        return Body(self, Silence())

    def kinds(self, kind: type) -> list[object]:
        return [event for _, event in self.events if isinstance(event, kind)]


class Watch:
    """A check that finds nothing and remembers all."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def see(self, step: Step) -> str | None:
        self.steps.append(step)
        return None


def pair(habits: Habits, **answers: Sequence[object]) -> tuple[World, Diary, Diary]:
    near = Diary({Post(name.encode()): effects for name, effects in answers.items()})
    far, world = Diary(), World(1, habits)
    world.add(A, near.body)
    world.add(B, far.body)
    world.run(later(1))
    return world, near, far


def test_both_ends_learn_of_a_connection_before_anything_arrives() -> None:
    _, near, far = pair(Habits())
    assert near.kinds(PeerUp) == [PeerUp(B)]
    assert far.kinds(PeerUp) == [PeerUp(A)]


def test_a_synced_batch_leaves_when_its_records_are_durable() -> None:
    effects = [Send(B, b"block"), Store(b"block", sync=True)]
    world, _, far = pair(Habits(disk=HALF_SECOND), block=effects)
    world.inject(A, Post(b"block"), later(1))
    world.run(later(1.49))
    assert far.kinds(Received) == []
    world.run(later(1.6))
    assert far.kinds(Received) == [Received(A, b"block")]


def heard_in_order(habits: Habits) -> list[object]:
    first = [Store(b"block", sync=True), Send(B, b"block")]
    world, _, far = pair(habits, first=first, second=[Send(B, b"hello")])
    world.inject(A, Post(b"first"), later(1))
    world.inject(A, Post(b"second"), later(1.1))
    world.run(later(2))
    return far.kinds(Received)


def test_a_batch_without_a_sync_waits_behind_one_that_syncs() -> None:
    link = LinkHabits(Micros(1), Micros(1))
    order = [Received(A, b"block"), Received(A, b"hello")]
    assert heard_in_order(Habits(link, HALF_SECOND)) == order
    assert heard_in_order(Habits(link, HALF_SECOND, overtaking=True)) == order[::-1]


def test_a_crash_before_the_sync_sends_nothing() -> None:
    effects = [Store(b"block", sync=True), Send(B, b"block")]
    world, near, far = pair(Habits(disk=HALF_SECOND), block=effects)
    world.inject(A, Post(b"block"), later(1))
    world.run(later(1.2))
    world.crash(A)
    world.start(A)
    world.run(later(3))
    assert far.kinds(Received) == []
    assert near.kinds(tuple)[-1] in {(), (b"block",)}


def test_what_was_synced_is_there_after_a_crash() -> None:
    effects = [Store(b"one"), Store(b"two", sync=True)]
    world, near, _ = pair(Habits(disk=HALF_SECOND), block=effects)
    world.inject(A, Post(b"block"), later(1))
    world.run(later(2))
    world.crash(A)
    world.start(A)
    assert near.kinds(tuple) == [(), (b"one", b"two")]


def test_a_crashed_node_neither_hears_nor_ticks_until_it_starts() -> None:
    world, near, far = pair(Habits(), wake=[Wake(later(2))], talk=[Send(B, b"x")])
    world.inject(A, Post(b"wake"), later(1))
    world.run(later(1.5))
    world.crash(A)
    before = len(near.events)
    world.run(later(3))
    assert len(near.events) == before
    assert far.kinds(PeerDown) == [PeerDown(A)]
    world.start(A)
    world.run(later(4))
    assert far.kinds(PeerUp) == [PeerUp(A), PeerUp(A)]


def test_a_restart_faster_than_the_notice_is_told_as_down_and_up() -> None:
    world, _, far = pair(Habits())
    world.crash(A)
    world.start(A)
    world.run(later(2))
    assert far.kinds(PeerDown) == [PeerDown(A)]
    assert len(far.kinds(PeerUp)) == 2


def test_a_partition_loses_messages_and_tells_both_ends() -> None:
    world, near, far = pair(Habits(), talk=[Send(B, b"x")])
    world.partition([A], [B])
    world.inject(A, Post(b"talk"), later(1.1))
    world.run(later(2))
    assert far.kinds(Received) == []
    assert (near.kinds(PeerDown), far.kinds(PeerDown)) == ([PeerDown(B)], [PeerDown(A)])
    world.heal(LAN)
    world.inject(A, Post(b"talk"), later(3))
    world.run(later(4))
    assert far.kinds(Received) == [Received(A, b"x")]


def test_a_deaf_direction_loses_messages_and_tells_nobody() -> None:
    world, _, far = pair(Habits(), talk=[Send(B, b"x")])
    world.network.deafen(A, B)
    world.inject(A, Post(b"talk"), later(1.1))
    world.run(later(2))
    assert far.kinds(Received) + far.kinds(PeerDown) == []


def test_a_lossy_link_loses_some_and_repeats_some() -> None:
    link = LinkHabits(Micros(1), Micros(90_000), loss_ppm=300_000, twice_ppm=300_000)
    world, _, far = pair(Habits(link=link), **{f"n{i}": [Send(B, b"%d" % i)] for i in range(200)})
    for i in range(200):
        world.inject(A, Post(b"n%d" % i), later(1 + i / 1_000))
    world.run(later(3))
    heard = [event.payload for event in far.kinds(Received) if isinstance(event, Received)]
    assert 100 < len(set(heard)) < 180
    assert len(heard) > len(set(heard))
    assert heard != sorted(heard, key=int)


def test_a_timer_fires_at_the_soonest_wish_by_the_nodes_own_clock() -> None:
    world, near, _ = pair(Habits(), wake=[Wake(later(9)), Wake(later(5)), Wake(later(7))])
    world.jump(A, seconds(2))
    world.inject(A, Post(b"wake"), later(2))
    near.events.clear()
    world.run(later(20))
    ticks = [now for now, event in near.events if event == Tick()]
    assert later(5) <= ticks[0] <= later(5.01)
    assert len(ticks) <= 2, "one timer: later wishes must be wished again"


def test_clocks_disagree_as_far_as_they_may() -> None:
    _, near, far = pair(Habits(skew_max=seconds(1)))
    skews = [diary.events[0][0] - BEGINNING for diary in (near, far)]
    assert skews[0] != skews[1]
    assert all(abs(skew) <= seconds(1) for skew in skews)


def test_machines_that_answer_each_other_in_a_circle_are_a_problem() -> None:
    answers: dict[object, Sequence[object]] = {Received(A, b"x"): [Send(A, b"x")]}
    near, far = Diary({Received(B, b"x"): [Send(B, b"x")]}), Diary(answers)
    near.answers[Post(b"go")] = [Send(B, b"x")]
    world = World(1, Habits(link=LinkHabits(Micros(0), Micros(0))))
    world.add(A, near.body)
    world.add(B, far.body)
    world.inject(A, Post(b"go"), later(1))
    world.run(later(2))
    assert len(world.trace.problems) == 1
    assert world.timeline.steps >= CROWD_MAX


def test_checks_see_every_effect_and_every_life() -> None:
    watch = Watch()
    world = World(1, Habits(), [watch])
    diary = Diary({Post(b"go"): [Store(b"r"), Send(B, b"x")]})
    world.add(A, diary.body)
    world.inject(A, Post(b"go"), later(1))
    world.run(later(2))
    world.crash(A)
    assert [step.effect for step in watch.steps] == [
        Booted(1, 0),
        Store(b"r"),
        Send(B, b"x"),
        Crashed(1),
    ]


def play(seed: int) -> World:
    world = World(seed, Habits(link=BAD, skew_max=seconds(0.1)))
    for who in (A, B, C):
        world.add(who, keeper(who))
    for i in range(30):
        world.inject(A, Post(b"%d" % i), later(i / 20))
    world.timeline.at(later(0.5), lambda: world.crash(B))
    world.timeline.at(later(1.0), lambda: world.start(B))
    world.run(later(20))
    return world


def test_one_seed_is_one_history() -> None:
    assert play(7).trace.digest == play(7).trace.digest
    assert play(7).trace.digest != play(8).trace.digest


def test_one_concerns_dice_do_not_move_anothers() -> None:
    network, disk = dice(1, "network", A), dice(1, "disk", A)
    alone = [dice(1, "disk", A).below(100) for _ in range(1)]
    network.below(100)
    assert [disk.below(100)] == alone
    assert [dice(1, "disk", who).below(10**9) for who in (A, B)] != [
        dice(1, "network", who).below(10**9) for who in (A, B)
    ]
