"""Certificates that contradict each other, whichever way they come: who signed both is caught."""

from collections.abc import Sequence
from functools import cache

import msgspec
import pytest

from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, Digest
from dpin.base.logtree import LogTree
from dpin.base.machine import Send
from dpin.base.merkle import leaf_hash
from dpin.base.units import Instant, after
from dpin.ledger import forks
from dpin.ledger.arrival import Arrival
from dpin.ledger.certificates import AuthorSignature, Certificate, sign_checkpoint
from dpin.ledger.closings import Closings
from dpin.ledger.disputes import HEARD_MAX, WINDOW, Disputes
from dpin.ledger.forks import SEEN_MAX, Finding, Forks, Verdict
from dpin.ledger.messages import CertificateMessage, read_message
from tests.support.cluster import START, Cluster

COMMITS = 25


@cache
def going(seconds: float, commits: int = COMMITS) -> Cluster:
    cluster = Cluster(4, 0, 0, commits)
    cluster.deadlines = True
    cluster.start()
    cluster.run(seconds)
    return cluster


def other(cluster: Cluster, right: Certificate, authors: Sequence[int]) -> Certificate:
    """A certificate of the same number that these have signed: of a log with one leaf."""
    checkpoint = msgspec.structs.replace(right.checkpoint, state_root=NO_DIGEST)
    root = Digest(leaf_hash(encode(checkpoint)))
    keys = [cluster.places[node].key for node in cluster.nodes]
    signed = tuple(
        AuthorSignature(at, sign_checkpoint(keys[at], cluster.chain, 1, root)) for at in authors
    )
    return Certificate(checkpoint, 1, root, (), signed)


def log_of(cluster: Cluster, node: int = 0) -> LogTree:
    return cluster.executor(node).receipts.tree


def newest(cluster: Cluster) -> Certificate:
    found = cluster.replica(0).engine.core.certifier.newest
    assert found is not None
    return found


def test_who_signed_two_certificates_of_one_number_is_caught() -> None:
    cluster = going(25, 1_000)
    right = newest(cluster)
    found = Forks(cluster.replica(0).engine)
    found.hear(right)
    assert (found.caught, len(found)) == ({}, 0)
    found.hear(other(cluster, right, (0, 1, 3)))
    assert [author for _, author in found.caught] == [0, 1, 3]  # By headers, those left out too.
    assert len(right.signatures) == 3


def test_the_order_in_which_they_come_is_nothing() -> None:
    cluster = going(25, 1_000)
    right = newest(cluster)
    wrong = other(cluster, right, (0, 1, 2))
    engine = cluster.replica(0).engine
    early, late = Forks(engine), Forks(engine)
    late.hear(wrong)
    kept, engine.core.certifier.recent = engine.core.certifier.recent, {}
    early.hear(wrong)
    assert (early.caught, len(early)) == ({}, 1)
    engine.core.certifier.recent = kept
    early.review()
    assert early.caught == late.caught != {}
    first = next(iter(late.caught.values()))
    assert encode(first.first) < encode(first.second)


def test_the_end_of_an_epoch_that_is_long_over_is_compared_too() -> None:
    cluster = going(80)
    engine = cluster.replica(1).engine
    assert engine.core.epoch > 1
    right = engine.annals.closings[engine.core.epoch - 1].certificate
    found = Forks(engine)
    found.hear(other(cluster, right, (1, 2, 3)))
    assert found.caught
    assert {epoch for epoch, _ in found.caught} == {engine.core.epoch - 1}


def test_what_no_quorum_signed_is_a_fault_of_who_shows_it() -> None:
    cluster = going(25, 1_000)
    right = newest(cluster)
    found = Forks(cluster.replica(0).engine)
    with pytest.raises(PeerFault, match="less than a quorum"):
        found.hear(other(cluster, right, (0, 1)))
    forged = other(cluster, right, (0, 1, 2))
    for signatures in (forged.signatures[::-1], right.signatures):
        with pytest.raises(PeerFault):
            found.hear(msgspec.structs.replace(forged, signatures=signatures))
    unknown = msgspec.structs.replace(forged.checkpoint, epoch=99)
    found.hear(msgspec.structs.replace(forged, checkpoint=unknown))
    assert (found.caught, len(found)) == ({}, 0)


def test_no_more_than_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SEEN_MAX <= 256
    monkeypatch.setattr(forks, "SEEN_MAX", 3)
    cluster = going(25, 1_000)
    right = newest(cluster)
    found = Forks(cluster.replica(0).engine)
    for number in range(1_000, 1_006):
        ahead = msgspec.structs.replace(right.checkpoint, sequence=number)
        found.hear(other(cluster, msgspec.structs.replace(right, checkpoint=ahead), (0, 1, 2)))
    assert len(found) == 3


def test_only_so_many_of_one_peer_are_looked_at_in_a_second() -> None:
    cluster = going(25, 1_000)
    right = newest(cluster)
    engine = cluster.replica(0).engine
    disputes = Disputes(Arrival(engine), engine, cluster.nodes[0])
    now, peer = Instant(START), cluster.nodes[1]
    for _ in range(HEARD_MAX):
        disputes.hear(peer, right, now)
    disputes.hear(peer, other(cluster, right, (0,)), now)  # Not looked at: else it is a fault.
    with pytest.raises(PeerFault):
        disputes.hear(peer, other(cluster, right, (0,)), after(now, WINDOW))


