"""Everything at once, drawn from the seed: a few troubles, a few liars, fewer than a third of all.

A trouble happens to the network, the disks or the clocks between two moments; then all is healed.
Safety must hold at every step, and what clients asked for must be done soon after the healing. A
validator that comes back with another log than it had counts as faulty, though its node is honest:
it falls silent for an epoch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from dpin.base.chance import Chance
from dpin.base.ids import NodeId, Round
from dpin.base.units import TOKEN, Instant, Micros, MicroTokens, after, seconds
from dpin.ledger.candidacy import BondValidator, RetireValidator
from dpin.ledger.dag import SUSPENDED_MAX
from dpin.ledger.genesis import COMMITTEE_MIN
from dpin.ledger.transactions import Operation
from dpin.sim.deceivers import DECEITS
from dpin.sim.disk import FAST, SLOW
from dpin.sim.ledgers import LedgerNode
from dpin.sim.liars import LIES, colluding
from dpin.sim.network import BAD, LAN, WAN, LinkHabits
from dpin.sim.stage import Cast, Lie, Report, Stage, since
from dpin.sim.timeline import dice
from dpin.sim.world import Habits

TRANSFERS: Final = 12
ALL_LIES: Final = {**LIES, **DECEITS}
BEGIN: Final = 1.0  # seconds
END: Final = 6.0
PATIENCE: Final[Micros] = seconds(45)
SIZES: Final = (4, 4, 4, 4, 4, 4, 5, 5, 6, 7)  # from six on weights may differ
EPOCHS_MS: Final = (2_000, 3_000, 5_000, 60_000)  # most runs change epoch in the middle of it all
ROT: Final = -1  # instead of a number of records
POLL: Final[Micros] = seconds(0.25)
DOUBLING: Final = LinkHabits(Micros(1_000), Micros(400_000), twice_ppm=400_000)
LATE: Final = LinkHabits(Micros(260_000), Micros(420_000))  # just over the leader's time-out
TARGETED: Final = LinkHabits(Micros(300_000), Micros(600_000))
NOISY: Final = LinkHabits(Micros(1_000), Micros(10_000), flip_ppm=3_000)
BONDED_MAX: Final = 500 * TOKEN
LOSSY: Final = LinkHabits(Micros(1_000), Micros(20_000), loss_ppm=250_000)


@dataclass(slots=True)
class Plot:
    """What is going to happen on a stage."""

    stage: Stage
    chance: Chance
    faulty: int  # so many lie, or forget
    told: list[str] = field(default_factory=list)  # names of the troubles

    @property
    def nodes(self) -> Sequence[NodeId]:
        """The founders."""
        return self.stage.nodes

    def moment(self) -> Instant:
        """Some time in the troubled part."""
        return Instant(since(BEGIN) + self.chance.below(seconds(END - BEGIN)))

    def at(self, when: Instant, action: Callable[[], None]) -> None:
        """Do this when the time comes."""
        self.stage.world.timeline.at(when, action)

    def one(self) -> NodeId:
        """Some founder."""
        return self.chance.chosen(self.nodes, 1)[0]

    def soon(self, when: Instant, limit: float) -> Instant:
        """Some time after `when`, at most so many seconds."""
        return after(when, Micros(1 + self.chance.below(seconds(limit))))

    def crash(self, node: NodeId, when: Instant) -> Instant:
        """Crash a node, start it within two seconds; returns when."""
        back = self.soon(when, 2)
        self.at(when, partial(self.stage.world.crash, node))
        self.at(back, partial(self.stage.world.start, node))
        return back


Trouble = Callable[[Plot], None]


def crashes(plot: Plot) -> None:
    """Some nodes crash at some moments: torn tails, unsynced records lost."""
    for _ in range(3):
        plot.crash(plot.one(), plot.moment())


def crash_loop(plot: Plot) -> None:
    """One node crashes again and again."""
    node, when = plot.one(), plot.moment()
    for _ in range(5):
        when = plot.soon(plot.crash(node, when), 0.5)


def mass_restart(plot: Plot) -> None:
    """All crash at once."""
    when = plot.moment()
    for node in plot.nodes:
        plot.crash(node, when)


def failing_sync(plot: Plot) -> None:
    """A sync fails: the node must end before anything that it covers is said."""
    node, when = plot.one(), plot.moment()

    plot.at(when, partial(_fill, plot, node))
    for wait in range(1, 4):
        plot.at(after(when, seconds(wait)), partial(plot.stage.world.start, node))


def full_disk(plot: Plot) -> None:
    """No sync succeeds for four seconds, however often the node is started."""
    node, when = plot.one(), plot.moment()
    for half in range(8):
        start = after(when, seconds(half / 2))
        plot.at(start, partial(plot.stage.world.start, node))
        plot.at(start, partial(_fill, plot, node))
    plot.at(after(when, seconds(4)), partial(_make_room, plot, node))


def _fill(plot: Plot, node: NodeId) -> None:
    plot.stage.world.stations[node].disk.sync_fails = True


def _make_room(plot: Plot, node: NodeId) -> None:
    plot.stage.world.stations[node].disk.sync_fails = False
    plot.stage.world.start(node)


def clocks(plot: Plot) -> None:
    """Clocks jump, forward and back, by a minute or by a century."""
    for _ in range(3):
        size = plot.chance.chosen([1, 60, 86_400, 3_000_000_000], 1)[0]
        sign = 1 if plot.chance.below(2) else -1
        node, when = plot.one(), plot.moment()
        by = seconds(sign * min(size, 1_000_000_000) if sign < 0 else size)
        plot.at(when, partial(plot.stage.world.jump, node, by))


def halves(plot: Plot) -> None:
    """The network falls in two, and heals."""
    mixed = plot.chance.chosen(plot.nodes, len(plot.nodes))
    size, when = 1 + plot.chance.below(len(mixed) - 1), plot.moment()
    plot.at(when, partial(plot.stage.world.partition, mixed[:size], mixed[size:]))
    plot.at(plot.soon(when, 4), partial(_mend, plot, mixed))


def one_way(plot: Plot) -> None:
    """Some directions lose everything, and nobody is told."""
    for _ in range(3):
        source, target = plot.chance.chosen(plot.nodes, 2)
        plot.at(plot.moment(), partial(plot.stage.world.network.deafen, source, target))


def swizzle(plot: Plot) -> None:
    """One after the other is cut off; then each is let back, in another order."""
    when = plot.moment()
    world, size = plot.stage.world, len(plot.nodes)
    for node in plot.chance.chosen(plot.nodes, size):
        when = plot.soon(when, 0.6)
        plot.at(when, partial(_isolate, plot, node))
    for node in plot.chance.chosen(plot.nodes, size):
        when = plot.soon(when, 0.6)
        plot.at(when, partial(_mend, plot, [node]))
    plot.at(when, world.wires.tell)


def _isolate(plot: Plot, node: NodeId) -> None:
    plot.stage.world.partition([node], [other for other in plot.nodes if other != node])


def _mend(plot: Plot, nodes: Sequence[NodeId]) -> None:
    for node in nodes:
        plot.stage.world.network.mend(node)
    plot.stage.world.wires.tell()


def slow_validator(plot: Plot) -> None:
    """What one node says arrives just after everybody has given up waiting."""
    node = plot.one()
    plot.at(plot.moment(), partial(_tune, plot, node, LATE))


def chased_leaders(plot: Plot) -> None:
    """Whoever leads the next rounds is slow: the network knows the schedule, and spites it."""
    when = since(BEGIN)
    while when < since(END):
        plot.at(when, partial(_chase, plot))
        when = after(when, POLL)


def _chase(plot: Plot) -> None:
    world = plot.stage.world
    habits = world.network.habits
    for node in plot.nodes:
        _tune(plot, node, habits)
    replicas = [replica for node in plot.nodes if (replica := running(plot.stage, node))]
    if replicas:
        core = max((it.replica.engine.core for it in replicas), key=lambda it: it.dag.highest)
        committee = core.rules.committee
        for ahead in (0, 1, 2):
            leader = committee.leader(Round(core.dag.highest + ahead))
            _tune(plot, committee.members[leader], TARGETED)


def _tune(plot: Plot, node: NodeId, habits: LinkHabits) -> None:
    for other in plot.nodes:
        if other != node:
            plot.stage.world.network.tune((node, other), habits)


def doubling(plot: Plot) -> None:
    """Messages come twice, and overtake one another by far."""
    plot.at(plot.moment(), partial(_habits, plot, DOUBLING))


def losses(plot: Plot) -> None:
    """A quarter of all messages is lost."""
    plot.at(plot.moment(), partial(_habits, plot, LOSSY))


def flips(plot: Plot) -> None:
    """One message in three hundred has a bit changed: what is encrypted loses its connection."""
    plot.at(plot.moment(), partial(_habits, plot, NOISY))


def absence(plot: Plot) -> None:
    """A node is away for so long that it may have to join by a state."""
    node, when = plot.one(), plot.moment()
    plot.at(when, partial(plot.stage.world.crash, node))
    plot.at(after(when, seconds(5)), partial(plot.stage.world.start, node))


def bonds(plot: Plot) -> None:
    """Honest validators bond more, by unequal amounts: weights differ from the next epoch on."""
    for node in plot.chance.chosen(_honest(plot), 2):
        amount = MicroTokens(1 + plot.chance.below(BONDED_MAX))
        plot.at(plot.moment(), partial(_want, plot, node, BondValidator(amount)))


def departure(plot: Plot) -> None:
    """An honest validator retires: where enough are left, the next committee is smaller."""
    left = len(plot.nodes) - 1
    if left >= COMMITTEE_MIN and 3 * plot.faulty < left:
        [node] = plot.chance.chosen(_honest(plot), 1)
        plot.at(plot.moment(), partial(_want, plot, node, RetireValidator()))


def _honest(plot: Plot) -> list[NodeId]:
    return [node for node in plot.nodes if node in plot.stage.honest]


def _want(plot: Plot, node: NodeId, operation: Operation) -> None:
    [key] = [key for key in plot.stage.founding.keys if key.node_id == node]
    plot.stage.want(key, operation)


def _habits(plot: Plot, habits: LinkHabits) -> None:
    plot.stage.world.network.habits = habits


TROUBLES: Final[dict[str, Trouble]] = {
    "crashes": crashes,
    "crash-loop": crash_loop,
    "mass-restart": mass_restart,
    "failing-sync": failing_sync,
    "full-disk": full_disk,
    "clocks": clocks,
    "halves": halves,
    "one-way": one_way,
    "swizzle": swizzle,
    "slow-validator": slow_validator,
    "chased-leaders": chased_leaders,
    "doubling": doubling,
    "losses": losses,
    "flips": flips,
    "absence": absence,
    "bonds": bonds,
    "departure": departure,
}


def forget(plot: Plot, node: NodeId, records: int | None = None) -> None:
    """A validator comes back with an old copy of its log, with none, or finds that it rots."""
    world, when = plot.stage.world, plot.moment()
    kept = records if records is not None else plot.chance.chosen([ROT, ROT, 0, 0, 1, 5, 30], 1)[0]
    back = plot.soon(when, 2)

    def lose_records() -> None:
        world.crash(node)
        disk = world.stations[node].disk
        if kept == ROT:
            disk.rot()
        else:
            disk.go_back(kept)

    plot.at(when, lose_records)
    plot.at(back, partial(world.start, node))
    plot.at(after(back, seconds(0.5)), partial(_mend_log, plot, node))


def _mend_log(plot: Plot, node: NodeId) -> None:
    """What its operator does where a log refuses to open: moves it away."""
    station = plot.stage.world.stations[node]
    if station.body is None and station.disk.recover() is None:
        station.disk.go_back(0)
        plot.stage.world.start(node)


def running(stage: Stage, node: NodeId) -> LedgerNode | None:
    """The honest replica of a node, while it runs."""
    body = stage.world.stations[node].body
    machine = body.machine if body is not None else None
    return machine if isinstance(machine, LedgerNode) else None


def bounded(stage: Stage) -> None:
    """No peer fills an honest node's memory with blocks that wait."""
    limit = SUSPENDED_MAX * len(stage.nodes)
    for node in stage.honest:
        replica = running(stage, node)
        if replica is not None and sum(1 for _ in replica.replica.engine.core.dag.waiting) > limit:
            stage.world.trace.problems.append("Bounds: too many blocks wait")


