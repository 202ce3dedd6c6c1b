"""The commit rule on DAGs drawn by hand, the published one first."""

import json
from pathlib import Path

from dpin.base.ids import Round
from dpin.ledger.blocks import Vertex
from dpin.ledger.commit import (
    CommitRule,
    Status,
    before_all,
    commit_time,
    decided,
    gc_limit,
    linearise,
    ordered,
)
from dpin.ledger.committee import Committee
from tests.support.dags import SEED, Dag, committee_of, vertex

VECTOR = Path(__file__).parents[1] / "vectors" / "mysticeti" / "appendix-a.json"
EVEN = committee_of([1, 1, 1, 1])


def published() -> tuple[Dag, dict[str, Vertex], dict[tuple[int, int], int]]:
    """The DAG of the paper's appendix, one round up, and its leaders by round and rank."""
    data = json.loads(VECTOR.read_text())
    genesis = [vertex(0, author, ()) for author in range(4)]
    made: dict[str, Vertex] = {}
    leaders: dict[tuple[int, int], int] = {}
    for name, block in data["blocks"].items():
        parents = [made[parent] for parent in block["parents"]] or genesis
        made[name] = vertex(block["round"] + 1, block["authority"], parents)
        leaders[block["round"] + 1, block["leader_rank"]] = block["authority"]
    return Dag([*genesis, *made.values()]), made, leaders


def published_leaders(leaders: dict[tuple[int, int], int], round_: Round) -> list[int]:
    """Four a round; a slot whose block is not in the figure belongs to whoever is left."""
    named = [leaders.get((round_, rank)) for rank in range(4)]
    left = [author for author in range(4) if author not in named]
    return [author if author is not None else left.pop(0) for author in named]


def test_the_published_scenario_is_decided_as_published() -> None:
    dag, blocks, leaders = published()
    rule = CommitRule(EVEN, lambda round_: published_leaders(leaders, round_))
    decisions = rule.decide(dag, before_all(Round(0)))
    found = {(one.slot.round, one.slot.rank): one for one in decisions}
    data = json.loads(VECTOR.read_text())
    for name, status in data["decisions"].items():
        slot = (Round(int(name[1])), "abcd".index(name[2]))
        assert found[slot].status is Status[status.upper()], name
        assert found[slot].block is (blocks[name] if status == "commit" else None), name
    sequence = [one.block for one in decided(decisions) if one.block is not None]
    assert sequence == [blocks[name] for name in data["committed_sequence"]]


def full_rounds(rounds: int, missing: dict[int, set[int]] | None = None) -> Dag:
    """Everybody links to everybody; `missing[r]` are the authors without a block in round r."""
    dag = Dag(vertex(0, author, ()) for author in range(4))
    for number in range(1, rounds + 1):
        parents = list(dag.at(Round(number - 1)))
        for author in range(4):
            if author not in (missing or {}).get(number, set()):
                own = [block for block in parents if block.author == author]
                rest = [block for block in parents if block.author != author]
                dag.add(vertex(number, author, [*own, *rest]))
    return dag


def rule() -> CommitRule:
    return CommitRule(EVEN, lambda round_: (round_ % 4,))


def statuses(dag: Dag) -> list[Status]:
    return [one.status for one in rule().decide(dag, before_all(Round(0)))]


def test_a_leader_commits_two_rounds_later() -> None:
    assert statuses(full_rounds(2)) == [Status.UNDECIDED] * 2
    assert statuses(full_rounds(3)) == [Status.COMMIT, Status.UNDECIDED, Status.UNDECIDED]


def test_an_absent_leader_is_skipped_after_one_round() -> None:
    assert statuses(full_rounds(3, {1: {1}}))[0] is Status.SKIP


def test_deciding_again_from_the_last_slot_changes_nothing() -> None:
    dag = full_rounds(9, {2: {2}, 5: {1}})
    everything = decided(rule().decide(dag, before_all(Round(0))))
    for number, decision in enumerate(everything):
        later = decided(rule().decide(dag, decision.slot))
        assert later == everything[number + 1 :]


def test_an_empty_dag_decides_nothing() -> None:
    assert rule().decide(full_rounds(0), before_all(Round(0))) == []


def test_a_commit_takes_all_it_reaches_above_the_limit_once() -> None:
    dag = full_rounds(8)
    first = dag.slot(Round(3), 3)[0]
    early = linearise(dag, first, frozenset(), gc_limit(first, 60))
    assert {block.round for block in early} == {1, 2, 3}
    assert len(early) == 9
    second = dag.slot(Round(8), 0)[0]
    late = linearise(dag, second, {block.digest for block in early}, gc_limit(second, 4))
    assert {block.round for block in late} == {5, 6, 7, 8}


def test_the_mix_turns_the_order_of_authors_within_a_round() -> None:
    dag = full_rounds(1)
    blocks = list(dag.at(Round(1)))
    for turn in range(4):
        mix = type(SEED)((turn).to_bytes(32))
        authors = [block.author for block in ordered(blocks, mix, 4)]
        assert authors == sorted(range(4), key=lambda author: (author + turn) % 4)


def test_the_time_of_a_commit_is_the_lower_median_and_grows() -> None:
    dag = full_rounds(2)
    leader = dag.slot(Round(2), 2)[0]
    assert commit_time(dag, leader, EVEN, 0) == 1_001
    assert commit_time(dag, leader, EVEN, 5_000) == 5_001
    heavy = Committee(EVEN.members, (1, 1, 1, 9), SEED)
    assert commit_time(dag, leader, heavy, 0) == 1_003
