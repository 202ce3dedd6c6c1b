"""A member that hears nothing from one author is told its blocks by the others, unasked."""

import pytest
from typing_extensions import override

from dpin.base.ids import NodeId
from dpin.base.machine import Received
from dpin.base.units import Micros, after
from dpin.ledger import push
from dpin.ledger.blocks import read_block
from dpin.ledger.messages import AskBlocks, BlockMessage, read_message
from dpin.ledger.push import BYTES_MAX, PUSHED_MAX, Push
from tests.support.cluster import LATENCY, Cluster


class Streams(Cluster):
    """A cluster whose links keep the order, as streams do; it counts questions for blocks."""

    def __init__(self, members: int) -> None:
        super().__init__(members)
        self.asked = dict.fromkeys(self.nodes, 0)

    @override
    def _send(self, node: NodeId, peer: NodeId, payload: bytes) -> None:
        self.asked[node] += isinstance(read_message(payload), AskBlocks)
        if not self.cut(node, peer):
            self._at(after(self.now, LATENCY), lambda: self.feed(peer, Received(node, payload)))


def deaf(monkeypatch: pytest.MonkeyPatch, *, pushing: bool) -> tuple[int, int]:
    """Node 3 hears nothing of node 0: how often it asked for blocks, and how many commits came."""
    if not pushing:
        monkeypatch.setattr(push, "BYTES_MAX", 0)
    cluster = Streams(4)
    cluster.deadlines = True
    first, last = cluster.nodes[0], cluster.nodes[3]
    cluster.cut = lambda source, target: source == first and target == last
    cluster.start()
    for sequence in range(1, 16):
        cluster.submit(1, sequence)
        cluster.run(0.2)
    cluster.run(2)
    cluster.check_agreement()
    return cluster.asked[last], len(cluster.executor(3).commits)


def test_whoever_hears_nothing_of_one_asks_less_where_others_push(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, commits = deaf(monkeypatch, pushing=True)
    without, as_many = deaf(monkeypatch, pushing=False)
    assert min(commits, as_many) > 20
    assert without > 20
    assert asked < without // 3


def test_nothing_is_pushed_while_all_hear_from_all() -> None:
    cluster = Cluster(4)
    cluster.start()
    for sequence in range(1, 20):
        cluster.submit(sequence % 4, sequence)
        cluster.run(0.2)
    for number in range(4):
        engine = cluster.replica(number).engine
        own, core = engine.member.last, engine.core
        assert own is not None
        pushed = Push(core.dag, core.rules.committee)
        assert [pushed.ahead_of(own, node) for node in cluster.nodes] == 4 * [[]]


class Late(Cluster):
    """What node 0 sends takes longer, so that three others have gone on; it counts pushes."""

    pushed = 0

    @override
    def _send(self, node: NodeId, peer: NodeId, payload: bytes) -> None:
        message = read_message(payload)
        if isinstance(message, BlockMessage):
            author = read_block(message.block).block.header.author
            self.pushed += self.nodes[author] != node
        wait = Micros(6 * LATENCY) if node == self.nodes[0] else LATENCY
        self._at(after(self.now, wait), lambda: self.feed(peer, Received(node, payload)))


def pushed_for_the_late(monkeypatch: pytest.MonkeyPatch, late_rounds: int) -> int:
    monkeypatch.setattr(push, "LATE_ROUNDS", late_rounds)
    cluster = Late(4)
    cluster.deadlines = True
    cluster.start()
    for sequence in range(1, 16):
        cluster.submit(1, sequence)
        cluster.run(0.2)
    cluster.check_agreement()
    return cluster.pushed


def test_who_is_only_late_is_not_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pushed_for_the_late(monkeypatch, late_rounds=1) > 10
    assert pushed_for_the_late(monkeypatch, late_rounds=2) == 0


def test_what_is_pushed_is_bounded_and_sent_once() -> None:
    cluster = Cluster(4)
    first, last = cluster.nodes[0], cluster.nodes[3]
    cluster.cut = lambda source, target: source == first and target == last
    cluster.start()
    for sequence in range(1, 12):
        cluster.submit(1, sequence)
        cluster.run(0.2)
    engine = cluster.replica(1).engine
    own, core = engine.member.last, engine.core
    assert own is not None
    pushed = Push(core.dag, core.rules.committee)
    sent = pushed.ahead_of(own, last)
    assert sum(map(len, sent)) <= BYTES_MAX
    assert pushed.ahead_of(own, last) == []
    assert len(pushed) == len(sent) <= PUSHED_MAX
    assert pushed.ahead_of(own, NodeId(bytes(32))) == []
