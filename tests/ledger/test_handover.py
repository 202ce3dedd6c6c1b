"""What peers may send about the ends of epochs, and what it can cost."""

from collections.abc import Sequence

import msgspec
import pytest

from dpin.base.codec import encode
from dpin.base.ids import NO_DIGEST, NodeId, Round
from dpin.base.machine import Blame, PeerUp, Received, Send, Store
from dpin.base.units import NEVER, Instant, seconds
from dpin.ledger import early
from dpin.ledger.blocks import Block, Vertex, sign_block, vertex_of
from dpin.ledger.chase import PEERS_MAX, Chase
from dpin.ledger.dag import encoded
from dpin.ledger.early import Early
from dpin.ledger.handover import Handover
from dpin.ledger.identity import Identity
from dpin.ledger.messages import (
    AskHandover,
    AskNewest,
    AskRange,
    BlockMessage,
    Handed,
    Message,
    Newest,
    read_message,
)
from dpin.ledger.replica import Effect, Replica
from dpin.ledger.serve import ANSWERS_MAX, place
from tests.support.cluster import START, Cluster, FakeExecutor, key
from tests.support.forge import Forge

FORGE = Forge()
PEERS = [key(number).node_id for number in range(200)]


@pytest.fixture(scope="module")
def ended() -> Cluster:
    """A network in its epoch 1."""
    cluster = Cluster(4, commits=20)
    cluster.deadlines = True
    cluster.start()
    for _ in range(40):
        cluster.run(1)
        if cluster.replica(0).engine.core.epoch == 1:
            return cluster
    raise AssertionError("an epoch ends")


def handover(cluster: Cluster) -> Handover:
    return cluster.replica(0).engine.annals.closings[0]


def fresh(cluster: Cluster) -> Replica:
    """A member of that network with an empty log, which hears only what the test tells it."""
    member = cluster.places[cluster.nodes[0]].key
    return Replica(cluster.genesis, Identity(member), FakeExecutor(cluster.plan), [])


def told(replica: Replica, peer: NodeId, message: Message, now: Instant = START) -> list[Effect]:
    return [*replica.step(Received(peer, encode(message)), now)]


def messages(effects: Sequence[Effect]) -> list[Message]:
    return [read_message(one.payload) for one in effects if isinstance(one, Send)]


def later(
    vertex: Vertex, epoch: int, timestamp_ms: int = 0, body: tuple[bytes, ...] = ()
) -> Vertex:
    """A block that says to be of another epoch."""
    header = msgspec.structs.replace(
        vertex.block.header, epoch=epoch, timestamp_ms=timestamp_ms, reveal=NO_DIGEST
    )
    return vertex_of(Block(header, bytes(64), body))


def forged(cluster: Cluster) -> list[Handover]:
    """Handovers that no quorum signed, or that say something else than was signed."""
    good = handover(cluster)
    certificate, record = good.certificate, good.record
    replace = msgspec.structs.replace
    wrong_key = replace(certificate.signatures[0], signature=bytes(64))
    strange = replace(certificate.signatures[-1], author=99)
    other_seed = replace(record, seed=bytes(32))
    moved = replace(certificate.checkpoint, state_root=bytes(32))
    return [
        replace(good, record=other_seed),
        replace(good, record=replace(record, epoch=7)),
        replace(good, record=replace(record, members=record.members[:1])),
        replace(good, certificate=replace(certificate, signatures=())),
        replace(good, certificate=replace(certificate, signatures=certificate.signatures[:2])),
        replace(
            good,
            certificate=replace(certificate, signatures=(wrong_key, *certificate.signatures[1:])),
        ),
        replace(
            good, certificate=replace(certificate, signatures=(*certificate.signatures, strange))
        ),
        replace(good, certificate=replace(certificate, signatures=certificate.signatures[:1] * 3)),
        replace(good, certificate=replace(certificate, size=certificate.size + 1)),
        replace(good, certificate=replace(certificate, path=())),
        replace(good, certificate=replace(certificate, checkpoint=moved)),
    ]


def test_a_forged_handover_is_blamed_on_its_sender_and_changes_nothing(ended: Cluster) -> None:
    for number, bad in enumerate(forged(ended)):
        replica = fresh(ended)
        effects = told(replica, PEERS[9], Handed(1, bad))
        assert [one.peer for one in effects if isinstance(one, Blame)] == [PEERS[9]], number
        assert replica.engine.runner.awaited is None
        assert not [one for one in effects if isinstance(one, Store)]


def test_the_epoch_a_peer_claims_to_be_in_costs_a_question_and_no_more(ended: Cluster) -> None:
    replica = fresh(ended)
    good = handover(ended)
    far = msgspec.structs.replace(
        good,
        certificate=msgspec.structs.replace(
            good.certificate,
            checkpoint=msgspec.structs.replace(good.certificate.checkpoint, epoch=5),
        ),
    )
    effects = told(replica, PEERS[9], Handed(1 << 62, far))
    assert not [one for one in effects if isinstance(one, Blame)]
    assert messages(effects).count(AskHandover(0)) == 1
    for moment in range(1, 10):
        now = Instant(START + moment)
        newest = told(replica, PEERS[9], Newest(7, Round(1), None, b""), now)
        ranged = told(replica, PEERS[9], AskRange(9, place(Round(1)), ()), now)
        assert AskHandover(0) not in messages([*newest, *ranged])
    again = told(replica, PEERS[9], AskNewest(), Instant(START + seconds(1)))
    assert AskHandover(0) in messages(again)


