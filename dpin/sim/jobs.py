"""Whole nodes that train: a job from its order to its model, with what may go wrong on the way."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import msgspec

from dpin.base.ids import NO_DIGEST, Digest, NodeId, Round, short
from dpin.base.units import Instant, Micros, MicroTokens, after, seconds
from dpin.compute.safety import PrivacySpec
from dpin.compute.task import InnerSpec, ModelSpec, OuterSpec
from dpin.ledger.accounts import Job, UnitState
from dpin.market.engagement import Fault
from dpin.market.evaluating import EVALUATION
from dpin.market.orders import TrainOrder
from dpin.market.ownjob import OwnJob
from dpin.market.ownjob import Stage as JobStage
from dpin.market.provider import Choice
from dpin.market.requester import Start
from dpin.sim.checks import Voice
from dpin.sim.depot import Depot
from dpin.sim.ledgers import Owner, found_network
from dpin.sim.peers import (
    PRETENDED,
    Drag,
    Pace,
    PeerNode,
    Workplace,
    peer_blocks_in,
    peer_node,
    unhampered,
)
from dpin.sim.stage import MEMBERS, Report, figures_of, safety, since
from dpin.sim.timeline import Check, dice
from dpin.sim.workers import TRAIN
from dpin.sim.world import Habits, World

JOB: Final = "j-simulated"
BEGIN: Final = since(8)
STAKE: Final = MicroTokens(2_000_000_000)
SLOW: Final = seconds(7)  # a unit that takes others two; when 5 to 6 are over, the round is
PATIENCE: Final = seconds(120)  # from the last fault to the end of the job


@dataclass(frozen=True, slots=True)
class Crew:
    """Who lies, whose units take how long, whose machine drags; `watch` are further checks.

    The ledger and the messages of those with `faults` are honest; `blamed` may be blamed too.

    All that have no place of their own work at the `usual` one.
    """

    faults: Mapping[int, Fault] = field(default_factory=dict)
    units: Mapping[int, Micros] = field(default_factory=dict)
    drags: Mapping[int, Drag] = field(default_factory=dict)
    watch: Sequence[Check] = ()
    usual: Workplace = PRETENDED
    places: Mapping[int, Workplace] = field(default_factory=dict)
    blamed: frozenset[int] = frozenset()
    shares: Mapping[int, int] = field(default_factory=dict)  # bytes that nodes let jobs have
    quotas: Mapping[int, int] = field(default_factory=dict)  # bytes of blobs, of small disks

    def pace(self, index: int) -> Pace:
        """How a node works, and where."""
        place = self.places.get(index, self.usual)
        return Pace(self.units.get(index, TRAIN), self.drags.get(index, unhampered), place)


USUAL: Final = Crew()


class Works:
    """A requester and three providers, all of them validators, and one job of so many seats."""

    def __init__(self, name: str, seed: int, order: TrainOrder, crew: Crew = USUAL) -> None:
        self.founding = found_network(name, seed, MEMBERS)
        self.nodes = [key.node_id for key in self.founding.keys]
        self.dice = dice(seed, "plan")
        blamed = {self.nodes[index] for index in crew.blamed}
        honest = frozenset(self.nodes) - blamed
        read = partial(peer_blocks_in, self.founding)
        watch = [*safety(honest, read), Voice(honest), *crew.watch]
        self.world = World(seed, Habits(skew_max=seconds(0.2)), watch)
        self.depot = Depot(self._reach, dice(seed, "depot"))
        self._name, self._seed = name, seed
        for index, (key, table) in enumerate(
            zip(self.founding.keys, self.founding.tables, strict=True)
        ):
            choice = _choice(index, crew.faults.get(index, Fault.NONE))
            choice = replace(choice, disk_bytes=crew.shares.get(index))
            pace = crew.pace(index)
            boot = peer_node(self.founding, Owner(key, table), choice, self.depot, pace)
            self.world.add(key.node_id, boot)
            self.depot.shelf(key.node_id).quota_bytes = crew.quotas.get(index)
        self.suspects: set[NodeId] = {self.nodes[index] for index in crew.faults} | blamed
        self.world.inject(self.nodes[0], Start(JOB, order), BEGIN)

    def _reach(self, source: NodeId, target: NodeId) -> bool:
        alive = self.world.stations[source].body is not None
        return alive and self.world.network.passes((source, target))

    def node(self, index: int) -> PeerNode:
        """The machine of a node that runs."""
        body = self.world.stations[self.nodes[index]].body
        assert body is not None, "it runs"
        assert isinstance(body.machine, PeerNode), "nothing else was added"
        return body.machine

    def crash(self, node: NodeId, when: Instant, back: Instant) -> None:
        """A node crashes and starts again; what it cannot show meanwhile counts against it."""
        self.suspects.add(node)
        self.world.timeline.at(when, partial(self.world.crash, node))
        self.world.timeline.at(back, partial(self.world.start, node))

    def finish(self, calm: Instant) -> Report:
        """Play until the job has ended, at most PATIENCE after the last fault; it must be done."""
        report = self.see_out(calm)
        report.problems.extend([] if report.problems else self._missing())
        return report

    def see_out(self, calm: Instant) -> Report:
        """The same for a job that may end in any way."""
        self.world.run(calm)
        while self.world.timeline.now < after(calm, PATIENCE) and not self.world.trace.problems:
            if self._ended:
                break
            self.world.run(after(self.world.timeline.now, seconds(1)))
        figures = figures_of(self.world) | (self.units() if self._own else {})
        digest = self.world.trace.digest
        problems = list(self.world.trace.problems)
        if not problems and not self._ended:
            problems.append("the job takes too long")
        return Report(self._name, self._seed, digest, figures, problems)

    @property
    def own(self) -> OwnJob:
        """The requester's job, of a requester that runs."""
        return self.node(0).peer.requester.jobs[JOB]

    @property
    def _own(self) -> OwnJob | None:
        """The requester's job, unless it is just away."""
        if self.world.stations[self.nodes[0]].body is None:
            return None
        return self.node(0).peer.requester.jobs.get(JOB)

    @property
    def _ended(self) -> bool:
        return self._own is not None and self._own.stage.ended

    def units(self) -> dict[str, int]:
        """How many units ended how."""
        states = self.node(0).peer.state.units.values()
        counts = Counter(unit.state for unit in states)
        return {f"units_{state.name.lower()}": counts[state] for state in UnitState}

    def slashed(self) -> list[NodeId]:
        """Providers that were convicted, once a conviction."""
        state = self.node(0).peer.state
        units = [unit for unit in state.units.values() if unit.state == UnitState.SLASHED]
        return [state.leases[unit.lease].provider for unit in units]

    def _missing(self) -> list[str]:
        own = self._own
        if own is None:
            return ["the requester has lost the job"]
        if own.stage != JobStage.DONE:
            return [f"the job is {own.stage.value}: {own.reason or 'it takes too long'}"]
        innocent = [node for node in self.slashed() if node not in self.suspects]
        return [f"{short(node)} was slashed for nothing" for node in innocent] + self._differing()

    def _differing(self) -> list[str]:
        """Rounds after which two nodes held different states, or the ledger another one."""
        found: dict[Round, dict[Digest, NodeId]] = {}
        for node, round_, state in self.depot.merged:
            found.setdefault(round_, {}).setdefault(state, node)
        for record in self.job().rounds:
            if record.round and record.state_hash is not None:
                found.setdefault(record.round, {}).setdefault(record.state_hash, self.nodes[0])
        leases, ended = self.node(0).peer.state.leases, Round(len(self.job().rounds))
        for lease, said in self.job().said.items():
            if said != NO_DIGEST:
                found.setdefault(ended, {}).setdefault(said, leases[lease].provider)
        return [
            f"after {round_} rounds {', '.join(short(node) for node in states.values())} differ"
            for round_, states in sorted(found.items())
            if len(states) > 1
        ]

    def job(self) -> Job:
        """The one job, as the requester sees it on the ledger; of its proposals one is awarded."""
        proposed = list(self.node(0).peer.state.jobs.values())
        [job] = [one for one in proposed if one.leases] or proposed
        return job


