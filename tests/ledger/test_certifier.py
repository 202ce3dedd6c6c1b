"""From signatures in blocks to certificates, and the alarm when others sign something else."""

import pytest

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Round
from dpin.ledger.blocks import SIGNATURES_MAX, Header
from dpin.ledger.certificates import check, sign_checkpoint
from dpin.ledger.certifier import SPAN, Certifier, Made, made
from dpin.ledger.checkpoint import Checkpoint, CheckpointSignature
from dpin.ledger.cosigner import QUEUED_MAX, Cosigner
from dpin.ledger.receipts import ReceiptLog
from tests.support.certified import CHAIN, committee_of, keys_of, receipt_of
from tests.support.cluster import Cluster

KEYS = keys_of(4)
COMMITTEE = committee_of((1, 1, 1, 1))


def checkpoint_of(sequence: int, state: bytes = b"") -> Checkpoint:
    root = digest("test/root", state)
    return Checkpoint(
        sequence, 0, 10 * sequence, NO_DIGEST, root, sequence, NO_DIGEST, NO_DIGEST, NO_DIGEST
    )


def history(count: int, state: bytes = b"") -> list[Made]:
    """What a node comes to; with another state, another node."""
    log, found = ReceiptLog(), []
    for sequence in range(1, count + 1):
        log.append(receipt_of(sequence))
        checkpoint = checkpoint_of(sequence, state)
        log.append(checkpoint)
        found.append(made(checkpoint, log))
    return found


def header(author: int, *signatures: CheckpointSignature) -> Header:
    return Header(
        1, 0, Round(1), author, 0, (), NO_DIGEST, 0, 0, 0, NO_DIGEST, signatures, ()
    )  # fmt: skip


def signature(author: int, own: Made) -> CheckpointSignature:
    value = sign_checkpoint(KEYS[author], CHAIN, own.size, own.root)
    return CheckpointSignature(own.checkpoint.sequence, own.name, value)


def certifier() -> Certifier:
    return Certifier(CHAIN, COMMITTEE, 0)


def is_certified(one: Certifier) -> bool:
    return one.newest is not None


def is_alarmed(one: Certifier) -> bool:
    return one.divergence is not None


def test_a_quorum_of_signatures_makes_a_certificate_whatever_comes_first() -> None:
    [own] = history(1)
    for when in range(4):
        one = certifier()
        for author in range(3):
            if author == when:
                one.made(own)
            assert not is_certified(one)
            one.take(header(author, signature(author, own)))
        if when == 3:
            one.made(own)
        assert one.newest is not None
        assert one.newest.checkpoint == own.checkpoint
        check(one.newest, CHAIN, COMMITTEE)
        assert one.divergence is None


def test_a_wrong_or_repeated_signature_counts_for_nothing() -> None:
    [own] = history(1)
    one = certifier()
    one.made(own)
    forged = CheckpointSignature(1, own.name, bytes(64))
    one.take(header(0, forged))
    one.take(header(0, signature(0, own)))  # Of each author the first counts.
    one.take(header(1, signature(1, own)))
    one.take(header(1, signature(1, own)))
    one.take(header(2, signature(2, own)))
    assert not is_certified(one)
    one.take(header(3, signature(3, own)))
    assert one.newest is not None
    assert one.divergence is None


def test_the_alarm_is_raised_when_one_correct_member_must_have_signed_something_else() -> None:
    [own], [other] = history(1), history(1, b"other")
    for early in (True, False):
        one = certifier()
        if not early:
            one.made(own)
        one.take(header(0, signature(0, other)))
        assert not is_alarmed(one)
        one.take(header(3, signature(3, other)))
        if early:
            one.made(own)
        assert one.divergence is not None
        assert one.divergence.others == ((0, other.name), (3, other.name))
        assert own.root.hex() in one.divergence.report


def test_a_newer_certificate_covers_what_is_older() -> None:
    one, own = certifier(), history(3)
    for checkpoint in own:
        one.made(checkpoint)
    for at in (2, 0, 1):
        for author in range(4):
            one.take(header(author, signature(author, own[at])))
    assert one.newest is not None
    assert one.newest.checkpoint.sequence == 3
    assert len(one) == 0


def test_signatures_are_kept_within_a_span_and_no_more() -> None:
    one = certifier()
    for sequence in range(1, 10 * SPAN):
        for author in range(4):
            one.take(header(author, CheckpointSignature(sequence, NO_DIGEST, bytes(64))))
    assert len(one) == 4 * SPAN
    for own in history(5 * SPAN):
        one.made(own)
        for author in range(4):
            sequence = own.checkpoint.sequence + SPAN
            one.take(header(author, CheckpointSignature(sequence, NO_DIGEST, bytes(64))))
    assert len(one) <= 4 * 2 * SPAN


def test_a_member_signs_a_sequence_once_and_the_newest_first_of_all() -> None:
    cosigner, own = Cosigner(CHAIN, KEYS[0]), history(QUEUED_MAX + 2)
    for checkpoint in own:
        cosigner.made(checkpoint)
    first, second = cosigner.take(), cosigner.take()
    assert [one.sequence for one in first] == [3, 4, 5, 6]
    assert [one.sequence for one in (*first, *second)] == list(range(3, QUEUED_MAX + 3))
    assert len(first) == SIGNATURES_MAX
    assert cosigner.take() == ()
    for checkpoint in own:
        cosigner.made(checkpoint)
    assert cosigner.take() == cosigner.take() == ()


def test_what_own_blocks_in_the_log_signed_is_not_signed_again() -> None:
    own = history(4)
    cosigner = Cosigner(CHAIN, KEYS[0])
    cosigner.restore(header(0, signature(0, own[0]), signature(0, own[1])))
    for checkpoint in own:
        cosigner.made(checkpoint)
    assert [one.sequence for one in cosigner.take()] == [3, 4]


def test_a_committee_certifies_what_it_executes() -> None:
    cluster = Cluster(4, observers=1)
    cluster.start()
    for number in range(4):
        cluster.submit(number, 1)
    cluster.run(3)
    for number in range(5):
        certificate = cluster.replica(number).engine.certificate
        assert certificate is not None
        check(certificate, cluster.chain, cluster.replica(number).engine.core.rules.committee)
        assert certificate.checkpoint.height >= 1
        assert encode(certificate.checkpoint)


@pytest.mark.parametrize("restarts", [1, 3])
def test_a_member_that_restarts_signs_no_sequence_twice(restarts: int) -> None:
    cluster = Cluster(4)
    cluster.start()
    for sequence in range(1, 4 + restarts):
        cluster.submit(0, sequence)
        cluster.run(1.5)
        cluster.crash(1)
        cluster.start(1)
    dag = cluster.replica(0).engine.core.dag
    for author in range(4):
        signed = [
            one.sequence
            for number in range(1, dag.highest + 1)
            for block in dag.slot(Round(number), author)
            for one in block.block.header.checkpoint_signatures
        ]
        assert signed == sorted(set(signed))
        assert signed
