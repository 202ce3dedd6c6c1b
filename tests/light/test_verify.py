"""From one thing that is trusted to what several epochs have committed, and no further."""

from dataclasses import replace

import pytest

from dpin.base.codec import encode
from dpin.base.errors import NotFound, TooEarly
from dpin.base.ids import Digest, NodeId
from dpin.base.units import MicroTokens
from dpin.ledger.book import Kind
from dpin.ledger.checkpoint import committee_digest
from dpin.ledger.mempool import identify
from dpin.ledger.prover import Known, certificate_fact, committee_fact
from dpin.ledger.transactions import Transfer
from dpin.light.client import LightClient, Trust, trust_genesis
from dpin.light.facts import NotProven
from dpin.light.notes import Signature
from dpin.light.pack import unpack
from dpin.light.proofs import Proof
from dpin.light.verify import verify
from tests.support.witnessed import Witnessed, aged

NOBODY = NodeId(bytes([9]) * 32)


def genesis_trust(ledger: Witnessed) -> Trust:
    return trust_genesis(encode(ledger.genesis))


def proof_of(ledger: Witnessed, sent: Digest, known: Known = Known()) -> Proof:  # noqa: B008
    return ledger.prover.proof(known, sent, (Kind.ACCOUNT, ledger.id("bob"), 0))


@pytest.mark.parametrize("epochs", [0, 1, 5])
def test_a_receipt_is_proven_from_the_genesis_across_epochs(epochs: int) -> None:
    ledger, sent = aged(epochs)
    shown = verify(proof_of(ledger, sent), genesis_trust(ledger))
    assert (shown.crossed, shown.checkpoint.epoch) == (epochs, epochs)
    assert shown.receipt is not None
    assert (shown.receipt.subject, shown.receipt.detail) == (sent, "ok")
    assert shown.weight * 3 > shown.total * 2
    assert shown.continues
    assert {member.node for member in shown.signers} <= {
        key.node_id for key in ledger.keys.values()
    }


def test_an_account_is_shown_as_the_checkpoint_has_it() -> None:
    ledger, sent = aged()
    shown = verify(proof_of(ledger, sent), genesis_trust(ledger))
    assert shown.part is not None
    assert shown.part.value is not None
    fields = unpack(shown.part.value)
    assert isinstance(fields, list)
    assert fields[0] == ledger.account("bob").free


def test_that_an_account_is_not_there_is_shown_too() -> None:
    ledger, _ = aged()
    proof = ledger.prover.proof(Known(), None, (Kind.ACCOUNT, NOBODY, 0))
    shown = verify(proof, genesis_trust(ledger))
    assert shown.part is not None
    assert shown.part.value is None
    assert proof.part is not None
    there = replace(proof.part.part, value=encode([1]))
    with pytest.raises(NotProven, match="does not hold this"):
        verify(replace(proof, part=replace(proof.part, part=there)), genesis_trust(ledger))


def test_whoever_trusts_a_newer_checkpoint_needs_no_older_epochs() -> None:
    ledger, sent = aged(2)
    trust = ledger.prover.trust(7)
    ledger.close(2)
    ledger.checkpoint()
    whole = verify(proof_of(ledger, sent), trust)
    short = verify(proof_of(ledger, sent, Known(2, trust.size)), trust)
    assert (whole.crossed, short.crossed) == (2, 2)
    assert (whole.continues, short.continues) == (False, True)
    assert whole.trust == short.trust == ledger.prover.trust(whole.trust.seen_ms)
    passed = ledger.prover.trust(0).time_ms - trust.time_ms
    assert short.trust.seen_ms == 7 + passed
    again = proof_of(ledger, sent, Known(4, short.trust.size))
    assert verify(again, short.trust).trust == short.trust


def test_a_proof_from_before_what_is_trusted_is_refused() -> None:
    ledger, sent = aged(1)
    old = proof_of(ledger, sent)
    ledger.close()
    ledger.checkpoint()
    with pytest.raises(NotProven, match="before the trusted"):
        verify(old, ledger.prover.trust(0))


def test_an_end_of_an_epoch_that_is_left_out_is_missed() -> None:
    ledger, sent = aged(3)
    proof = proof_of(ledger, sent)
    one, two, three = proof.crossings
    for some in ((one, three), (one, two), (three, two, one), (one, one, two, three)):
        with pytest.raises(NotProven, match="not all there"):
            verify(replace(proof, crossings=some), genesis_trust(ledger))
    for few in ((), (three,), (two, three)):
        with pytest.raises(NotProven, match="nothing of the end of epoch 0"):
            verify(replace(proof, crossings=few), genesis_trust(ledger))


