"""A node holds what strangers show against its own ledger, and keeps what contradicts it."""

from dataclasses import replace

import msgspec
import pytest

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.errors import Misuse
from dpin.base.ids import NO_DIGEST, Digest
from dpin.base.machine import Blame
from dpin.ledger.certificates import AuthorSignature, Certificate, sign_checkpoint
from dpin.ledger.committee import first_record
from dpin.ledger.prover import certificate_fact, committee_fact
from dpin.light.files import read_proof, write_proof
from dpin.light.proofs import signed
from dpin.node.comparing import CROSSINGS_MAX, compare, fork_checks
from dpin.node.control import CompareRequest, ProofRequest
from dpin.node.proofviews import ComparisonView
from dpin.node.proving import proof_view
from tests.support.alone import Alone
from tests.support.jobs import only


def alone(seconds: float = 15) -> Alone:
    node = Alone()
    node.wait(seconds)
    return node


def proof_of(node: Alone) -> str:
    return proof_view(node.peer, ProofRequest(), node.now).proof


def asked(node: Alone, text: str) -> ComparisonView:
    """As the desk does: look, then let the node take it in."""
    compared = compare(node.peer, CompareRequest(proof=text))
    for received in compared.heard:
        assert not only(Blame, node.step(received))
    return compared.view


def other(node: Alone, text: str) -> str:
    """The same number of a checkpoint, signed by the same key, of a log with another leaf."""
    right = node.peer.replica.engine.certificate
    assert right is not None
    checkpoint = msgspec.structs.replace(right.checkpoint, state_root=NO_DIGEST)
    root = Digest(merkle.leaf_hash(encode(checkpoint)))
    signature = AuthorSignature(0, sign_checkpoint(node.key, node.peer.chain, 1, root))
    wrong = certificate_fact(Certificate(checkpoint, 1, root, (), (signature,)))
    committee = committee_fact(first_record(node.genesis, node.peer.chain))
    proof = replace(read_proof(text), certificate=signed(node.peer.chain, wrong, committee))
    return write_proof(proof)


def test_its_own_proof_is_the_same_ledger_across_the_ends_of_epochs() -> None:
    node = Alone()
    while node.peer.state.epoch < 2:
        node.wait(10)
    node.wait(5)
    view = asked(node, proof_of(node))
    assert (view.verdict, view.compared, view.known) == ("same", 3, 3)
    assert view.own is None
    assert fork_checks(node.peer) == []


def test_an_older_proof_is_the_same_ledger_however_much_was_signed_since() -> None:
    node = alone()
    old = proof_of(node)
    node.wait(15)
    assert proof_of(node) != old
    assert asked(node, old).verdict == "same"


def test_two_signed_ledgers_are_told_and_kept_as_evidence() -> None:
    node = alone()
    view = asked(node, other(node, proof_of(node)))
    assert view.verdict == "other"
    assert view.own is not None
    assert (view.own.sequence, view.own.epoch) == (view.checkpoint.sequence, view.checkpoint.epoch)
    assert view.own.log_root != view.checkpoint.log_root
    assert view.signed_both == [node.key.node_id.hex()]
    assert list(node.peer.replica.disputes.forks.caught) == [(0, 0)]
    [warned] = fork_checks(node.peer)
    assert (warned.verdict, node.key.node_id.hex()[:8] in warned.detail) == ("warn", True)


def test_what_is_newer_than_all_that_the_node_has_is_remembered_until_it_has_as_much() -> None:
    ahead, behind = alone(30), alone()
    later = proof_of(ahead)
    assert asked(behind, later).verdict == "unknown"
    assert len(behind.peer.replica.disputes.forks) == 1
    wrong = other(ahead, later)
    assert asked(behind, wrong).verdict == "other"  # Of two strangers' ledgers, one is a lie.
    assert behind.peer.replica.disputes.forks.caught


def test_what_no_quorum_signed_is_not_taken_in() -> None:
    node = alone()
    text = proof_of(node)
    note = read_proof(text).certificate.note
    proof = read_proof(other(node, text))
    mixed = replace(
        proof.certificate, note=replace(proof.certificate.note, signatures=note.signatures)
    )
    compared = compare(
        node.peer, CompareRequest(proof=write_proof(replace(proof, certificate=mixed)))
    )
    assert (compared.view.verdict, compared.heard) == ("unsigned", [])


def test_what_is_no_proof_or_of_another_network_is_refused() -> None:
    node = alone()
    text = proof_of(node)
    for wrong in ("", "{}", text.replace(node.peer.chain.hex(), "ab" * 32)):
        with pytest.raises(Misuse):
            compare(node.peer, CompareRequest(proof=wrong))
    proof = read_proof(text)
    elsewhere = replace(proof, chain=bytes(32), genesis=b"")
    with pytest.raises(Misuse, match="of the network"):
        compare(node.peer, CompareRequest(proof=write_proof(elsewhere)))
    worded = replace(proof.certificate, note=replace(proof.certificate.note, text="hello\n"))
    with pytest.raises(Misuse, match="no proof"):
        compare(node.peer, CompareRequest(proof=write_proof(replace(proof, certificate=worded))))


def test_one_request_has_no_more_ends_of_epochs_than_are_checked_at_once() -> None:
    node = Alone()
    while node.peer.state.epoch < 1:
        node.wait(10)
    node.wait(5)
    proof = read_proof(proof_of(node))
    long = replace(proof, crossings=proof.crossings * (CROSSINGS_MAX + 1))
    with pytest.raises(Misuse, match="at most"):
        compare(node.peer, CompareRequest(proof=write_proof(long)))