def test_nodes_tell_whom_they_meet_and_now_and_then_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpin.ledger.disputes.TOLD_EVERY", 1)
    cluster = going(25, 1_000)
    right = newest(cluster)
    [greeting] = cluster.replica(0).disputes.greet(cluster.nodes[1])
    assert read_message(greeting.payload) == CertificateMessage(right)
    engine = cluster.replica(0).engine
    told = Disputes(Arrival(engine), engine, cluster.nodes[0])
    sent = told.go(cluster.nodes[1:], cluster.now)
    assert sent == [Send(peer, greeting.payload) for peer in cluster.nodes[1:]]
    assert told.go(cluster.nodes[1:], cluster.now) == []


def test_the_end_of_an_epoch_is_held_against_what_was_heard_before_it() -> None:
    """Proofs for strangers go from end to end."""
    engine = going(80).replica(2).engine
    annals, epoch = engine.annals, engine.core.epoch - 1
    right = annals.closings[epoch].certificate
    found, all_of_them, newest_end = Forks(engine), annals.closings, annals.newest
    annals.closings = Closings(all_of_them.encoded(one) for one in range(epoch))
    annals.newest = None
    found.hear(other(going(80), right, (0, 1, 3)))
    found.review()
    assert (found.caught, len(found)) == ({}, 1)
    annals.closings, annals.newest = all_of_them, newest_end
    found.review()
    assert {epoch for epoch, _ in found.caught} == {epoch}


def test_no_end_of_an_epoch_is_too_old_to_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = going(80).replica(3).engine
    right = engine.annals.closings[0].certificate
    monkeypatch.setattr(engine.annals, "closing", lambda _sequence: None)
    found = Forks(engine)
    found.hear(other(going(80), right, (0, 1, 2)))
    assert {epoch for epoch, _ in found.caught} == {0}


def test_what_a_stranger_shows_is_held_against_what_this_node_has() -> None:
    cluster = going(25, 1_000)
    right, found = newest(cluster), Forks(cluster.replica(0).engine)
    log = log_of(cluster)
    assert found.compare(right, log) == Finding(Verdict.SAME)
    wrong = other(cluster, right, (0, 1, 3))
    assert found.compare(wrong, log) == Finding(Verdict.OTHER, right, (0, 1, 3))
    assert found.compare(other(cluster, right, (0, 1)), log) == Finding(Verdict.UNSIGNED)
    unheard = msgspec.structs.replace(right.checkpoint, epoch=9)
    ahead = other(cluster, msgspec.structs.replace(right, checkpoint=unheard), (0, 1, 2))
    assert found.compare(ahead, log) == Finding(Verdict.UNKNOWN)
    assert (found.caught, len(found)) == ({}, 0)  # To look is not to remember.


def test_what_is_too_old_to_be_kept_is_held_against_the_own_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = going(25, 1_000)
    engine, log = cluster.replica(0).engine, log_of(cluster)
    right = newest(cluster)
    [old, *_] = engine.core.certifier.recent.values()
    monkeypatch.setattr(engine.core.certifier, "recent", {})
    found = Forks(engine)
    assert found.compare(old, log) == Finding(Verdict.SAME)
    wrong = other(cluster, old, (0, 1, 3))
    assert found.compare(wrong, log) == Finding(Verdict.OTHER, right)
    assert found.compare(old, LogTree(right.size, log.peaks(right.size))) == Finding(
        Verdict.UNKNOWN
    )
    monkeypatch.setattr(engine.core.certifier, "newest", old)
    assert found.compare(right, log) == Finding(Verdict.UNKNOWN)  # No quorum signed so much here.
    found.hear(wrong)  # And two strangers are held against each other.
    monkeypatch.setattr(engine.core.certifier, "newest", None)
    assert found.compare(old, log) == Finding(Verdict.OTHER, wrong, (0, 1, 3))


def test_who_finds_two_shows_all_both_so_that_whoever_can_accuse_has_them() -> None:
    cluster = going(25, 1_000)
    right = newest(cluster)
    wrong = other(cluster, right, (0, 1, 3))
    engine = cluster.replica(0).engine
    disputes = Disputes(Arrival(engine), engine, cluster.nodes[0])
    disputes.hear(cluster.nodes[0], wrong, cluster.now)
    told = [one for one in disputes.go(cluster.nodes[1:], cluster.now) if isinstance(one, Send)]
    pair = [CertificateMessage(one) for one in (right, wrong)]
    shown = [(one.peer, read_message(one.payload)) for one in told]
    assert [one for one in shown if one[1] in pair] == [
        (peer, half) for half in pair for peer in cluster.nodes[1:]
    ]
    without = Forks(cluster.replica(1).engine)
    kept, without._engine.core.certifier.recent = without._engine.core.certifier.recent, {}
    for half in pair:  # An epoch has gone by: neither is one of its newest any more.
        without.hear(half.certificate)
    without._engine.core.certifier.recent = kept
    assert [author for _, author in without.caught][:2] == [0, 1]
    disputes.hear(cluster.nodes[2], wrong, cluster.now)
    assert not disputes.forks.take_news()  # Once.