def cast_of(chance: Chance) -> tuple[Cast, bool]:
    """Who takes part, and whether the liars are in league."""
    members = chance.chosen(SIZES, 1)[0]
    faulty = chance.below((members - 1) // 3 + 1)
    league = faulty > 0 and chance.below(4) == 0
    everybody = list(range(members))
    bad = chance.chosen(everybody, faulty)
    kinds: list[Lie] = [ALL_LIES[name] for name in ALL_LIES]
    lies = {index: colluding if league else chance.chosen(kinds, 1)[0] for index in bad}
    left = (members - 1) // 3 - faulty
    honest = [index for index in everybody if index not in lies]
    forgetful = chance.chosen(honest, left) if chance.below(2) else []
    epoch_ms = chance.chosen(EPOCHS_MS, 1)[0]
    return Cast(members=members, lies=lies, forgetful=forgetful, epoch_ms=epoch_ms), league


def nemesis(seed: int) -> Report:
    """A few troubles and liars, drawn from the seed."""
    return staged(seed).stage.settle(since(END + 0.5), PATIENCE)


def staged(seed: int) -> Plot:
    """The stage of a seed, and all that is going to happen on it."""
    chance = dice(seed, "nemesis")
    cast, league = cast_of(chance)
    habits = Habits(
        chance.chosen([LAN, LAN, WAN, BAD], 1)[0],
        chance.chosen([FAST, SLOW], 1)[0],
        seconds(chance.chosen([0, 1, 300], 1)[0]),
    )
    stage = Stage("nemesis", seed, habits, cast)
    stage.ask(TRANSFERS, since(0.5), since(END))
    plot = Plot(stage, chance, len({*cast.lies, *cast.forgetful}))
    for index in cast.forgetful:
        forget(plot, stage.nodes[index])
    if league:
        _divide(plot, sorted(cast.lies))
    for name in chance.chosen(list(TROUBLES), 1 + chance.below(3)):
        plot.told.append(name)
        TROUBLES[name](plot)
    for step in range(int(END / 0.5)):
        plot.at(since(step / 2), partial(bounded, stage))
    return plot


def _divide(plot: Plot, liars: Sequence[int]) -> None:
    """Cut the honest in two; the liars speak with both sides, and say to each what it likes."""
    middle, when = len(plot.nodes) // 2, plot.moment()
    honest = [at for at in range(len(plot.nodes)) if at not in liars]
    near = [plot.nodes[at] for at in honest if at < middle]
    far = [plot.nodes[at] for at in honest if at >= middle]
    plot.at(when, partial(plot.stage.world.partition, near, far))
    plot.at(plot.soon(when, 4), partial(_mend, plot, plot.nodes))
