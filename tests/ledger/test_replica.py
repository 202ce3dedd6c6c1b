"""Replicas among each other: agreement, silence, crashes, losses, catching up."""

import pytest

from dpin.base.codec import decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, Digest, NodeId, Round
from dpin.base.machine import Blame, PeerUp, Received, Send, Store, Tick, Wake
from dpin.base.units import Instant, seconds
from dpin.ledger.annals import END, OWN, Record
from dpin.ledger.blocks import read_block
from dpin.ledger.dag import encoded
from dpin.ledger.identity import Identity
from dpin.ledger.mempool import DUPLICATE, MALFORMED
from dpin.ledger.messages import (
    AskBlocks,
    AskNewest,
    AskRange,
    BlockMessage,
    Blocks,
    Message,
    Newest,
    SubmitTransaction,
    Subscribe,
    Subscribed,
    read_message,
)
from dpin.ledger.replica import Applied, Refused, Replica, Silenced, Submit
from dpin.ledger.serve import ANSWERS_MAX, FOLLOWERS_MAX, place
from tests.support.cluster import START, Cluster, FakeExecutor, key, transfer


def own_blocks(cluster: Cluster, number: int) -> list[tuple[int, Digest]]:
    """Round and name of every own block in a log."""
    records = [decode(Record, data) for data in cluster.places[cluster.nodes[number]].records]
    blocks = [read_block(record.body) for record in records if record.kind == OWN]
    return [(block.round, block.digest) for block in blocks]


def check_one_block_a_round(cluster: Cluster) -> None:
    """No correct author has two blocks in a round, in anybody's log."""
    seen: dict[tuple[int, int, int], Digest] = {}
    for node in cluster.places.values():
        for data in node.records:
            record = decode(Record, data)
            if record.kind == END:
                continue
            block = read_block(record.body)
            slot = (block.block.header.epoch, block.round, block.author)
            assert seen.setdefault(slot, block.digest) == block.digest


def test_four_replicas_commit_a_transaction_in_the_same_order() -> None:
    cluster = Cluster(4)
    cluster.start()
    cluster.run(0.1)
    wanted = [cluster.submit(number, 1) for number in range(4)]
    cluster.run(1)
    for number in range(4):
        assert sorted(cluster.executor(number).transactions) == sorted(wanted)
    cluster.check_agreement()


def test_one_replica_alone_commits_at_once() -> None:
    cluster = Cluster(1)
    cluster.start()
    wanted = cluster.submit(0, 1)
    assert cluster.executor(0).transactions == [wanted]
    cluster.run(10)
    assert cluster.replica(0).engine.core.dag.highest == 13  # until the checkpoint is certified
    assert cluster.replica(0).engine.certificate is not None


def test_an_idle_network_falls_silent_and_wakes_at_once() -> None:
    cluster = Cluster(4)
    cluster.start()
    cluster.run(1)
    cluster.submit(0, 1)
    cluster.run(2)
    rounds = cluster.replica(0).engine.core.dag.highest
    cluster.run(100)
    before = cluster.sent
    cluster.run(60)
    assert cluster.replica(0).engine.core.dag.highest == rounds
    assert cluster.sent - before <= 2 * 4  # a question and an answer each
    for number in (3, 2, 1, 0):
        wanted = cluster.submit(number, 2)
        cluster.run(0.5)
        assert all(wanted in cluster.executor(other).transactions for other in range(4))
        cluster.run(20)


def test_a_silent_network_stands_in_one_round() -> None:
    cluster = Cluster(4)
    cluster.start()
    cluster.submit(2, 1)
    cluster.run(5)
    standing = {cluster.replica(number).engine.core.dag.weight(Round(1)) for number in range(4)}
    assert standing == {4}
    assert len({own_blocks(cluster, number)[-1][0] for number in range(4)}) == 1


def test_deadlines_keep_a_slow_pace() -> None:
    cluster = Cluster(4)
    cluster.start()
    for number in range(4):
        cluster.executor(number).has_deadlines = True
    cluster.run(20)
    rounds = cluster.replica(0).engine.core.dag.highest
    assert 15 <= rounds <= 25  # idle_round_ms is 1,000
    assert len(cluster.executor(0).commits) >= rounds - 4