def test_a_committee_that_the_old_one_did_not_name_is_refused() -> None:
    ledger, sent = aged(2)
    proof = proof_of(ledger, sent)
    first, second = proof.crossings
    one, *others = second.committee.members
    heavier = replace(second.committee, members=(replace(one, weight=9), *others))
    for committee in (heavier, first.committee, replace(second.committee, base=1)):
        forged = replace(proof, crossings=(first, replace(second, committee=committee)))
        with pytest.raises(NotProven, match="another committee"):
            verify(forged, genesis_trust(ledger))


def test_a_checkpoint_in_the_middle_of_an_epoch_closes_nothing() -> None:
    ledger = Witnessed("ann", "bob", "cat", "dan")
    ledger.checkpoint()
    middle = certificate_fact(ledger.certificates[0])
    ledger.close()
    client = LightClient(genesis_trust(ledger))
    with pytest.raises(NotProven, match="does not close"):
        client.cross(middle, committee_fact(ledger.committees[1]))
    client.cross(certificate_fact(ledger.closings[0]), committee_fact(ledger.committees[1]))
    assert client.trust.committee.digest == committee_digest(ledger.committees[1])


def test_another_network_with_the_same_founders_proves_nothing() -> None:
    ledger, sent = aged(1)
    trust = replace(genesis_trust(ledger), chain=bytes(32))
    with pytest.raises(NotProven, match="another network"):
        verify(proof_of(ledger, sent), trust)
    with pytest.raises(NotProven, match="not of this network"):
        verify(replace(proof_of(ledger, sent), chain=bytes(32)), trust)


def test_a_continuation_that_does_not_hold_is_refused() -> None:
    ledger, sent = aged(1)
    trust = ledger.prover.trust(0)
    ledger.checkpoint()
    proof = proof_of(ledger, sent, Known(1, trust.size))
    assert proof.continuation is not None
    bad = replace(proof.continuation, path=proof.continuation.path[1:])
    with pytest.raises(NotProven, match="continuation"):
        verify(replace(proof, continuation=bad), trust)


def test_lines_of_witnesses_are_left_aside() -> None:
    ledger, sent = aged(1)
    proof = proof_of(ledger, sent)
    note = proof.certificate.note
    witness = Signature("witness.example", b"abcd", bytes(72))
    told = replace(note, signatures=(witness, *note.signatures, witness))
    verify(replace(proof, certificate=replace(proof.certificate, note=told)), genesis_trust(ledger))


def test_a_committee_has_the_digest_that_the_ledger_gives_it() -> None:
    ledger, _ = aged(1)
    record, fact = ledger.committees[1], certificate_fact(ledger.certificates[-1])
    committee = committee_fact(record)
    assert committee.digest == committee_digest(record)
    assert fact.checkpoint.committee == committee.digest


# --- what a node cannot prove yet, or any more ---------------------------------------------------


def test_what_no_certificate_covers_yet_is_too_early() -> None:
    ledger, _ = aged(1)
    late = ledger.signed("ann", Transfer(ledger.id("bob"), MicroTokens(1), b""))
    ledger.commit(late)
    with pytest.raises(TooEarly, match="no checkpoint that covers it"):
        ledger.prover.proof(Known(), identify(late)[0], None)
    with pytest.raises(TooEarly, match="changed since"):
        ledger.prover.proof(Known(), None, (Kind.ACCOUNT, ledger.id("bob"), 0))
    ledger.checkpoint()
    verify(proof_of(ledger, identify(late)[0]), genesis_trust(ledger))
    unsigned = replace(ledger.prover, certificate=ledger.certificates[-2])
    with pytest.raises(TooEarly, match="not signed yet"):
        unsigned.proof(Known(), None, (Kind.ACCOUNT, ledger.id("bob"), 0))


def test_what_is_not_known_is_not_found() -> None:
    ledger, sent = aged(2)
    with pytest.raises(NotFound, match="no receipt"):
        ledger.prover.proof(Known(), ledger.executor.receipts.root, None)
    del ledger.closings[0]
    with pytest.raises(NotFound, match="how epoch 0 ended"):
        proof_of(ledger, sent)
    proof_of(ledger, sent, Known(1))
