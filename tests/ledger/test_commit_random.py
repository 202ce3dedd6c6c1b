"""Whatever part of a DAG nodes see, they order it alike; and a wrong rule is found out.

DPIN_DAGS=100000 draws more.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pytest
from typing_extensions import override

from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.ledger.blocks import Vertex
from dpin.ledger.commit import (
    CommitRule,
    Decision,
    Leaders,
    Slot,
    Status,
    before_all,
    decided,
    gc_limit,
    linearise,
    ordered,
)
from dpin.ledger.committee import Committee
from tests.support.dags import Dag, Dice, Drawing, Shape, committee_of, draw_shape, views

DAGS: Final = int(os.environ.get("DPIN_DAGS", "1500"))
DAGS_TO_CATCH: Final = 4_000
VIEWS: Final = 5

Entry = tuple[Slot, Status, tuple[Digest, ...]]


@dataclass(frozen=True)
class Ordering:
    """A commit rule with all that surrounds it: the true one, or one with a planted fault."""

    rule: Callable[[Committee, Leaders], CommitRule] = CommitRule
    limit: Callable[[Dag, Vertex, int], Round] = lambda _view, leader, depth: gc_limit(
        leader, depth
    )
    order: Callable[[Dag, Sequence[Vertex], Digest, int], Sequence[Vertex]] = (
        lambda _view, blocks, mix, members: ordered(blocks, mix, members)
    )


class OneLess(CommitRule):
    def __init__(self, committee: Committee, leaders: Leaders) -> None:
        super().__init__(committee, leaders)
        self._certificate_weight -= 1
        self._commit_weight -= 1
        self._skip_weight -= 1


class AnchorSkipsUndecided(CommitRule):
    @override
    def _anchor(self, slot: Slot, later: Sequence[Decision]) -> Decision | None:
        return super()._anchor(slot, [one for one in later if one.status is Status.COMMIT])


class AnchorTooNear(CommitRule):
    def __init__(self, committee: Committee, leaders: Leaders) -> None:
        super().__init__(committee, leaders)
        self._anchor_distance -= 1


class SkipByFew(CommitRule):
    def __init__(self, committee: Committee, leaders: Leaders) -> None:
        super().__init__(committee, leaders)
        self._skip_weight = committee.honest


class CommitByOneCertificate(CommitRule):
    def __init__(self, committee: Committee, leaders: Leaders) -> None:
        super().__init__(committee, leaders)
        self._commit_weight = 1


def arrival_order(view: Dag, blocks: Sequence[Vertex], mix: Digest, members: int) -> list[Vertex]:
    del mix, members
    place = {name: number for number, name in enumerate(view.blocks)}
    return sorted(blocks, key=lambda block: (block.round, place[block.digest]))


FAULTS: Final = {
    "quorum less one": Ordering(OneLess),
    "the anchor skips undecided slots": Ordering(AnchorSkipsUndecided),
    "the anchor is a round too near": Ordering(AnchorTooNear),
    "a slot is skipped by a third": Ordering(SkipByFew),
    "one certificate commits": Ordering(CommitByOneCertificate),
    "the GC limit follows local state": Ordering(
        limit=lambda view, _leader, depth: Round(view.highest - depth)
    ),
    "the order follows arrival": Ordering(order=arrival_order),
}


def history(ordering: Ordering, committee: Committee, view: Dag, gc_depth: int) -> list[Entry]:
    """All slots decided in a view, with the blocks that each commit adds, in order."""
    rule = ordering.rule(committee, committee.leaders)
    entries: list[Entry] = []
    committed: set[Digest] = set()
    mix = NO_DIGEST
    for decision in decided(rule.decide(view, before_all(Round(0)))):
        names: tuple[Digest, ...] = ()
        if decision.block is not None:
            limit = ordering.limit(view, decision.block, gc_depth)
            found = linearise(view, decision.block, committed, limit)
            names = tuple(
                block.digest for block in ordering.order(view, found, mix, len(committee))
            )
            committed.update(names)
            mix = digest("test/mix", mix + decision.block.digest)
        entries.append((decision.slot, decision.status, names))
    return entries


def drawn(seed: int) -> tuple[Shape, Committee, Dag, list[Dag]]:
    dice = Dice(seed)
    shape = draw_shape(dice)
    committee = committee_of([1] * shape.members)
    dag = Drawing(shape, committee, dice).draw()
    return shape, committee, dag, views(dag, dice, VIEWS)


def disagreement(ordering: Ordering, seed: int) -> str | None:
    """Why two views of one DAG are not ordered alike, if they are not."""
    shape, committee, dag, parts = drawn(seed)
    try:
        longest = history(ordering, committee, dag, shape.gc_depth)
        for part in parts:
            entries = history(ordering, committee, part, shape.gc_depth)
            if entries != longest[: len(entries)]:
                return f"seed {seed}: a part of the DAG is ordered differently"
    except AssertionError as error:
        return f"seed {seed}: {error}"
    return None


def test_every_part_of_a_dag_is_ordered_alike() -> None:
    for seed in range(DAGS):
        assert disagreement(Ordering(), seed) is None


def test_drawn_dags_have_all_that_makes_deciding_hard() -> None:
    """Commits, skips, undecided slots, twins that lead, and decisions by an anchor."""
    met: dict[str, int] = {}
    for seed in range(100):
        _, committee, dag, _ = drawn(seed)
        rule = CommitRule(committee, committee.leaders)
        for decision in rule.decide(dag, before_all(Round(0))):
            direct = rule._direct(dag, decision.slot, decision.author).status
            twins = len(dag.slot(decision.slot.round, decision.author)) > 1
            for name in (
                decision.status.name,
                f"{direct.name} {decision.status.name}",
                f"twins {twins}",
            ):
                met[name] = met.get(name, 0) + 1
    for name in ("COMMIT", "SKIP", "UNDECIDED COMMIT", "UNDECIDED SKIP", "twins True"):
        assert met.get(name, 0) >= 20, (name, met)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    seeds = range(DAGS_TO_CATCH)
    assert any(disagreement(FAULTS[fault], seed) is not None for seed in seeds), fault
