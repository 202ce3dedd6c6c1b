"""Whole nodes on machines that cannot keep up. Nobody lies; nobody may be punished as a liar.

Nodes stall for seconds and find all their mail at once, workers take ten times as long, messages
and files come late, disks take seconds to sync. Whatever happens, nobody is convicted, no stake
burns but what an empty seat of a verifier costs, nobody who committed in time loses more than its
price, and the job ends: done and paid, or failed for a reason and refunded.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from dpin.base.ids import NodeId, short
from dpin.base.units import MILLION, Instant, Micros, after, seconds
from dpin.ledger.accounts import State, Unit, UnitState
from dpin.ledger.params import Params
from dpin.market.ownjob import Stage as JobStage
from dpin.sim.disk import FAST, DiskHabits
from dpin.sim.jobs import BEGIN, Crew, Works, training
from dpin.sim.network import LAN, LinkHabits
from dpin.sim.stage import MEMBERS, Report, since
from dpin.sim.timeline import dice

CALM: Final = since(45)
STALLS: Final = 10
STALL_MAX: Final[Micros] = seconds(15)
STRAINS: Final = 6
STRAIN_MAX: Final[Micros] = seconds(30)
FACTOR_MAX: Final = 20
LATE: Final = 6
LATE_MAX: Final[Micros] = seconds(4)
SLOW_DISKS: Final = 3
CATCH_UP_MAX: Final = 30  # seconds
SLOW_DISK: Final = DiskHabits(seconds(0.1), seconds(2))


@dataclass(slots=True)
class Strain:
    """How many times as long everything takes at one node, and when."""

    times: list[tuple[Instant, Instant, int]] = field(default_factory=list)

    def factor(self, now: Instant) -> int:
        """1 where nothing is wrong."""
        return max((factor for begin, end, factor in self.times if begin <= now < end), default=1)


class Overload:
    """A job, and a plan of what is slow when."""

    def __init__(self, seed: int) -> None:
        self.chance = dice(seed, "overload")
        self.strains = [Strain() for _ in range(MEMBERS)]
        drags = {index: strain.factor for index, strain in enumerate(self.strains)}
        seats = 2 + self.chance.below(2)
        self.works = Works("overload", seed, training(seats), Crew(drags=drags))
        self.reserve = self.works.node(0).peer.state.reserve
        self._plan()

    def _plan(self) -> None:
        for _ in range(STALLS):
            self._stall()
        for _ in range(STRAINS):
            begin, end = self._span(STRAIN_MAX)
            factor = 2 + self.chance.below(FACTOR_MAX - 1)
            self.strains[self.chance.below(MEMBERS)].times.append((begin, end, factor))
        for _ in range(LATE):
            self._slow_link()
        for _ in range(SLOW_DISKS):
            begin, end = self._span(STRAIN_MAX)
            [node] = self.chance.chosen(self.works.nodes, 1)
            self._at(begin, partial(self._sync, node, SLOW_DISK))
            self._at(end, partial(self._sync, node, FAST))

    def _at(self, when: Instant, action: Callable[[], None]) -> None:
        self.works.world.timeline.at(when, action)

    def _stall(self) -> None:
        """One time in four all stall at once, as on one machine that is busy."""
        nodes = self.works.nodes
        who = nodes if not self.chance.below(4) else self.chance.chosen(nodes, 1)
        begin, end = self._span(STALL_MAX)
        for node in who:
            self._at(begin, partial(self.works.world.stations[node].stall, end))

    def _slow_link(self) -> None:
        source, target = self.chance.chosen(self.works.nodes, 2)
        least, tune = self._lasting(LATE_MAX), self.works.world.network.tune
        begin, end = self._span(STRAIN_MAX)
        self._at(begin, partial(tune, (source, target), LinkHabits(least, Micros(2 * least))))
        self._at(end, partial(tune, (source, target), LAN))

    def _span(self, most: Micros) -> tuple[Instant, Instant]:
        begin = after(BEGIN, Micros(self.chance.below(CALM - BEGIN - seconds(15))))
        return begin, after(begin, self._lasting(most))

    def _sync(self, node: NodeId, habits: DiskHabits) -> None:
        self.works.world.stations[node].disk.habits = habits

    def _lasting(self, most: Micros) -> Micros:
        """Short more often than long."""
        part = self.chance.below(1_000)
        return Micros(1 + most * part * part // MILLION)

    def play(self) -> Report:
        """The job, to its end."""
        report = self.works.see_out(CALM)
        if not report.problems:
            self._catch_up()
            report.problems.extend(self.wrong())
        state = self.works.node(0).peer.state
        report.figures["empty_seats"] = sum(map(empty_seats, state.units.values()))
        report.figures["done"] = int(self.works.own.stage == JobStage.DONE)
        report.figures["refunded"] = int(bool(self.works.own.reason))
        return report

    def _catch_up(self) -> None:
        """The others may stall just then: they see the end as well, a little later."""
        world = self.works.world
        for _ in range(CATCH_UP_MAX):
            if not any(self._open(index) for index in range(MEMBERS)):
                return
            world.run(after(world.timeline.now, seconds(1)))

    def _open(self, index: int) -> bool:
        """Whether a node sees a job that goes on, or keeps its money."""
        jobs = self.works.node(index).peer.state.jobs.values()
        return any(not job.state.ended or job.escrow for job in jobs)

    def wrong(self) -> list[str]:
        """What is not as it must be, once the job has ended."""
        own, peer = self.works.own, self.works.node(0).peer
        state, params = peer.state, peer.params
        units = state.units.values()
        found = [
            f"{short(state.leases[unit.lease].provider)} was convicted: {unit.reason}"
            for unit in units
            if unit.state == UnitState.SLASHED
        ]
        if own.stage != JobStage.DONE and not own.reason:
            found.append(f"the job is {own.stage.value}, and nobody knows why")
        if own.stage == JobStage.DONE and not any(unit.paid for unit in units):
            found.append("the job is done, and nobody was paid")
        burned = state.reserve - self.reserve
        if burned != expected(state, params):
            found.append(f"{burned} burned, {expected(state, params)} should have")
        found += [
            f"node {index} sees a job that goes on, or keeps its money"
            for index in range(MEMBERS)
            if self._open(index)
        ]
        return found


def empty_seats(unit: Unit) -> int:
    """How often a verifier was seated in a unit and did not do what it was seated for."""
    empty = len(unit.used) - len(unit.seats)
    if unit.state in {UnitState.RUNNING, UnitState.COMMITTED, UnitState.SEATED}:
        return empty
    empty += sum(seat.sealed is None for seat in unit.seats)
    if unit.reason != "withheld-leaf":
        empty += sum(seat.sealed is not None and seat.reveal is None for seat in unit.seats)
    return empty


def expected(state: State, params: Params) -> int:
    """What has to be burned by now: parts of fees, and what empty seats cost."""
    total = 0
    for unit in state.units.values():
        terms = state.jobs[state.leases[unit.lease].job].propose
        if unit.state == UnitState.PAID and unit.commit is not None:
            gross = unit.price * unit.commit.steps // terms.steps
            fee = gross * params.fee_ppm // MILLION
            total += fee * params.burn_ppm // MILLION
        bond = params.verifier_bond_multiple * (unit.verifier_fee // terms.verifiers)
        total += empty_seats(unit) * min(unit.price * params.absent_burn_ppm // MILLION, bond)
    return total


def overload(seed: int) -> Report:
    """Machines that cannot keep up: nobody is punished as a liar, and the job comes to an end."""
    return Overload(seed).play()