def test_one_of_four_may_be_down() -> None:
    cluster = Cluster(4)
    cluster.start(0, 1, 2)
    wanted = [cluster.submit(number, sequence) for sequence in (1, 2) for number in range(3)]
    cluster.run(5)
    for number in range(3):
        assert sorted(cluster.executor(number).transactions) == sorted(wanted)
    cluster.start(3)
    cluster.run(5)
    assert sorted(cluster.executor(3).transactions) == sorted(wanted)
    cluster.check_agreement()


def test_two_of_four_commit_nothing_until_a_third_is_back() -> None:
    cluster = Cluster(4)
    cluster.start()
    cluster.run(0.5)
    cluster.crash(2)
    cluster.crash(3)
    wanted = cluster.submit(0, 1)
    cluster.run(5)
    assert cluster.executor(0).commits == []
    cluster.start(2)
    cluster.run(3)
    assert all(wanted in cluster.executor(number).transactions for number in range(3))


def test_exactly_a_third_of_the_weight_away_stops_the_ledger_until_one_is_back() -> None:
    """Six of one weight: a quorum is five, and two are not less than a third."""
    cluster = Cluster(6)
    cluster.start()
    cluster.run(0.5)
    cluster.crash(4)
    cluster.crash(5)
    wanted = cluster.submit(0, 1)
    cluster.run(5)
    assert all(cluster.executor(number).commits == [] for number in range(4))
    cluster.start(4)
    cluster.run(3)
    assert all(wanted in cluster.executor(number).transactions for number in range(5))


@pytest.mark.parametrize("seed", range(3))
def test_losses_delay_but_never_divide(seed: int) -> None:
    cluster = Cluster(4, observers=1, seed=seed)
    cluster.loss_percent = 20
    cluster.start()
    wanted = []
    for sequence in range(1, 11):
        wanted += [cluster.submit(number, sequence) for number in range(4)]
        cluster.run(0.3)
    cluster.loss_percent = 0
    cluster.run(130)
    cluster.check_agreement()
    for number in range(5):
        assert sorted(cluster.executor(number).transactions) == sorted(wanted)
    check_one_block_a_round(cluster)


def test_a_partition_stops_the_smaller_part_and_heals() -> None:
    cluster = Cluster(4)
    cluster.start()
    cluster.run(0.5)
    alone = cluster.nodes[3]
    cluster.cut = lambda one, other: (one == alone) != (other == alone)
    stuck = cluster.submit(3, 1)
    wanted = [cluster.submit(0, sequence) for sequence in range(1, 20)]
    cluster.run(10)
    assert cluster.executor(3).transactions == []
    assert cluster.executor(1).transactions == wanted
    cluster.cut = lambda _one, _other: False
    cluster.run(10)
    for number in range(4):
        assert sorted(cluster.executor(number).transactions) == sorted([*wanted, stuck])
    cluster.check_agreement()


def test_crashes_and_restarts_lose_nothing_and_sign_nothing_twice() -> None:
    cluster = Cluster(4)
    cluster.start()
    wanted = []
    for sequence in range(1, 17):
        victim = sequence % 4
        cluster.crash(victim)
        wanted += [cluster.submit(other, sequence) for other in range(4) if other != victim]
        cluster.run(0.6)
        cluster.start(victim)
        cluster.run(0.15)
    cluster.run(5)
    cluster.check_agreement()
    check_one_block_a_round(cluster)
    committed = set(cluster.executor(0).transactions)
    assert {len(cluster.executor(number).transactions) for number in range(4)} == {len(committed)}
    # A transaction that waited only in the memory of a victim is lost; its sender asks again.
    assert len(committed) >= len(wanted) * 3 // 4


def test_all_crash_and_come_back_with_the_same_log() -> None:
    cluster = Cluster(4)
    cluster.start()
    wanted = [cluster.submit(number, 1) for number in range(4)]
    cluster.run(3)
    before = [commit.digest for commit in cluster.executor(0).commits]
    for number in range(4):
        cluster.crash(number)
    cluster.start()
    cluster.run(1)
    again = cluster.submit(1, 2)
    cluster.run(3)
    for number in range(4):
        executor = cluster.executor(number)
        assert [commit.digest for commit in executor.commits][: len(before)] == before
        assert sorted(executor.transactions) == sorted([*wanted, again])
    check_one_block_a_round(cluster)