def training(seats: int, privacy: str = "none") -> TrainOrder:
    """A job of four rounds."""
    return TrainOrder(
        name="simulated",
        corpus="corpus",
        suffixes=(".txt",),
        bytes_max=1_000_000,
        holdout_ppm=50_000,
        model=ModelSpec(1, 1, 16, 32),
        inner=InnerSpec(1_000, 0, 0, 4, 20),
        outer=OuterSpec(1_000_000, 0, nesterov=False),
        seats=seats,
        rounds=4,
        windows=4,
        quorum=0,
        memory_bytes=1 << 20,
        budget=MicroTokens(1_000_000_000),
        time_limit=seconds(3_600),
        output="model",
        seed=bytes(32),
        privacy=PrivacySpec(privacy),
    )


def _choice(index: int, fault: Fault) -> Choice:
    return Choice(
        name=f"node-{index}",
        provides=index > 0,
        price=MicroTokens(10_000_000 + (index if fault == Fault.NONE else 0)),
        stake=STAKE,
        leases_max=1,
        fault=fault,
    )


def jobs(seed: int) -> Report:
    """A job is trained while one of its providers crashes and comes back."""
    works = Works("jobs", seed, training(2))
    victim = works.nodes[1 + works.dice.below(MEMBERS - 1)]
    when = after(since(14), seconds(works.dice.below(100) / 10))
    works.crash(victim, when, after(when, seconds(1 + works.dice.below(8))))
    return works.finish(since(30))


