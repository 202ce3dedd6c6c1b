"""Whole jobs, and what their seats say on the ledger of the state that they ended in."""

import pytest
from msgspec.structs import replace
from typing_extensions import override

from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest
from dpin.base.units import Micros, after, seconds
from dpin.compute.task import Command, Merged, Report
from dpin.ledger.views import ended_in
from dpin.market.ownjob import Stage
from dpin.sim.jobs import Crew, Works, training
from dpin.sim.peers import Workplace
from dpin.sim.stage import since
from dpin.sim.workers import PROBED, PretendWorker

SEATS, ROUNDS, LIAR = 3, 4, 1
LIE = digest("test/state", b"lie")


class Lying(PretendWorker):
    """Merges like everybody; of what the last round has led to it says something else."""

    @override
    def perform(self, command: Command) -> tuple[Micros, Report]:
        took, report = super().perform(command)
        if isinstance(report, Merged) and report.round == ROUNDS:
            return took, replace(report, state_hash=LIE)
        return took, report


def merged_last(works: Works) -> Digest:
    """What the last round has led to at the requester."""
    found = works.depot.merged
    [state] = {state for node, round_, state in found if (node, round_) == (works.nodes[0], ROUNDS)}
    return state


@pytest.mark.parametrize("privacy", ["none", "sealed", "secagg"])
def test_seats_say_what_the_requester_has_found_before_the_job_has_ended(privacy: str) -> None:
    works = Works("last", 3, training(SEATS, privacy))
    assert works.finish(since(30)).problems == []
    job = works.job()
    assert job.state.ended
    assert ended_in(job) == merged_last(works)
    assert set(job.said.values()) == {merged_last(works)}
    assert len(job.said) == SEATS


def test_one_that_lies_of_the_last_state_changes_nothing_and_delays_nothing() -> None:
    honest = Works("last", 3, training(SEATS))
    honest.see_out(since(30))
    works = Works("last", 3, training(SEATS), Crew(places={LIAR: Workplace(PROBED, Lying)}))
    works.see_out(since(30))
    assert works.own.stage == Stage.DONE
    assert works.world.timeline.now == honest.world.timeline.now
    assert ended_in(works.job()) == merged_last(works)
    assert sorted(works.job().said.values()).count(LIE) == 1
    assert works.slashed() == []
    assert works.units() == honest.units()


def test_a_job_ends_though_no_seat_says_what_it_ended_in() -> None:
    works = Works("last", 3, training(SEATS))
    world = works.world
    while not works.node(0).peer.state.jobs or len(works.job().said) < SEATS:
        world.run(after(world.timeline.now, seconds(0.05)))
    for node in works.nodes[1:]:  # Before one has merged: what it has not written down is lost.
        works.crash(node, world.timeline.now, after(world.timeline.now, seconds(3)))
    works.see_out(since(30))
    assert works.own.stage == Stage.DONE
    assert set(works.job().said.values()) == {NO_DIGEST}
    assert ended_in(works.job()) is None
