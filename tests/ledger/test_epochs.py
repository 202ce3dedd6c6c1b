"""From epoch to epoch: nothing lost or doubled, whoever crashes, lags, comes or goes."""

import pytest

from dpin.base.codec import decode
from dpin.base.ids import Digest, NodeId
from dpin.ledger.annals import END, OWN, Record
from dpin.ledger.blocks import read_block
from dpin.ledger.committee import committee_of, first_record
from dpin.ledger.handover import Handover, check_handover
from dpin.ledger.replica import Diverged, Refused
from tests.support.cluster import Cluster, Plan

COMMITS = 25  # in an epoch


def going(members: int = 4, observers: int = 0, seed: int = 0, commits: int = COMMITS) -> Cluster:
    """A network that never rests."""
    cluster = Cluster(members, observers, seed, commits)
    cluster.deadlines = True
    return cluster


def epoch(cluster: Cluster, number: int) -> int:
    return cluster.replica(number).engine.core.epoch


def check_logs(cluster: Cluster) -> None:
    """One block an epoch, round and author in all logs, one signature an epoch and sequence."""
    cluster.check_agreement()
    seen: dict[tuple[int, int, int], Digest] = {}
    for place in cluster.places.values():
        signed: set[tuple[int, int]] = set()
        at = 0
        for data in place.records:
            record = decode(Record, data)
            if record.kind == END:
                handover: Handover = decode(Handover, record.body)
                assert handover.epoch == at
                at += 1
                continue
            vertex = read_block(record.body)
            header = vertex.block.header
            assert header.epoch == at
            slot = (at, header.round, header.author)
            assert seen.setdefault(slot, vertex.digest) == vertex.digest
            if record.kind == OWN:
                mine = {(at, one.sequence) for one in header.checkpoint_signatures}
                assert not mine & signed
                signed |= mine
    assert all(len(names) == 1 for names in cluster.blocks_sent.values())


def check_closings(cluster: Cluster, number: int) -> None:
    """A stranger who knows the genesis can follow the committees to the newest certificate."""
    engine = cluster.replica(number).engine
    record = first_record(cluster.genesis, cluster.chain)
    for at in range(engine.core.epoch):
        check_handover(engine.annals.closings[at], cluster.chain, committee_of(record))
        record = engine.annals.closings[at].record
    assert engine.core.opening.committee == record
    assert engine.certificate is not None


def check_done(cluster: Cluster, wanted: list[bytes], *numbers: int) -> None:
    for number in numbers:
        assert sorted(cluster.executor(number).transactions) == sorted(wanted), number


def test_four_validators_pass_through_epochs_and_lose_nothing() -> None:
    cluster = going(observers=1)
    cluster.start()
    wanted: list[bytes] = []
    sequence = 0
    while epoch(cluster, 0) < 5:
        sequence += 1
        wanted += [cluster.submit(number, sequence) for number in range(5)]
        cluster.run(0.3)
        assert sequence < 200
    cluster.run(5)
    check_done(cluster, wanted, *range(5))
    check_logs(cluster)
    for number in range(5):
        check_closings(cluster, number)
    heights = [commit.height for commit in cluster.executor(0).commits]
    assert heights == list(range(1, len(heights) + 1))
    assert not [
        one
        for node in cluster.nodes
        for one in cluster.places[node].effects
        if isinstance(one, Diverged | Refused)
    ]


@pytest.mark.parametrize("members", [1, 4])
def test_all_restart_again_and_again_around_the_ends_of_epochs(members: int) -> None:
    cluster = going(members)
    cluster.start()
    wanted = []
    for sequence in range(1, 13):
        wanted.append(cluster.submit(0, sequence))
        cluster.run(0.9 if members > 1 else 0.7)
        for number in range(members):
            cluster.crash(number)
        cluster.start()
        cluster.run(0.4)
    cluster.run(5)
    assert epoch(cluster, 0) >= 3
    check_logs(cluster)
    assert len({*cluster.executor(0).transactions}) >= len(wanted) * 3 // 4


def until(cluster: Cluster, target: int, *numbers: int, limit: int = 60) -> None:
    """Play until these nodes are in that epoch."""
    for _ in range(limit):
        if all(epoch(cluster, number) >= target for number in numbers):
            return
        cluster.run(1)
    raise AssertionError([epoch(cluster, number) for number in numbers])


