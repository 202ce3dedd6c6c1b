"""The light client agrees with the ledger's own checks, and refuses what they refuse."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import Digest
from dpin.ledger.book import Kind
from dpin.ledger.certificates import Certificate
from dpin.ledger.checkpoint import committee_digest
from dpin.ledger.committee import first_record
from dpin.ledger.genesis import chain_id
from dpin.ledger.roots import VALUE_TAG, key_of
from dpin.ledger.statetree import StateTree
from dpin.light import client as light
from dpin.light import trees
from tests.support.certified import CHAIN, History, receipt_of
from tests.support.ledgers import Ledger

VECTORS = Path(__file__).parents[1] / "vectors" / "merkle"


def unpacked(texts: list[str] | None) -> list[bytes]:
    return [base64.b64decode(text) for text in texts or []]


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_published_proofs_are_judged_as_published(kind: str) -> None:
    paths = sorted((VECTORS / kind).rglob("*.json"))
    assert len(paths) == 98
    for path in paths:
        case = json.loads(path.read_text())
        proof = unpacked(case["proof"])
        if kind == "inclusion":
            leaf, root = unpacked([case["leafHash"], case["root"]])
            right = trees.is_included(leaf, (case["leafIdx"], case["treeSize"]), proof, root)
        else:
            old, new = unpacked([case["root1"], case["root2"]])
            right = trees.is_prefix((case["size1"], old), (case["size2"], new), proof)
        assert right != case["wantErr"], case["desc"]


def test_the_founders_are_read_from_the_genesis_as_the_ledger_reads_them() -> None:
    genesis = Ledger("ann", "bob", "cat", "dan").genesis
    trust = light.trust_genesis(encode(genesis))
    record = first_record(genesis, chain_id(genesis))
    assert trust.chain == chain_id(genesis)
    assert trust.committee.digest == committee_digest(record)
    assert trust.seen_ms == genesis.created_ms


def test_a_trust_past_its_period_is_refused() -> None:
    genesis = Ledger("ann").genesis
    trust = light.trust_genesis(encode(genesis))
    light.LightClient(trust, trust.seen_ms + 10, 10)
    with pytest.raises(light.NotProven, match="older than the trusting period"):
        light.LightClient(trust, trust.seen_ms + 11, 10)


# --- moving on -----------------------------------------------------------------------------------


def trusting(history: History) -> light.LightClient:
    """Trusts the history's committee, from its beginning."""
    members = tuple(
        light.Member(node, node, weight, bytes(32), 0)
        for node, weight in zip(history.committee.members, history.committee.weights, strict=True)
    )
    return light.LightClient(light.Trust(CHAIN, light.Committee(0, bytes(32), 0, members), 0), 0, 0)


def seen(certificate: Certificate, client: light.LightClient) -> light.Certificate:
    """A certificate in the light client's words, made under the committee that it trusts."""
    fields = msgspec.structs.astuple(certificate.checkpoint)
    signatures = tuple((one.author, one.signature) for one in certificate.signatures)
    checkpoint = light.Checkpoint(*fields)
    assert checkpoint.committee == client.trust.committee.digest
    return light.Certificate(
        checkpoint, certificate.size, certificate.root, certificate.path, signatures
    )


def test_it_moves_on_to_what_continues_its_log_and_never_back() -> None:
    history = History()
    client = trusting(history)
    history.made_under = Digest(client.trust.committee.digest)
    history.grow(6)
    first = seen(history.certify(), client)
    history.grow(9)
    second = seen(history.certify(), client)
    client.follow(first, ())
    proof = merkle.consistency_proof(history.leaves, first.size)
    with pytest.raises(light.NotProven, match="continuation"):
        client.follow(second, proof[1:])
    client.follow(second, proof)
    assert (client.trust.size, client.trust.sequence) == (second.size, 2)
    with pytest.raises(light.NotProven, match="not newer"):
        client.follow(first, ())


@pytest.mark.parametrize("what", ["weight", "network", "epoch", "leaf", "order"])
def test_a_forged_certificate_is_refused(what: str) -> None:
    history = History()
    client = trusting(history)
    history.made_under = Digest(client.trust.committee.digest)
    history.grow(6)
    good = seen(history.certify(), client)
    client.check(good)
    checkpoint = good.checkpoint
    forged = {
        "weight": replace(good, signatures=good.signatures[1:]),
        "network": good,
        "epoch": replace(good, checkpoint=replace(checkpoint, epoch=1)),
        "leaf": replace(good, checkpoint=replace(checkpoint, height=checkpoint.height + 1)),
        "order": replace(good, signatures=good.signatures[::-1]),
    }[what]
    if what == "network":
        client.trust = replace(client.trust, chain=bytes(32))
    with pytest.raises(light.NotProven):
        client.check(forged)


def test_a_receipt_is_proven_where_it_stands_and_nowhere_else() -> None:
    history = History()
    client = trusting(history)
    history.made_under = Digest(client.trust.committee.digest)
    history.grow(12)
    certificate = seen(history.certify(), client)
    path = merkle.inclusion_proof(history.leaves, 5)
    receipt = light.Receipt(*msgspec.structs.astuple(receipt_of(5)))
    client.receipt(receipt, 5, path, certificate)
    for other, index in ((receipt, 6), (replace(receipt, code=101), 5)):
        with pytest.raises(light.NotProven, match="not in the log"):
            client.receipt(other, index, path, certificate)


def test_an_account_is_proven_present_or_absent_and_never_otherwise() -> None:
    history, node = History(), bytes([7]) * 32
    client = trusting(history)
    history.made_under = Digest(client.trust.committee.digest)
    value = encode([5, 0, 0])
    for held in (None, value):
        tree = StateTree()
        key = key_of((Kind.ACCOUNT, node, 0))
        if held is not None:
            tree.put(key, digest(VALUE_TAG, held))
        certificate = seen(history.certify(tree.root), client)
        proof = tree.prove(key)
        client.account(node, held, (proof.bucket, proof.path), certificate)
        with pytest.raises(light.NotProven, match="does not hold this"):
            client.account(
                node, value if held is None else None, (proof.bucket, proof.path), certificate
            )