def private(seed: int) -> Report:
    """Three providers train under masks while one of them crashes and comes back."""
    order = training(3, "secagg")
    works = Works("private", seed, order)
    victim = works.nodes[1 + works.dice.below(MEMBERS - 1)]
    when = after(since(14), seconds(works.dice.below(160) / 10))
    works.crash(victim, when, after(when, seconds(1 + works.dice.below(8))))
    report = works.finish(since(30))
    if not report.problems and report.figures["units_paid"] < (order.seats - 1) * order.rounds:
        report.problems.append("work of somebody who did not crash was not paid")
    return report


def sealed(seed: int) -> Report:
    """The data are sealed; a provider crashes, and who takes its seat and who checks reads too."""
    works = Works("sealed", seed, training(2, "sealed"))
    victim = works.nodes[1 + works.dice.below(MEMBERS - 1)]
    when = after(since(14), seconds(works.dice.below(100) / 10))
    works.crash(victim, when, after(when, seconds(1 + works.dice.below(8))))
    return works.finish(since(30))


def late(seed: int) -> Report:
    """One of three seats is slow: its first update comes late and is taken, then it does less."""
    works = Works("late", seed, training(3), Crew(units={3: SLOW}))
    report = works.finish(since(30))
    taken = [one for record in works.job().rounds for one in record.included]
    report.figures["late"] = sum(one.age > 0 for one in taken)
    report.figures["partly"] = sum(one.steps < works.job().propose.steps for one in taken)
    if not report.problems and not (report.figures["late"] and report.figures["partly"]):
        report.problems.append("nothing came late, or nobody did less to be in time")
    if not report.problems and report.figures["units_lapsed"]:
        report.problems.append("work was done and not paid")
    return report


def evaluation(seed: int) -> Report:
    """A model is evaluated in parts; a liar is convicted, and its part done by another."""
    order = msgspec.structs.replace(training(3), outer=EVALUATION)
    works = Works("evaluation", seed, order, Crew({1: Fault.SKIP_WORK}))
    report = works.finish(since(30))
    own = works.node(0).peer.requester.jobs[JOB]
    if not report.problems and (own.evaluation is None or own.evaluation.parts != order.seats):
        report.problems.append("the result is not of all parts")
    if not report.problems and works.nodes[1] not in works.slashed():
        report.problems.append("the liar was not slashed")
    return report


def cheat(seed: int) -> Report:
    """One provider skips its work or sends wrong weights, and is convicted; the job goes on."""
    chance = dice(seed, "cheat")
    [fault] = chance.chosen([Fault.SKIP_WORK, Fault.WRONG_WEIGHTS], 1)
    works = Works("cheat", seed, training(3), Crew({1: fault}))
    report = works.finish(since(30))
    if not report.problems and works.nodes[1] not in works.slashed():
        report.problems.append("the cheat was not slashed")
    return report


def absent(seed: int) -> Report:
    """The requester is away for rounds; nobody has their updates any more when it is back."""
    order = msgspec.structs.replace(training(2), rounds=20, budget=MicroTokens(1_900_000_000))
    works = Works("absent", seed, order)
    when = after(since(12), seconds(works.dice.below(100) / 10))
    back = after(when, seconds(8 + works.dice.below(40) / 10))
    works.crash(works.nodes[0], when, back)
    works.world.timeline.at(back, partial(_clear, works, states=works.dice.below(2) == 1))
    return works.finish(after(back, seconds(1)))


def _clear(works: Works, *, states: bool) -> None:
    """Whatever no job needs makes room; the requester's workers have left nothing, or `states`."""
    for node in works.nodes:
        works.depot.shelf(node).clear()
    files = works.depot.shelf(works.nodes[0]).files
    for path in [path for path in files if "/round-" in path and not states]:
        del files[path]


def belated(seed: int) -> Report:
    """The requester is away until its job has ended, and long after that."""
    works = Works("belated", seed, training(2))
    when = after(since(12), seconds(works.dice.below(60) / 10))
    back = after(when, seconds(40))
    works.crash(works.nodes[0], when, back)
    works.world.timeline.at(back, partial(_clear, works, states=works.dice.below(2) == 1))
    victim = works.nodes[1 + works.dice.below(MEMBERS - 1)]
    works.crash(victim, after(when, seconds(30)), after(when, seconds(33)))
    return works.finish(after(back, seconds(1)))