def test_a_handover_alone_takes_nobody_on_but_the_blocks_are_asked_for(ended: Cluster) -> None:
    replica = fresh(ended)
    replica.step(PeerUp(PEERS[9]), START)
    told(replica, PEERS[9], Handed(1, handover(ended)), Instant(START + seconds(3)))
    assert replica.engine.core.epoch == 0
    assert replica.engine.runner.awaited is not None
    asked = told(replica, PEERS[9], AskNewest(), Instant(START + seconds(6)))
    ranges = [one for one in messages(asked) if isinstance(one, AskRange)]
    assert [one.epoch for one in ranges] == [0]
    source = ended.replica(1)
    for _ in range(50):
        answers: list[Effect] = []
        for one in messages(asked):
            answers += source.step(Received(PEERS[9], encode(one)), ended.now)
        now = Instant(START + seconds(7))
        asked = []
        for answer in messages([one for one in answers if isinstance(one, Send)]):
            asked += told(replica, PEERS[9], answer, now)
        if replica.engine.core.epoch == 1:
            break
    assert replica.engine.core.epoch == 1
    assert replica.engine.core.opening == source.engine.core.opening


def test_anybody_who_knows_answers_how_an_epoch_ended_within_the_allowance(ended: Cluster) -> None:
    replica, now = ended.replica(2), Instant(ended.now + seconds(5))
    question = encode(AskHandover(0))
    answers = [
        messages(replica.step(Received(PEERS[77], question), now)) for _ in range(ANSWERS_MAX + 1)
    ]
    handed = [sum(isinstance(one, Handed) for one in found) for found in answers]
    assert handed == [*[1] * ANSWERS_MAX, 0]
    unknown = replica.step(Received(PEERS[78], encode(AskHandover(-5))), now)
    assert not [one for one in messages(unknown) if isinstance(one, Handed)]


def test_early_blocks_are_kept_within_limits_and_lead_to_one_question() -> None:
    replica = fresh(Cluster(4, commits=20))
    block = FORGE.rounds(1)[1][1]
    asked = 0
    for number in range(3 * early.BLOCKS_MAX):
        message = BlockMessage(encoded(later(block, 1, number)))
        effects = told(replica, PEERS[3], message)
        asked += messages(effects).count(AskHandover(0))
        assert not [one for one in effects if isinstance(one, Blame | Store)]
    assert asked == 1
    assert len(replica._early) == early.BLOCKS_MAX
    told(replica, PEERS[4], BlockMessage(encoded(later(block, 2))))
    assert len(replica._early) == early.BLOCKS_MAX  # of an epoch beyond the next


def test_large_early_blocks_fill_a_senders_share_and_not_the_room() -> None:
    kept = Early()
    block = FORGE.rounds(1)[1][1]
    large = [later(block, 1, number, (bytes(400_000),)) for number in range(10)]
    for peer in PEERS[:100]:
        for vertex in large:
            kept.add(peer, vertex)
    sizes: dict[NodeId, int] = {}
    for peer, vertex in kept:
        sizes[peer] = sizes.get(peer, 0) + len(encoded(vertex))
    assert max(sizes.values()) <= early.BYTES_MAX
    assert sum(sizes.values()) <= early.TOTAL_MAX
    assert len(sizes) > 1
    kept.clear()
    assert len(kept) == 0


def test_early_blocks_that_nobody_signed_are_blamed_when_the_epoch_comes() -> None:
    cluster = Cluster(4, commits=20)
    cluster.deadlines = True
    cluster.start()
    cluster.run(10)
    block = FORGE.rounds(1)[1][1]
    liar = cluster.nodes[3]
    cluster.feed(cluster.nodes[0], Received(liar, encode(BlockMessage(encoded(later(block, 1))))))
    for _ in range(30):
        cluster.run(1)
    assert cluster.replica(0).engine.core.epoch >= 1
    found = cluster.places[cluster.nodes[0]].effects
    assert [one.peer for one in found if isinstance(one, Blame)] == [liar]


def test_the_chase_remembers_so_many_peers() -> None:
    chase = Chase()
    assert chase.next_at == NEVER
    for peer in PEERS:
        chase.heard(peer)
    now, asked = START, 0
    while chase.next_at < NEVER:
        asked += len(chase.step(3, now))
        now = Instant(now + seconds(1))
    assert asked == PEERS_MAX


def test_a_block_of_an_epoch_that_is_over_is_nobodys_fault(ended: Cluster) -> None:
    replica = ended.replica(0)
    old = replica.engine.annals.cores[0].dag
    vertex = old.at(old.highest)[0]
    effects = told(replica, ended.nodes[1], BlockMessage(encoded(vertex)), ended.now)
    assert not [one for one in effects if isinstance(one, Blame)]
    assert replica.engine.annals.watches[0].twins == {}


def test_who_signs_a_round_again_when_its_epoch_is_over_is_seen_all_the_same(
    ended: Cluster,
) -> None:
    replica, member = ended.replica(0), ended.places[ended.nodes[2]].key
    core = replica.engine.annals.cores[0]
    (vertex,) = core.dag.slot(core.dag.highest, 2)
    header = msgspec.structs.replace(vertex.block.header, timestamp_ms=1)
    unsigned = vertex_of(Block(header, bytes(64), vertex.block.body))
    invalid = sign_block(member, ended.chain, msgspec.structs.replace(header, version=9), ())
    for wrong in (unsigned, invalid):
        effects = told(replica, ended.nodes[1], BlockMessage(encoded(wrong)), ended.now)
        assert [one.peer for one in effects if isinstance(one, Blame)] == [ended.nodes[1]]
    assert replica.engine.annals.watches[0].twins == {}
    twin = sign_block(member, ended.chain, header, vertex.block.body)
    told(replica, ended.nodes[1], BlockMessage(encoded(twin)), ended.now)
    (pair,) = replica.engine.annals.watches[0].twins.values()
    assert [one.digest for one in pair] == [vertex.digest, twin.digest]
