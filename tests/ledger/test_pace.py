"""How soon rounds follow each other: in haste while little waits and nobody is left behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.ids import NodeId, Round
from dpin.base.units import Instant, Micros, after
from dpin.ledger.blocks import Vertex
from dpin.ledger.core import Core
from dpin.ledger.pace import HASTE_MILLIS_EACH, LAG_ROUNDS, LITTLE, LITTLE_BYTES, SAVED_MAX, Pace
from dpin.ledger.params import ROUND_MARGIN_MAX
from tests.support.cluster import START, Cluster
from tests.support.forge import Forge, core_of

FORGE = Forge()
SLOW = 3
USUAL, HASTE = Micros(50_000), Micros(4 * HASTE_MILLIS_EACH * 1_000)
SMALL, LARGE = FORGE.roots[0], FORGE.block(1, 0, FORGE.roots, (bytes(LITTLE_BYTES + 1),))


def grown(rounds: int, lag: int) -> Core:
    """A DAG of so many rounds; the newest block of the slow member lies so many before the end."""
    core, last = core_of(FORGE.genesis), FORGE.roots
    for number in range(1, rounds + 1):
        late = number > rounds - lag
        authors = [author for author in range(4) if not (late and author == SLOW)]
        last = [FORGE.block(number, author, last) for author in authors]
        for block in last:
            core.offer(block, NodeId(bytes(32)), START)
    return core


def pace(rounds: int = 1, lag: int = 0) -> tuple[Pace, Round]:
    """The pace of a member that has just made a block, and the round reached."""
    core = grown(rounds, lag)
    one = Pace(core.rules.consensus, core.dag)
    one.made(START)
    return one, Round(rounds + 1)


def test_a_round_follows_in_haste_while_little_waits_and_at_the_usual_pace_under_load() -> None:
    one, reached = pace()
    assert one.haste(LITTLE, SMALL, reached) == after(START, HASTE)
    assert one.haste(LITTLE + 1, SMALL, reached) == after(START, USUAL)
    assert one.haste(0, LARGE, reached) == after(START, USUAL)


@pytest.mark.parametrize(("members", "millis"), [(1, 2), (4, 8), (7, 14), (31, 50)])
def test_more_members_hurry_less_because_each_costs_everybody_time(
    members: int, millis: int
) -> None:
    forge = Forge(members)
    core = core_of(forge.genesis)
    one = Pace(core.rules.consensus, core.dag)
    one.made(START)
    assert one.haste(1, forge.roots[0], Round(1)) == after(START, Micros(millis * 1_000))


@pytest.mark.parametrize(
    ("lag", "delay"),
    [
        (0, HASTE),
        (LAG_ROUNDS, HASTE),
        (LAG_ROUNDS + 1, USUAL),
        (ROUND_MARGIN_MAX, USUAL),
        (ROUND_MARGIN_MAX + 1, HASTE),  # nobody can link to its blocks any more: it is down
    ],
)
def test_whoever_lags_and_is_up_is_waited_for(lag: int, delay: Micros) -> None:
    one, reached = pace(ROUND_MARGIN_MAX + 2, lag)
    assert one.haste(1, SMALL, reached) == after(START, delay)


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=300))
def test_over_time_there_are_no_more_rounds_than_at_the_usual_pace(pauses: list[int]) -> None:
    one, reached = pace()
    now, made = START, 1
    for pause in pauses:
        due = one.haste(1, SMALL, reached)
        assert after(now, HASTE) <= due <= after(now, USUAL)
        now, made = after(due, Micros(pause)), made + 1
        one.made(now)
        assert made <= SAVED_MAX + 1 + (now - START) // USUAL


def test_what_was_saved_runs_out_and_is_saved_up_again() -> None:
    one, reached = pace()
    now, hasty = START, 0
    while one.haste(1, SMALL, reached) == after(now, HASTE):
        now, hasty = after(now, HASTE), hasty + 1
        one.made(now)
    assert SAVED_MAX <= hasty <= SAVED_MAX * USUAL // (USUAL - HASTE) + 1
    assert one.haste(1, SMALL, reached) <= after(now, USUAL)
    now = after(now, Micros(100 * USUAL))
    one.made(now)
    assert one.haste(1, SMALL, reached) == after(now, HASTE)


def test_a_clock_set_back_costs_haste_and_no_more() -> None:
    one, reached = pace()
    back = Instant(START - 3_600_000_000)
    one.observe(back)
    assert one.haste(1, SMALL, reached) <= after(back, USUAL)


def lags(cluster: Cluster) -> int:
    """How many rounds the slow member is behind, as the first one sees it."""
    dag = cluster.replica(0).engine.core.dag
    return dag.highest - dag.newest[SLOW]


def given_and_applied(cluster: Cluster, seconds: int) -> tuple[list[bytes], list[bytes]]:
    """What the slow member was given for so long, and what of it the first one has applied."""
    given: list[bytes] = []
    for number in range(1, 5 * seconds + 1):
        for member in range(4):
            data = cluster.submit(member, number)
            given += [data] if member == SLOW else []
        cluster.run(0.2)
    cluster.run(2)
    return given, [one for one in cluster.executor(0).transactions if one in set(given)]


@pytest.mark.parametrize("millis", [30, 120, 300])
def test_a_slow_member_is_not_outrun_by_those_that_are_near_each_other(millis: int) -> None:
    cluster = Cluster(4, seed=millis)
    slow = cluster.nodes[SLOW]
    cluster.slower = lambda *ends: Micros(1_000 * millis if slow in ends else 0)
    cluster.start()
    given, applied = given_and_applied(cluster, seconds=6)
    assert applied == given
    dag = cluster.replica(0).engine.core.dag
    linked = {link for it in dag.at(dag.highest) for link in it.links}
    assert SLOW in linked
    cluster.check_agreement()


def test_without_anybody_slow_a_transaction_is_final_within_four_hasty_rounds() -> None:
    cluster = Cluster(4)
    cluster.start()
    cluster.submit(0, 1)
    cluster.run(2)
    began = cluster.now
    data = cluster.submit(1, 1)
    while data not in cluster.executor(1).transactions:
        cluster.run(0.001)
    assert cluster.now - began <= 5 * HASTE


def block_bytes(block: Vertex) -> int:
    """What a block carries."""
    return block.block.header.payload_bytes


def test_under_load_blocks_are_few_and_full() -> None:
    """Haste ends where it would only divide the same payload among more blocks."""
    cluster = Cluster(4)
    cluster.start()
    given = 60
    for number in range(1, given + 1):
        for member in range(4):
            cluster.submit(member, number)
    cluster.run(2)
    dag = cluster.replica(0).engine.core.dag
    full = [it for at in range(1, dag.highest) for it in dag.at(Round(at)) if block_bytes(it)]
    assert sum(it.block.header.transactions for it in full) == 4 * given
    assert len(full) <= 12