@pytest.mark.parametrize("slice_", range(4))
def test_a_crash_after_any_effect_never_leads_to_two_blocks_of_a_round(slice_: int) -> None:
    """Member 0 is cut off after its first, second, ... effect, and comes back from its log."""
    for effects in range(slice_, 40, 4):
        cluster = Cluster(4)
        cluster.start()
        cluster.places[cluster.nodes[0]].fuse = effects
        wanted = [cluster.submit(number, 1) for number in range(4)]
        cluster.run(0.4)
        assert cluster.places[cluster.nodes[0]].replica is None, effects
        cluster.start(0)
        again = cluster.submit(0, 2)
        cluster.run(1.5)
        assert all(len(names) == 1 for names in cluster.blocks_sent.values()), effects
        check_one_block_a_round(cluster)
        cluster.check_agreement()
        done = set(cluster.executor(0).transactions)
        assert {*wanted[1:], again} <= done <= {*wanted, again}, effects


def test_a_start_sends_the_last_own_block_again_and_signs_none_before_it_heard_of_others() -> None:
    cluster = Cluster(4)
    cluster.start()
    cluster.submit(0, 1)
    cluster.run(2)
    place_ = cluster.places[cluster.nodes[0]]
    last = own_blocks(cluster, 0)[-1][1]
    replica = Replica(cluster.genesis, Identity(place_.key), FakeExecutor(), place_.records)
    first = replica.step(Tick(), cluster.now)
    assert [effect.replayed for effect in first if isinstance(effect, Applied)] == [True]
    effects = [*replica.step(PeerUp(cluster.nodes[1]), cluster.now)]
    effects += replica.step(Submit(transfer(place_.key, cluster.chain, 2)), cluster.now)
    sent = [read_message(effect.payload) for effect in effects if isinstance(effect, Send)]
    blocks = [read_block(one.block).digest for one in sent if isinstance(one, BlockMessage)]
    assert blocks == [last]
    assert not [effect for effect in effects if isinstance(effect, Store)]
    assert AskNewest() in sent
    for peer in cluster.nodes[1:3]:
        message = encode(Newest(0, Round(1), None, b""))
        effects = [*replica.step(Received(peer, message), cluster.now)]
    assert [effect.sync for effect in effects if isinstance(effect, Store)] == [True]


def test_a_member_that_lost_its_log_signs_no_more_and_follows_on() -> None:
    cluster = Cluster(4)
    cluster.start()
    cluster.submit(0, 1)
    cluster.run(2)
    rounds = len(own_blocks(cluster, 0))
    cluster.crash(0)
    cluster.places[cluster.nodes[0]].records.clear()
    cluster.start(0)
    wanted = cluster.submit(0, 2)  # others take it
    cluster.run(5)
    assert own_blocks(cluster, 0) == []
    [silenced] = [
        one for one in cluster.places[cluster.nodes[0]].effects if isinstance(one, Silenced)
    ]
    assert f"round {rounds}" in silenced.reason
    assert all(wanted in cluster.executor(number).transactions for number in range(4))
    cluster.crash(0)  # and it stays so after another start
    cluster.start(0)
    cluster.submit(1, 3)
    cluster.run(5)
    assert own_blocks(cluster, 0) == []
    assert len(cluster.executor(0).transactions) == 3
    check_one_block_a_round(cluster)


def test_an_observer_follows_commits_and_has_its_transactions_committed() -> None:
    cluster = Cluster(4, observers=2)
    cluster.start()
    cluster.run(1)
    wanted = [cluster.submit(4, 1), cluster.submit(5, 1), cluster.submit(0, 1)]
    cluster.run(3)
    for number in range(6):
        assert sorted(cluster.executor(number).transactions) == sorted(wanted)
    cluster.check_agreement()


def test_an_observer_tries_another_member_until_its_transaction_is_committed() -> None:
    cluster = Cluster(4, observers=1)
    cluster.start()
    cluster.run(1)
    observer = cluster.nodes[4]
    deaf = set(cluster.nodes[:3])
    cluster.cut = lambda one, other: one == observer and other in deaf
    wanted = cluster.submit(4, 1)
    cluster.run(9)
    assert wanted in cluster.executor(0).transactions


