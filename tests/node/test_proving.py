"""A running node hands out proofs that hold without it."""

import pytest

from dpin.base.codec import encode
from dpin.base.errors import Misuse, NotFound, TooEarly
from dpin.base.units import MicroTokens
from dpin.ledger.transactions import Transfer
from dpin.ledger.wishes import Outcome, Wish
from dpin.light.client import trust_genesis
from dpin.light.files import read_proof, read_trust
from dpin.light.verify import verify
from dpin.node.control import ProofRequest
from dpin.node.proving import proof_view
from tests.support.alone import Alone
from tests.support.jobs import only


def sent_by(node: Alone) -> str:
    """A transfer to itself, committed."""
    me = node.key.node_id
    effects = node.step(Wish("test", Transfer(me, MicroTokens(1), b"")))
    [outcome] = only(Outcome, [*effects, *node.wait(1)])
    assert outcome.detail == "ok"
    return outcome.transaction.hex()


def test_a_node_proves_a_transaction_and_an_account_to_whoever_trusts_its_founders() -> None:
    node = Alone()
    node.wait(1)
    sent = sent_by(node)
    node.wait(2)
    request = ProofRequest(subject=sent, account=node.key.node_id.hex())
    view = proof_view(node.peer, request, node.now)
    shown = verify(read_proof(view.proof), trust_genesis(encode(node.genesis)))
    assert shown.receipt is not None
    assert shown.receipt.subject.hex() == sent
    assert shown.part is not None
    assert shown.part.value is not None
    trust = read_trust(view.checkpoint)
    assert (trust.size, trust.sequence) == (shown.trust.size, view.sequence)
    node.wait(15)  # An idle network has a checkpoint every ten seconds.
    request = ProofRequest(subject=sent, epoch=trust.committee.epoch, size=trust.size)
    later = verify(read_proof(proof_view(node.peer, request, node.now).proof), trust)
    assert later.continues
    assert later.trust.size > trust.size


def test_a_node_that_has_been_through_the_ends_of_epochs_proves_across_them() -> None:
    node = Alone()
    while node.peer.state.epoch < 2:
        node.wait(10)
    sent = sent_by(node)
    node.wait(5)
    view = proof_view(node.peer, ProofRequest(subject=sent), node.now)
    shown = verify(read_proof(view.proof), trust_genesis(encode(node.genesis)))
    assert shown.crossed == view.epoch == 2
    assert shown.receipt is not None
    assert shown.receipt.subject.hex() == sent


def test_before_the_first_certificate_it_is_too_early() -> None:
    node = Alone()
    with pytest.raises(TooEarly, match="no checkpoint"):
        proof_view(node.peer, ProofRequest(), node.now)


def test_what_is_no_id_and_what_is_unknown_is_told() -> None:
    node = Alone()
    node.wait(15)
    for text in ("ab", "zz" * 32, "é"):
        with pytest.raises(Misuse, match="is not"):
            proof_view(node.peer, ProofRequest(subject=text), node.now)
    with pytest.raises(NotFound):
        proof_view(node.peer, ProofRequest(subject="ab" * 32), node.now)
