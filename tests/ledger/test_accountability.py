"""Half of the weight lies, and two honest ledgers part: when they meet, each names both liars."""

from collections.abc import Sequence

import pytest

from dpin.base.codec import encode
from dpin.base.ids import Round
from dpin.base.machine import Received
from dpin.ledger.dag import Dag, encoded
from dpin.ledger.messages import BlockMessage
from dpin.ledger.proposer import Content, Proposer
from dpin.ledger.replica import Silenced
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


def test_who_is_first_to_sign_with_a_stolen_key_silences_its_owner_and_contradicts_nobody() -> None:
    cluster = Cluster(4)
    cluster.deadlines = True
    cluster.start()
    cluster.run(3)
    victim = cluster.replica(2).engine
    assert victim.member.role is not None
    copy = Proposer(victim.core.rules, victim.core.dag, victim.member.role.proposer._author)
    copy.restore(victim.member.role.proposer.last)
    copy.observe(cluster.now)
    assert copy.last.round < copy.reached  # Its owner waits: the network has time.
    block = encode(BlockMessage(encoded(copy.make(Content(), cluster.now))))
    for node in cluster.nodes:
        cluster.feed(node, Received(cluster.nodes[0], block))
    height = cluster.replica(0).engine.core.height
    cluster.run(10)
    silent = [node for node, it in cluster.places.items() if _says_silence(it.effects)]
    assert silent == [cluster.nodes[2]]
    assert cluster.replica(0).engine.core.height > height
    for number in range(4):
        dag = cluster.replica(number).engine.core.dag
        rounds = range(dag.base + 1, dag.highest + 1)
        assert all(len(dag.slot(Round(round_), 2)) < 2 for round_ in rounds)
        assert cluster.replica(number).engine.annals.watches[0].twins == {}


def _says_silence(effects: Sequence[object]) -> bool:
    return any(isinstance(one, Silenced) for one in effects)