def test_an_observer_of_one_validator_keeps_up() -> None:
    cluster = Cluster(1, observers=1)
    cluster.start()
    for sequence in range(1, 6):
        cluster.submit(1, sequence)
        cluster.run(1)
    assert len(cluster.executor(1).transactions) == 5
    cluster.check_agreement()


def test_a_refused_transaction_is_reported_to_its_submitter() -> None:
    cluster = Cluster(4, observers=1)
    cluster.start()
    for number in (0, 4):
        wanted = transfer(cluster.places[cluster.nodes[number]].key, cluster.chain, 7)
        cluster.executor(number).refused[wanted] = "too-poor"
        for data in (b"junk", wanted):
            cluster.feed(cluster.nodes[number], Submit(data))
        good = cluster.submit(number, 8)
        cluster.feed(cluster.nodes[number], Submit(good))
        reasons = [
            one.reason
            for one in cluster.places[cluster.nodes[number]].effects
            if isinstance(one, Refused)
        ]
        assert reasons == [MALFORMED, "too-poor", DUPLICATE]


def test_a_joiner_a_thousand_rounds_down_replays_them_all() -> None:
    cluster = Cluster(4, observers=1)
    cluster.start(0, 1, 2, 3)
    for number in range(4):
        cluster.executor(number).has_deadlines = True
    for sequence in range(1, 6):
        cluster.submit(0, sequence)
        cluster.run(205)
    assert cluster.replica(0).engine.core.dag.highest >= 1_000
    cluster.start(4)
    cluster.run(2)
    assert len(cluster.executor(4).commits) >= len(cluster.executor(0).commits) - 2
    assert cluster.executor(4).transactions == cluster.executor(0).transactions
    cluster.check_agreement()


def test_a_member_that_was_long_away_comes_back_with_a_gap_in_its_own_chain() -> None:
    cluster = Cluster(4)
    cluster.start()
    cluster.submit(3, 1)
    cluster.run(1)
    cluster.crash(3)
    for number in range(3):
        cluster.executor(number).has_deadlines = True
    cluster.run(60)
    cluster.start(3)
    cluster.run(2)
    wanted = cluster.submit(3, 2)
    cluster.run(2)
    assert all(wanted in cluster.executor(number).transactions for number in range(4))
    dag = cluster.replica(3).engine.core.dag
    gaps = [
        block.round
        for number in range(dag.highest)
        for block in dag.slot(Round(number), 3)
        if block.block.header.own_gap
    ]
    assert len(gaps) == 1
    cluster.check_agreement()


# --- one replica, and what peers may do to it ---


def alone(members: int = 4) -> tuple[Cluster, Replica]:
    """A member that hears only what the test tells it."""
    cluster = Cluster(members)
    place_ = cluster.places[cluster.nodes[0]]
    return cluster, Replica(cluster.genesis, Identity(place_.key), FakeExecutor(), [])


def answers(
    replica: Replica, peer: NodeId, message: Message, now: Instant = START
) -> list[Message]:
    effects = replica.step(Received(peer, encode(message)), now)
    return [read_message(one.payload) for one in effects if isinstance(one, Send)]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"junk",
        encode([99]),
        encode(BlockMessage(b"junk")),
        encode(Blocks((b"junk",), None)),
        encode(SubmitTransaction(b"junk")),
        encode(AskBlocks((place(Round(1)),) * 33)),
        encode(AskRange(0, place(Round(1)), (NO_DIGEST,) * 4_097)),
        encode(Blocks((b"",) * 2_049, None)),
        bytes((1 << 20) + 1),
    ],
)
def test_malformed_messages_are_blamed_on_their_sender(payload: bytes) -> None:
    cluster, replica = alone()
    peer = cluster.nodes[1]
    effects = replica.step(Received(peer, payload), START)
    assert [one.peer for one in effects if isinstance(one, Blame)] == [peer]


def test_a_newest_block_that_was_never_signed_is_blamed_and_silences_nobody() -> None:
    cluster, replica = alone()
    other = Cluster(4)
    other.start()
    other.submit(0, 1)
    other.run(1)
    dag = other.replica(0).engine.core.dag
    peer = cluster.nodes[1]
    theirs = dag.slot(Round(2), 2)[0].block
    mine = dag.slot(Round(2), 0)[0].block
    for header, signature in ((theirs.header, theirs.signature), (mine.header, bytes(64))):
        message = encode(Newest(0, Round(1), header, signature))
        effects = replica.step(Received(peer, message), START)
        assert [one.peer for one in effects if isinstance(one, Blame)] == [peer]
        assert not [one for one in effects if isinstance(one, Silenced)]


