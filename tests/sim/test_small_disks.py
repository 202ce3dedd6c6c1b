"""Nodes whose disks are too small for all that passes through them: jobs keep what they need."""

import dataclasses
from functools import partial
from typing import Final

import pytest
from msgspec.structs import replace

from dpin.base.units import Micros, after, seconds
from dpin.market.engagement import Fault
from dpin.market.legacy import OFFER_AGAIN
from dpin.market.ownjob import Stage
from dpin.market.provider import Choice
from dpin.market.requester import Start
from dpin.sim.depot import Shelf
from dpin.sim.jobs import Crew, Works, _choice, training
from dpin.sim.stage import Report, since
from dpin.storage.wanted import Need

SEED: Final = 11
QUOTA: Final = 1_250  # bytes: a job of three seats needs 1,133 at most; 3,137 pass through
SHARE: Final = 1_000_000  # bytes: a job takes somewhat over 700,000
SECOND: Final = "j-second"
EVERY: Final = seconds(0.1)


def crowded() -> Works:
    """A job, while each provider's owner puts one file after the other onto its small disk."""
    works = Works("small-disks", SEED, training(3), Crew(quotas=dict.fromkeys((1, 2, 3), QUOTA)))
    for number in range(200):
        when = after(since(9), Micros(number * EVERY))
        for node in works.nodes[1:]:
            works.world.timeline.at(when, partial(_crowd, works.depot.shelf(node), number))
    return works


def _crowd(shelf: Shelf, number: int) -> None:
    shelf.keep(b"%100d" % number, None)


def played(works: Works) -> Report:
    return works.finish(since(30))


def rest(works: Works) -> None:
    """Until providers have heard that the requester has its model."""
    works.world.run(after(works.world.timeline.now, Micros(3 * OFFER_AGAIN)))


def test_what_a_lease_needs_makes_no_room_for_what_others_bring() -> None:
    works = crowded()
    assert played(works).problems == []
    assert len(works.job().leases) == 3  # Nobody has lost its seat.
    shelves = [works.depot.shelf(node) for node in works.nodes[1:]]
    assert all(shelf.evicted > 100 for shelf in shelves)
    rest(works)
    assert all(shelf.needed == frozenset() for shelf in shelves)  # The job is over.


def test_where_nothing_counts_as_needed_a_worker_finds_its_files_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the disk did before: the counter-example that shows what the test above is about."""
    monkeypatch.setattr(Shelf, "need", lambda _shelf, _need: None)
    with pytest.raises(KeyError):  # A worker whose file is gone ends its lease in a real node.
        played(crowded())


def test_a_node_that_starts_again_keeps_what_its_jobs_need_and_nothing_after_them() -> None:
    works = crowded()
    works.crash(works.nodes[1], since(15), since(16))
    works.crash(works.nodes[0], since(17), since(18))
    assert played(works).problems == []
    rest(works)
    assert all(works.depot.shelf(node).needed == frozenset() for node in works.nodes)


def test_a_shelf_lets_nothing_go_before_it_knows_what_is_needed() -> None:
    shelf = Shelf(quota_bytes=20)
    first, second = shelf.keep(b"first 10 b", None), shelf.keep(b"second 10b", None)
    assert first is not None
    assert second is not None
    shelf.need(Need(frozenset({first}), settled=True))
    shelf.need(Need(frozenset({second}), settled=False))
    assert shelf.keep(b"third", None) is None
    shelf.need(Need(frozenset({second}), settled=True))
    assert shelf.keep(b"third", None) is not None
    assert first not in shelf.blobs


def eager(index: int, fault: Fault) -> Choice:
    """A node that works on two jobs at once, if it has the room."""
    return dataclasses.replace(_choice(index, fault), leases_max=2)


def test_a_node_takes_the_next_job_once_its_disk_has_room_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dpin.sim.jobs._choice", eager)
    order, crew = training(3), Crew(shares=dict.fromkeys((1, 2, 3), SHARE))
    works = Works("next-job", SEED, order, crew)
    later = replace(order, name="second", seed=bytes([1]) * 32)
    works.world.inject(works.nodes[0], Start(SECOND, later), since(20))
    assert works.see_out(since(30)).problems == []
    jobs = works.node(0).peer.requester.jobs
    while not jobs[SECOND].stage.ended and works.world.timeline.now < since(120):
        works.world.run(after(works.world.timeline.now, seconds(1)))
    assert [(one.stage, one.reason) for one in jobs.values()] == [(Stage.DONE, "")] * 2
    for one in jobs.values():
        assert one.propose is not None
        assert SHARE // 2 < one.propose.disk_bytes <= SHARE  # There is room for one of them.
        assert one.job is not None
        assert len(one.job.leases) == 3  # No lease was lost.
    for index in (1, 2, 3):
        assert works.node(index).peer.provider.offers.declined["disk-too-small"]
