"""A node that has been through many jobs remembers no more of them than of a few.

Beside the ledger's own records, and lists whose limit has a name: those are made small here.
"""

from collections import Counter
from dataclasses import replace
from typing import Final

import msgspec
import pytest

from dpin.base.units import MicroTokens, after, seconds
from dpin.market.engagement import Fault
from dpin.market.provider import Choice
from dpin.market.requester import Start
from dpin.sim.jobs import Works, _choice, training
from dpin.sim.stage import MEMBERS
from tests.support.weighing import Path, weighed

FEW: Final = 12
MANY: Final = 36
AT_ONCE: Final = 6
QUIET: Final = seconds(75)  # as long as who has worked under masks stays for others
# A log that begins anew leaves these out; so far it has not.
LOG: Final = {"_own_jobs"}
OWN_JOBS: Final = 8  # that a requester keeps in memory
# What is the ledger's, or follows its rounds: state, receipts, blocks and signatures.
LEDGER: Final = {"executor", "replica", "_dag", "_state"}


pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def eager(index: int, fault: Fault) -> Choice:
    """A node that works on several jobs at once."""
    return replace(_choice(index, fault), leases_max=AT_ONCE)


class Busy:
    """A network through one small job after the other."""

    def __init__(self, privacy: str) -> None:
        seats = 3 if privacy == "secagg" else 1
        order = training(seats, privacy)
        self.order = msgspec.structs.replace(order, rounds=1, budget=MicroTokens(60_000_000))
        self.works = Works("growth", 5, self.order)
        self.names = {"j-simulated"}
        self.done: set[str] = set()

    def see(self, jobs: int) -> None:
        """Until so many jobs are done, and all is quiet."""
        world = self.works.world
        while len(self.done) < jobs:
            world.run(after(world.timeline.now, seconds(1)))
            assert not world.trace.problems
            known = self.works.node(0).peer.requester.jobs
            assert not {own.reason for own in known.values() if own.stage.ended} - {""}
            self.done |= {name for name, own in known.items() if own.stage.ended}
            while len(self.names) < min(jobs, len(self.done) + AT_ONCE):
                self._begin()
        world.run(after(world.timeline.now, QUIET))

    def _begin(self) -> None:
        number = len(self.names)
        self.names.add(f"j-{number}")
        order = msgspec.structs.replace(self.order, seed=number.to_bytes(32))
        now = after(self.works.world.timeline.now, seconds(0.1))
        self.works.world.inject(self.works.nodes[0], Start(f"j-{number}", order), now)

    def weights(self) -> list[Counter[Path]]:
        """Of what each node remembers, without the ledger."""
        return [self._weight(index) for index in range(MEMBERS)]

    def _weight(self, index: int) -> Counter[Path]:
        peer = self.works.node(index).peer
        ledger = frozenset({id(peer.state), id(peer.executor), id(peer.replica)})
        found = weighed(peer, without=ledger)
        return Counter(
            {path: size for path, size in found.items() if not (LEDGER & {*path} or path[0] in LOG)}
        )


@pytest.mark.parametrize("privacy", ["none", "sealed", "secagg"])
def test_what_a_node_remembers_does_not_grow_with_the_jobs_that_are_over(
    privacy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpin.market.ownjobs.JOBS_MAX", OWN_JOBS)
    monkeypatch.setattr("dpin.market.ownjobs.FORGOTTEN_MAX", 1)
    monkeypatch.setattr("dpin.market.legacy.BEQUESTS_MAX", 1)
    monkeypatch.setattr("dpin.sim.jobs._choice", eager)
    monkeypatch.setattr("dpin.ledger.wishes.RESTING_MAX", OWN_JOBS)
    busy = Busy(privacy)
    busy.see(FEW)
    before = busy.weights()
    busy.see(MANY)
    grown = {
        (index, ".".join(path)): (few[path], many[path])
        for index, (few, many) in enumerate(zip(before, busy.weights(), strict=True))
        for path in many
        if many[path] - few[path] >= (MANY - FEW) // 4
    }
    assert grown == {}


def test_a_list_that_grows_behind_fields_and_slots_is_found() -> None:
    class Slotted:
        __slots__ = ("__held",)

        def __init__(self) -> None:
            self.__held = {1: [b"a", b"b"], 2: [b"c"]}

    found = weighed({"x": Slotted()})
    assert sorted(found.values()) == [1, 2, 3]
