"""A job whose people are killed, one after each step of what they do for it.

A step is an effect: an order to a worker, or a blob that is kept, fetched or shown. The history up
to a step is the same whichever step is meant, so every step can be tried. Whoever is left must have
the job done, all with the same states, and whoever was killed comes back.
"""

from dataclasses import dataclass, field
from typing import Final

from typing_extensions import override

from dpin.base.ids import NodeId
from dpin.base.units import Micros, after, seconds
from dpin.compute.work import Dismiss, Hire, Order
from dpin.sim.jobs import BEGIN, Crew, Works, training
from dpin.sim.stage import Report, since
from dpin.sim.timeline import Check, Step, dice
from dpin.storage.wanted import Allow, Fetch, Keep, KeepData

STEPS: Final = (Order, Hire, Dismiss, Fetch, Keep, KeepData, Allow)
SEATS: Final = 2
ROLES: Final = {"requester": 0, "seat": 1, "verifier": 3, "newcomer": 3}
FEWEST: Final = {"requester": 40, "seat": 150, "verifier": 40, "newcomer": 80}  # as a rule
NEVER: Final = -1
GONE_AT: Final = since(16)  # a seat, whom the newcomer replaces
GONE: Final = seconds(40)
AWAY_MAX: Final = 8  # seconds


@dataclass(slots=True)
class Killer(Check):
    """Counts the steps of one node, and kills it after one of them."""

    away: Micros
    step: int
    works: Works | None = None
    victim: NodeId | None = None
    seen: int = 0
    killed: str = ""  # after what

    @override
    def see(self, step: Step) -> str | None:
        """Nothing is ever wrong with a step."""
        if step.node != self.victim or not isinstance(step.effect, STEPS) or step.now < BEGIN:
            return None
        if not self.seen and self._unrecorded(step.effect):
            return None
        if self.seen == self.step and self.works is not None:
            self.killed = type(step.effect).__name__
            self.works.crash(self.victim, step.now, after(step.now, self.away))
        self.seen += 1
        return None

    def _unrecorded(self, effect: object) -> bool:
        """Until its manifest is kept, a job is nowhere but with its requester, and goes with it."""
        mine = self.works is not None and self.victim == self.works.nodes[ROLES["requester"]]
        return mine and not isinstance(effect, KeepData)


@dataclass(slots=True)
class Kill:
    """Who is killed after which of its steps, and what came of it."""

    role: str
    step: int
    seed: int
    killer: Killer = field(init=False)

    def play(self) -> Report:
        """The job, from its order to its end."""
        place = self.step.to_bytes(8, signed=True)
        away = 1 + dice(self.seed, "kill", self.role.encode(), place).below(AWAY_MAX)
        self.killer = Killer(seconds(away), self.step)
        works = Works("kills", self.seed, training(SEATS), Crew(watch=(self.killer,)))
        self.killer.victim, self.killer.works = works.nodes[ROLES[self.role]], works
        if self.role == "newcomer":
            gone = works.nodes[ROLES["seat"]]
            works.crash(gone, GONE_AT, after(GONE_AT, GONE))
        report = works.finish(since(30))
        report.figures["steps"] = self.killer.seen
        report.figures["killed"] = int(bool(self.killer.killed))
        if not report.problems and self.step != NEVER and not self.killer.killed:
            report.problems.append(self.absent)
        return report

    @property
    def absent(self) -> str:
        """What is wrong where nothing else is, and nobody was killed."""
        return f"there is no step {self.step}"


def steps_of(role: str, seed: int) -> int:
    """How many steps somebody takes where nobody is killed."""
    return Kill(role, NEVER, seed).play().figures["steps"]


def kills(seed: int) -> Report:
    """Somebody is killed after some step of what it does for a job, and comes back."""
    chance = dice(seed, "kills")
    [role] = chance.chosen(sorted(ROLES), 1)
    kill = Kill(role, chance.below(FEWEST[role]), seed)
    report = kill.play()
    steps = report.figures["steps"]
    if steps and report.problems == [kill.absent]:  # Who takes over late has less to do.
        return Kill(role, kill.step % steps, seed).play()
    return report
