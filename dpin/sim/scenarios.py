"""Simulations by name. Each takes a seed, which decides every detail, and gives a report."""

from collections.abc import Callable
from typing import Final

from dpin.base.errors import Misuse
from dpin.base.ids import NodeId
from dpin.base.units import Instant, Micros, after, seconds
from dpin.sim.crimes import TRIALS
from dpin.sim.disk import FAST, SLOW
from dpin.sim.faults import Twins
from dpin.sim.forgeries import FORGERIES
from dpin.sim.jobs import absent, belated, cheat, evaluation, jobs, late, private, sealed
from dpin.sim.kills import kills
from dpin.sim.lapses import LAPSES
from dpin.sim.ledgers import LedgerNode
from dpin.sim.liars import babble, replay, some_others, withhold
from dpin.sim.nemesis import nemesis
from dpin.sim.network import BAD, LAN, WAN
from dpin.sim.overload import overload
from dpin.sim.stage import MEMBERS, Cast, Lie, Report, Stage, since
from dpin.sim.station import AnyMachine
from dpin.sim.timeline import dice
from dpin.sim.world import Habits

SKEW: Final[Micros] = seconds(0.3)
USUAL: Final = Habits(LAN, FAST, SKEW)
STURDY: Final = Habits(LAN, SLOW, SKEW)
TRANSFERS: Final = 40
EPOCH_MS: Final = 5_000


def quiet(seed: int) -> Report:
    """Nothing goes wrong."""
    stage = Stage("quiet", seed, USUAL, Cast())
    stage.ask(TRANSFERS, since(1), since(12))
    return stage.finish(since(13))


def loss(seed: int) -> Report:
    """One message in ten is lost, some come twice, most overtake others; disks are slow."""
    stage = Stage("loss", seed, Habits(BAD, SLOW, SKEW), Cast())
    stage.ask(TRANSFERS, since(1), since(15))
    return stage.finish(since(18))


def partition(seed: int) -> Report:
    """Halves, then one cut off, then one that is silently not heard; a clock jumps meanwhile."""
    stage = Stage("partition", seed, Habits(WAN, FAST, SKEW), Cast())
    stage.ask(TRANSFERS, since(1), since(20))
    world, at = stage.world, stage.world.timeline.at
    a, b, c, d = stage.dice.chosen(stage.nodes, MEMBERS)
    at(since(3), lambda: world.partition([a, b], [c, d]))
    at(since(8), lambda: world.heal(WAN))
    at(since(10), lambda: world.partition([a, b, c], [d]))
    at(since(12), lambda: world.jump(b, seconds(-30)))
    at(since(14), lambda: world.heal(WAN))
    at(since(15), lambda: world.network.deafen(a, b))
    at(since(15), lambda: world.network.deafen(a, c))
    return stage.finish(since(22))


def crash(seed: int) -> Report:
    """Nodes crash at any moment and come back; in the middle, all of them at once."""
    return crashing(seed, STURDY)


def crashing(seed: int, habits: Habits) -> Report:
    """`crash` with other habits."""
    stage = Stage("crash", seed, habits, Cast())
    stage.ask(TRANSFERS, since(1), since(20))
    for _ in range(8):
        victim = stage.dice.chosen(stage.nodes, 1)[0]
        _crash(stage, victim, Instant(since(2) + stage.dice.below(seconds(16))))
    everybody = Instant(since(8) + stage.dice.below(seconds(4)))
    for node in stage.nodes:
        _crash(stage, node, everybody)
    return stage.finish(since(22))


def alone(seed: int) -> Report:
    """A network of one validator, which crashes again and again."""
    stage = Stage("alone", seed, STURDY, Cast(members=1))
    stage.ask(TRANSFERS, since(1), since(12))
    for _ in range(6):
        _crash(stage, stage.nodes[0], Instant(since(1) + stage.dice.below(seconds(11))))
    return stage.finish(since(16))


