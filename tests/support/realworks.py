"""Simulated nodes whose workers really train: everything of a job but processes and sockets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

from msgspec.structs import replace

from dpin.base.ids import Round
from dpin.base.units import Micros, seconds
from dpin.compute.engine import ONE_PROCESS
from dpin.compute.probe import probe, settle
from dpin.compute.safety import RobustSpec
from dpin.compute.session import Session
from dpin.compute.task import Command, OpenJob, Prepare, Probed, Report, TrainUnit
from dpin.market.orders import TrainOrder
from dpin.market.ownjob import OwnJob
from dpin.sim.jobs import JOB, Crew, Works, training
from dpin.sim.peers import Workplace
from dpin.sim.stage import Report as Outcome
from dpin.sim.stage import since
from dpin.sim.workers import TRAIN
from tests.support.ledger_logs import Written
from tests.support.scarcity import no_more_memory
from tests.support.training import CORPUS, TINY, TINY_INNER, Desk, MemoryFiles

SLOW: Final = (Prepare, OpenJob, TrainUnit)
NEVER: Final = Round(1 << 20)


@cache
def probed() -> Probed:
    """What a node on this machine would say of it."""
    settle()
    return probe(ONE_PROCESS)


class RealHand:
    """A worker's session over the files of its node; from a round on it finds no more memory."""

    def __init__(self, name: str, files: dict[str, bytes], short_from: Round = NEVER) -> None:
        del name  # Each command says where to write.
        self._desk = Desk(MemoryFiles(files))
        self._session = Session(self._desk.door())
        self._session._probed = probed()
        self._short_from = short_from
        self.unit = TRAIN  # It takes no notice.

    def perform(self, command: Command) -> tuple[Micros, Report]:
        """See dpin.sim.peers.Hand."""
        if isinstance(command, TrainUnit) and command.round >= self._short_from:
            with no_more_memory():
                self._session.run(command)
        else:
            self._session.run(command)
        report = self._desk.reports[-1]
        self._desk.reports.clear()
        return seconds(1 if isinstance(command, SLOW) else 0.2), report


def real(short_from: Round = NEVER) -> Workplace:
    """Where work is done."""
    return Workplace(probed(), partial(RealHand, short_from=short_from))


def order(seats: int, robust: RobustSpec | None = None) -> TrainOrder:
    """A job of four rounds that is really trained, on CORPUS."""
    return replace(
        training(seats), model=TINY, inner=TINY_INNER, robust=robust or RobustSpec("krum")
    )


@dataclass
class Played:
    """A job that has ended."""

    works: Works
    outcome: Outcome
    written: Written

    @property
    def own(self) -> OwnJob:
        """The requester's side of it."""
        return self.works.node(0).peer.requester.jobs[JOB]


def play(wanted: TrainOrder, places: Mapping[int, Workplace] | None = None) -> Played:
    """Have a requester and its three providers do it."""
    written = Written()
    crew = Crew(watch=[written], usual=real(), places=places or {})
    works = Works("real", 1, wanted, crew)
    works.depot.shelf(works.nodes[0]).files[wanted.corpus] = CORPUS
    return Played(works, works.finish(since(30)), written)