def test_one_of_four_may_be_down_while_epochs_end() -> None:
    cluster = going()
    cluster.start(0, 1, 2)
    wanted = [cluster.submit(number, 1) for number in range(3)]
    until(cluster, 3, 0, 1, 2, limit=100)
    cluster.run(3)
    check_done(cluster, wanted, 0, 1, 2)
    check_logs(cluster)


def test_a_validator_that_comes_back_epochs_later_catches_up_and_signs_again() -> None:
    cluster = going()
    cluster.start()
    wanted = [cluster.submit(3, 1)]
    cluster.run(2)
    cluster.crash(3)
    until(cluster, 3, 0, 1, 2, limit=100)
    wanted.append(cluster.submit(0, 1))
    cluster.start(3)
    cluster.run(4)
    assert epoch(cluster, 3) == epoch(cluster, 0)
    assert cluster.replica(3).engine.may_sign
    wanted.append(cluster.submit(3, 2))
    cluster.run(3)
    check_done(cluster, wanted, *range(4))
    check_closings(cluster, 3)
    check_logs(cluster)


def test_a_follower_that_joins_epochs_later_replays_them_all() -> None:
    cluster = going(observers=1)
    cluster.start(0, 1, 2, 3)
    wanted = [cluster.submit(0, 1)]
    until(cluster, 3, 0, limit=100)
    cluster.start(4)
    cluster.run(3)
    assert epoch(cluster, 4) == epoch(cluster, 0)
    wanted.append(cluster.submit(4, 1))
    cluster.run(4)
    check_done(cluster, wanted, *range(5))
    check_closings(cluster, 4)


def test_a_start_from_any_cut_of_the_log_around_an_end_signs_nothing_twice() -> None:
    """A cut of synced records is amnesia: the node follows, and signs in a later epoch at most."""
    cluster = going()
    cluster.start()
    cluster.submit(1, 1)
    until(cluster, 1, 0, 1, 2, 3)
    cluster.run(1)
    records = list(cluster.places[cluster.nodes[0]].records)
    [end] = [at for at, data in enumerate(records) if decode(Record, data).kind == END]
    for cut in range(end - 8, min(end + 8, len(records)) + 1):
        cluster.crash(0)
        cluster.places[cluster.nodes[0]].records = records[:cut]
        cluster.start(0)
        cluster.run(1.5)
        assert epoch(cluster, 0) == epoch(cluster, 1), cut
        cluster.check_agreement()
        assert all(len(names) == 1 for names in cluster.blocks_sent.values()), cut
    commits = [len(cluster.executor(number).commits) for number in range(4)]
    assert max(commits) - min(commits) <= 2


@pytest.mark.parametrize("slice_", range(3))
def test_a_crash_after_any_effect_around_an_end_loses_and_doubles_nothing(slice_: int) -> None:
    for effects in range(slice_, 36, 3):
        cluster = going(commits=20)
        cluster.start()
        cluster.run(20.2)
        assert epoch(cluster, 0) == 0
        cluster.places[cluster.nodes[0]].fuse = effects
        wanted = [cluster.submit(number, 1) for number in range(1, 4)]
        cluster.run(1.2)
        assert cluster.places[cluster.nodes[0]].replica is None, effects
        cluster.start(0)
        cluster.run(6)
        assert epoch(cluster, 0) == epoch(cluster, 1) == 1, effects
        check_done(cluster, wanted, *range(4))
        check_logs(cluster)


@pytest.mark.parametrize("seed", range(3))
def test_a_partition_while_an_epoch_closes_heals(seed: int) -> None:
    cluster = going(seed=seed)
    cluster.start()
    wanted = [cluster.submit(0, 1)]
    while cluster.replica(0).engine.runner.closed is None:
        cluster.run(0.01)
    left = set(cluster.nodes[: seed + 1])
    cluster.cut = lambda one, other: (one in left) != (other in left)
    wanted += [cluster.submit(number, 2) for number in range(4)]
    cluster.run(5)
    cluster.cut = lambda _one, _other: False
    cluster.run(5)
    assert len({epoch(cluster, number) for number in range(4)}) == 1
    assert epoch(cluster, 0) == 1
    check_done(cluster, wanted, *range(4))
    check_logs(cluster)


