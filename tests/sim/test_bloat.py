"""A provider whose files are larger than any of the job may be: nobody fetches them."""

from collections.abc import Callable
from typing import Final

from dpin.base.ids import BlobId, NodeId
from dpin.base.units import Micros
from dpin.compute.task import Command, Report, Trained
from dpin.compute.work import WorkerId
from dpin.ledger.accounts import UnitState
from dpin.sim.jobs import Crew, Works, training
from dpin.sim.peers import Workplace
from dpin.sim.stage import since
from dpin.sim.workers import PROBED, PretendWorker

SEED: Final = 11
LIAR: Final = 1
UPDATE: Final = bytes(1 << 18)
STATE: Final = bytes(17 << 20)


class Bloating:
    """An honest worker, some of whose files are blown up afterwards."""

    def __init__(
        self, name: WorkerId, files: dict[str, bytes], bloat: Callable[[Trained], dict[str, bytes]]
    ) -> None:
        self._honest = PretendWorker(name, files)
        self._files = files
        self._bloat = bloat
        self.unit = self._honest.unit

    def perform(self, command: Command) -> tuple[Micros, Report]:
        took, report = self._honest.perform(command)
        if isinstance(report, Trained):
            self._files.update(self._bloat(report))
        return took, report


def played(bloat: Callable[[Trained], dict[str, bytes]]) -> Works:
    """A job of three seats, of which one's files are too large; it is done all the same."""
    place = Workplace(PROBED, lambda name, files: Bloating(name, files, bloat))
    works = Works("bloat", SEED, training(3), Crew(places={LIAR: place}, blamed=frozenset({LIAR})))
    report = works.finish(since(30))
    assert report.problems == []
    return works


def holders(works: Works, length: int) -> set[NodeId]:
    """Who has a blob of this length."""
    found: dict[BlobId, set[NodeId]] = {}
    for node in works.nodes:
        for blob, data in works.depot.shelf(node).blobs.items():
            if len(data) == length:
                found.setdefault(blob, set()).add(node)
    assert found, "the liar offered nothing"
    return set().union(*found.values())


def ends(works: Works) -> set[UnitState]:
    """How the liar's units ended."""
    state = works.node(0).peer.state
    units = list(state.units.values())
    return {unit.state for unit in units if state.leases[unit.lease].provider == works.nodes[LIAR]}


def test_an_update_too_large_to_be_one_is_fetched_by_nobody_and_convicts() -> None:
    works = played(lambda trained: {trained.update: UPDATE})
    assert holders(works, len(UPDATE)) == {works.nodes[LIAR]}
    assert UnitState.SLASHED in ends(works)
    assert UnitState.PAID not in ends(works)


def test_states_too_large_to_be_one_are_fetched_by_nobody_and_are_not_paid() -> None:
    works = played(lambda trained: dict.fromkeys(trained.states, STATE))
    assert holders(works, len(STATE)) == {works.nodes[LIAR]}
    assert UnitState.PAID not in ends(works)