def amnesia(seed: int) -> Report:
    """A validator comes back with an old copy of its log: it must not sign again."""
    victim = dice(seed, "victim").below(MEMBERS)
    stage = Stage("amnesia", seed, USUAL, Cast(forgetful=[victim]))
    stage.ask(TRANSFERS, since(1), since(14))
    world, node = stage.world, stage.nodes[victim]

    def lose_records() -> None:
        world.crash(node)
        world.stations[node].disk.go_back(stage.dice.below(20))

    world.timeline.at(since(6), lose_records)
    world.timeline.at(Instant(since(6) + stage.dice.below(seconds(4))), lambda: world.start(node))
    return stage.finish(since(16))


def _crash(stage: Stage, node: NodeId, when: Instant) -> None:
    """Crash a node, and start it within three seconds."""
    back = after(when, Micros(1 + stage.dice.below(seconds(3))))
    stage.world.timeline.at(when, lambda: stage.world.crash(node))
    stage.world.timeline.at(back, lambda: stage.world.start(node))


def byzantine(seed: int) -> Report:
    """One of four lies: it equivocates, withholds, babbles or replays."""
    plan = dice(seed, "liar")
    liar = plan.below(MEMBERS)
    lie: Lie = plan.chosen([_equivocate, withhold, babble, replay], 1)[0]
    stage = Stage("byzantine", seed, USUAL, Cast(lies={liar: lie}))
    stage.ask(TRANSFERS, since(1), since(15))
    return stage.finish(since(16))


def _equivocate(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    second = LedgerNode(stage.founding, stage.owner(index), ())
    return Twins(machine, second, some_others(stage, index, 1))


def join(seed: int) -> Report:
    """A node that is no validator comes late, catches up, crashes, and catches up again."""
    stage = Stage("join", seed, Habits(WAN, FAST, SKEW), Cast())
    stage.ask(TRANSFERS, since(1), since(20))
    stage.world.timeline.at(since(12), stage.join)
    _crash(stage, stage.follower.node_id, Instant(since(13) + stage.dice.below(seconds(3))))
    return stage.finish(since(22))


def epochs(seed: int) -> Report:
    """Epochs of five seconds, through crashes, a partition and a late joiner."""
    stage = Stage("epochs", seed, Habits(WAN, SLOW, SKEW), Cast(epoch_ms=EPOCH_MS))
    stage.ask(2 * TRANSFERS, since(1), since(40))
    world, at, plan = stage.world, stage.world.timeline.at, stage.dice
    for _ in range(8):
        victim = plan.chosen(stage.nodes, 1)[0]
        _crash(stage, victim, Instant(since(2) + plan.below(seconds(36))))
    apart = plan.chosen(stage.nodes, 1 + plan.below(2))
    others = [node for node in stage.nodes if node not in apart]
    cut = Instant(since(5) + plan.below(seconds(20)))
    at(cut, lambda: world.partition(apart, others))
    at(after(cut, Micros(1 + plan.below(seconds(9)))), lambda: world.heal(WAN))
    at(since(25), stage.join)
    return stage.finish(since(41))


_ALL: Final[dict[str, Callable[[int], Report]]] = {
    "quiet": quiet,
    "loss": loss,
    "partition": partition,
    "crash": crash,
    "alone": alone,
    "amnesia": amnesia,
    "byzantine": byzantine,
    "join": join,
    "epochs": epochs,
    "nemesis": nemesis,
    "jobs": jobs,
    "late": late,
    "overload": overload,
    "kills": kills,
    "private": private,
    "sealed": sealed,
    "absent": absent,
    "belated": belated,
    "cheat": cheat,
    "evaluation": evaluation,
    **TRIALS,
    **FORGERIES,
    **LAPSES,
}
NAMES: Final = tuple(_ALL)


def run(name: str, seed: int) -> Report:
    """Play one simulation; raises Misuse for a name that nobody gave."""
    if name not in _ALL:
        raise Misuse(f"there is no simulation {name!r}", fix=f"use one of: {', '.join(NAMES)}")
    return _ALL[name](seed)