@pytest.mark.parametrize("seed", range(2))
def test_losses_delay_the_end_of_an_epoch_and_no_more(seed: int) -> None:
    cluster = going(observers=1, seed=seed)
    cluster.loss_percent = 20
    cluster.start()
    wanted = []
    for sequence in range(1, 41):
        wanted += [cluster.submit(number, sequence) for number in range(4)]
        cluster.run(0.4)
    cluster.loss_percent = 0
    cluster.run(70)
    assert epoch(cluster, 0) >= 2
    assert len({epoch(cluster, number) for number in range(5)}) == 1
    check_done(cluster, wanted, *range(5))
    check_logs(cluster)


def changing(cluster: Cluster, committees: dict[int, list[NodeId]]) -> None:
    """Who validates from an epoch on."""
    record = first_record(cluster.genesis, cluster.chain)
    cluster.plan = Plan(record, COMMITS, dict(committees))


def test_one_validator_becomes_four() -> None:
    cluster = going(1, observers=4)
    changing(cluster, {2: cluster.nodes[:4]})
    cluster.start()
    wanted = [cluster.submit(number, 1) for number in range(5)]
    until(cluster, 2, *range(5), limit=80)
    cluster.run(3)
    assert [cluster.replica(number).engine.may_sign for number in range(5)] == [True] * 4 + [False]
    wanted += [cluster.submit(number, 2) for number in range(5)]
    cluster.run(4)
    check_done(cluster, wanted, *range(5))
    cluster.crash(0)  # the founder is one of four now
    wanted += [cluster.submit(number, 3) for number in range(1, 5)]
    cluster.run(6)
    check_done(cluster, wanted, *range(1, 5))
    until(cluster, 3, *range(1, 5), limit=80)
    cluster.start(0)
    cluster.run(4)
    check_done(cluster, wanted, *range(5))
    check_logs(cluster)
    check_closings(cluster, 4)


def test_a_committee_hands_over_to_others_and_lives_on_as_followers() -> None:
    cluster = going(4, observers=3)
    others = [cluster.nodes[number] for number in (0, 4, 5, 6)]
    changing(cluster, {1: others, 3: cluster.nodes[:4]})
    cluster.start()
    wanted = [cluster.submit(number, 1) for number in range(7)]
    until(cluster, 1, *range(7))
    cluster.run(2)
    signing = [cluster.replica(number).engine.may_sign for number in range(7)]
    assert signing == [True, False, False, False, True, True, True]
    for number in (1, 2, 3):
        cluster.crash(number)
    wanted += [cluster.submit(number, 2) for number in (0, 4, 5, 6)]
    cluster.run(4)
    check_done(cluster, wanted, 0, 4, 5, 6)
    cluster.start(1, 2, 3)
    cluster.run(2)
    wanted += [cluster.submit(number, 3) for number in range(7)]
    until(cluster, 3, *range(7), limit=100)
    cluster.run(2)
    wanted += [cluster.submit(number, 4) for number in range(7)]
    cluster.run(4)
    check_done(cluster, wanted, *range(7))
    check_logs(cluster)


def test_a_member_that_lost_its_log_signs_again_in_the_next_epoch() -> None:
    cluster = going()
    cluster.start()
    cluster.submit(0, 1)
    cluster.run(3)
    cluster.crash(0)
    cluster.places[cluster.nodes[0]].records.clear()
    cluster.start(0)
    cluster.run(3)
    assert epoch(cluster, 0) == 0
    assert not cluster.replica(0).engine.may_sign
    until(cluster, 1, *range(4))
    cluster.run(3)
    assert cluster.replica(0).engine.may_sign
    wanted = cluster.submit(0, 2)
    cluster.run(3)
    assert all(wanted in cluster.executor(number).transactions for number in range(4))
    check_logs(cluster)


def test_a_node_whose_state_differs_stands_still_and_says_so() -> None:
    cluster = going()
    cluster.start()
    cluster.executor(2).lie = b"bit rot"
    cluster.submit(0, 1)
    until(cluster, 1, 0, 1, 3)
    cluster.run(3)
    node = cluster.nodes[2]
    [diverged] = [one for one in cluster.places[node].effects if isinstance(one, Diverged)]
    assert "checkpoint 1 at height 10" in diverged.report
    assert not cluster.replica(2).engine.may_sign
    assert epoch(cluster, 2) == 0
    height = len(cluster.executor(2).commits)
    wanted = cluster.submit(1, 1)
    cluster.run(3)
    assert len(cluster.executor(2).commits) == height
    assert all(wanted in cluster.executor(number).transactions for number in (0, 1, 3))
