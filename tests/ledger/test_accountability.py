"""Half of the weight lies, and two honest ledgers part: when they meet, each names both liars."""

from collections.abc import Sequence

import pytest

from dpin.ledger.dag import Dag
from tests.support.cluster import Cluster

LIARS = (2, 3)


def half(honest: int, seconds: int) -> Cluster:
    """What one honest validator sees of liars who never speak of it to the other one."""
    cluster = Cluster(4)
    cluster.deadlines = True
    cluster.start(honest, *LIARS)
    for number in range(1, 11):
        cluster.submit(honest, 100 * honest + number)
        cluster.run(seconds / 10)
    for liar in LIARS:
        cluster.crash(liar)
    return cluster


def met(one: Cluster, other: Cluster) -> Cluster:
    """Both honest validators in one network, without the liars."""
    node = one.nodes[1]
    one.places[node] = other.places[node]
    one.now = max(one.now, other.now)
    one._meet(one.nodes[0], node)
    one.run(5)
    return one


def equivocators(dags: Sequence[Dag]) -> list[set[int]]:
    return [dag.equivocators for dag in dags]


@pytest.mark.parametrize("seconds", [2, 8])  # 8: there are rounds that nobody takes any more.
def test_whoever_divides_the_honest_is_named_by_both_and_nobody_else_is(seconds: int) -> None:
    one, other = half(0, seconds), half(1, seconds)
    ledgers = [one.executor(0), other.executor(1)]
    heights = min(len(ledger.commits) for ledger in ledgers)
    assert ledgers[0].commits[heights - 1].digest != ledgers[1].commits[heights - 1].digest
    replicas = [one.replica(0), other.replica(1)]
    assert equivocators([it.engine.core.dag for it in replicas]) == [set(), set()]
    met(one, other)
    assert equivocators([it.engine.core.dag for it in replicas]) == [set(LIARS), set(LIARS)]
    for replica in replicas:
        assert sorted(author for _, author in replica.disputes.forks.caught) == [*LIARS]