def test_a_member_takes_so_many_followers_and_no_more() -> None:
    _, replica = alone()
    asked = [key(number).node_id for number in range(FOLLOWERS_MAX + 1)]
    replies = [answers(replica, peer, Subscribe()) for peer in asked]
    assert [one[-1] for one in replies] == [*[Subscribed(taken=True)] * 32, Subscribed(taken=False)]


def test_questions_beyond_the_allowance_are_not_answered_until_the_next_second() -> None:
    cluster, replica = alone()
    peer = cluster.nodes[1]
    question = AskRange(0, place(Round(1)), ())
    counts = [len(answers(replica, peer, question)) for _ in range(ANSWERS_MAX + 1)]
    assert counts == [*[1] * ANSWERS_MAX, 0]
    assert len(answers(replica, cluster.nodes[2], question)) == 1
    assert answers(replica, peer, question, Instant(START + seconds(1)))


def test_any_node_serves_any_range_page_by_page() -> None:
    cluster = Cluster(1, observers=1)
    cluster.start()
    for sequence in range(1, 61):
        cluster.submit(0, sequence)
        cluster.run(0.2)
    cluster.run(2)
    observer, asker = cluster.replica(1), cluster.nodes[0]
    highest = cluster.replica(0).engine.core.dag.highest
    start, rounds, now = place(Round(1)), [], cluster.now
    while True:
        [page] = answers(observer, asker, AskRange(0, start, ()), now)
        assert isinstance(page, Blocks)
        rounds += [read_block(block).round for block in page.blocks]
        if page.then is None:
            break
        start = page.then
    assert rounds == list(range(1, highest + 1))


def test_a_tick_may_come_early_late_or_twice() -> None:
    cluster, replica = alone(1)
    replica.step(Tick(), START)
    replica.step(Submit(transfer(cluster.places[cluster.nodes[0]].key, cluster.chain, 1)), START)
    for moment in range(0, 1_000_000, 50_000):  # until the checkpoint is certified
        replica.step(Tick(), Instant(START + moment))
    for moment in (5, 5, 6, 10_000_000, 2, 10_000_001):
        effects = replica.step(Tick(), Instant(START + 1_000_000 + moment))
        assert not [one for one in effects if isinstance(one, Store | Blame)]
        assert len([one for one in effects if isinstance(one, Wake)]) == 1


def test_what_is_decoded_never_raises_out_of_a_replica() -> None:
    cluster, replica = alone()
    donor = Cluster(4)
    donor.start()
    donor.submit(1, 1)
    donor.run(1)
    good = encode(BlockMessage(encoded(donor.replica(1).engine.core.dag.slot(Round(1), 1)[0])))
    for at in range(0, len(good), 3):
        bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        effects = replica.step(Received(cluster.nodes[1], bad), START)
        assert [one for one in effects if isinstance(one, Blame)], at
    with pytest.raises(PeerFault):
        read_message(good[:-1])


def test_blocks_that_come_together_are_acted_on_once_and_give_what_they_give_one_by_one() -> None:
    cluster = Cluster(4)
    cluster.start()
    for number in range(4):
        cluster.submit(number, 1)
    cluster.run(1)
    records = [decode(Record, data) for data in cluster.places[cluster.nodes[0]].records]
    events = [Received(cluster.nodes[1], encode(BlockMessage(one.body))) for one in records]
    found = []
    for together in (1, 7):
        executor = FakeExecutor()
        replica = Replica(cluster.genesis, Identity(key(77)), executor, ())
        stored: list[bytes] = []
        for number, event in enumerate(events, start=1):
            more = number % together > 0 and number < len(events)
            effects = replica.step(event, cluster.now, more=more)
            assert replica.owes == more
            assert not (more and any(isinstance(effect, Store | Wake) for effect in effects))
            stored += [effect.record for effect in effects if isinstance(effect, Store)]
        found.append((executor.commits, stored))
    assert found[0] == found[1]
    assert found[0][0] == cluster.executor(0).commits[: len(found[0][0])]
    assert len(found[0][0]) > 3
