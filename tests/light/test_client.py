"""The light client agrees with the ledger's own checks, and refuses what they refuse."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import Digest
from dpin.ledger.book import Kind
from dpin.ledger.certificates import AuthorSignature, sign_checkpoint
from dpin.ledger.checkpoint import committee_digest
from dpin.ledger.committee import first_record
from dpin.ledger.genesis import chain_id
from dpin.ledger.prover import certificate_fact
from dpin.ledger.roots import VALUE_TAG, key_of
from dpin.ledger.statetree import StateTree
from dpin.light import client as light
from dpin.light import facts, trees
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


@pytest.mark.parametrize(
    "data",
    [b"", b"\x90", b"\x93\xa1x\x05\x90", b"\x93\xa1x\x05\x91\x90", b"\x93\xa1x\x05\x05", b"\xc1"],
)
def test_what_is_no_genesis_is_refused(data: bytes) -> None:
    with pytest.raises(facts.NotProven, match="no genesis"):
        light.trust_genesis(data)


# --- moving on -----------------------------------------------------------------------------------


def trusting(history: History) -> light.LightClient:
    """Trusts the history's committee, from its beginning; checkpoints are made under it."""
    history.made_under = Digest(history.known.digest)
    return light.LightClient(light.Trust(CHAIN, history.known, 0))


def test_it_moves_on_to_what_continues_its_log_and_never_back() -> None:
    history = History()
    client = trusting(history)
    history.grow(6)
    first = certificate_fact(history.certify())
    history.grow(9)
    second = certificate_fact(history.certify())
    client.follow(first, ())
    proof = history.tree.consistency(first.size)
    with pytest.raises(facts.NotProven, match="continuation"):
        client.follow(second, proof[1:])
    client.follow(second, proof)
    assert (client.trust.size, client.trust.sequence) == (second.size, 2)
    for old in (first, second):
        with pytest.raises(facts.NotProven):
            client.follow(old, ())
        client.advance(old)
        assert client.trust.sequence == 2


def test_another_log_by_the_same_quorum_is_no_continuation() -> None:
    history, fork = History(), History()
    client = trusting(history)
    trusting(fork)
    history.grow(6)
    client.follow(certificate_fact(history.certify()), ())
    fork.grow(5)
    fork.certify()
    fork.grow(3)
    forked = fork.certify()
    with pytest.raises(facts.NotProven, match="continuation"):
        client.follow(certificate_fact(forked), fork.tree.consistency(7))


def forged(good: facts.Certificate, stranger: bytes) -> dict[str, facts.Certificate]:
    """Each with one thing wrong, and what is wrong."""
    checkpoint, (first, *others) = good.checkpoint, good.signatures
    turned = bytes([first[1][0] ^ 1]) + first[1][1:]
    return {
        "too light": replace(good, signatures=tuple(others)),
        "of another epoch": replace(good, checkpoint=replace(checkpoint, epoch=1)),
        "of another height": replace(good, checkpoint=replace(checkpoint, height=11)),
        "under another committee": replace(
            good, checkpoint=replace(checkpoint, committee=bytes(32))
        ),
        "not in order": replace(good, signatures=good.signatures[::-1]),
        "a member twice": replace(good, signatures=(first, first, *others)),
        "no such member": replace(good, signatures=(*good.signatures, (9, first[1]))),
        "a negative member": replace(good, signatures=((-1, first[1]), *good.signatures)),
        "a turned bit": replace(good, signatures=((0, turned), *others)),
        "a short signature": replace(good, signatures=((0, b""), *others)),
        "a stranger": replace(good, signatures=((0, stranger), *others)),
        "another size": replace(good, size=good.size + 1),
        "no size": replace(good, size=0),
        "another root": replace(good, root=bytes(32)),
        "a path too short": replace(good, path=good.path[1:]),
    }


def good_and_forged() -> tuple[light.LightClient, facts.Certificate, dict[str, facts.Certificate]]:
    history = History()
    client = trusting(history)
    history.grow(6)
    good = certificate_fact(history.certify())
    stranger = sign_checkpoint(history.stranger, CHAIN, good.size, Digest(good.root))
    return client, good, forged(good, stranger)


@pytest.mark.parametrize("what", sorted(good_and_forged()[2]))
def test_a_forged_certificate_is_refused(what: str) -> None:
    client, good, others = good_and_forged()
    assert client.check(good) == 3
    with pytest.raises(facts.NotProven):
        client.check(others[what])


def test_a_certificate_is_for_one_network() -> None:
    client, good, _ = good_and_forged()
    client.trust = replace(client.trust, chain=bytes(32))
    with pytest.raises(facts.NotProven, match="of another network"):
        client.check(good)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.data())
def test_a_quorum_is_by_weight_as_the_ledger_counts_it(
    weights: list[int], data: st.DataObject
) -> None:
    history = History(tuple(weights))
    client = trusting(history)
    made = history.certify()
    signed = [
        AuthorSignature(author, sign_checkpoint(key, CHAIN, made.size, made.root))
        for author, key in enumerate(history.keys)
        if data.draw(st.booleans())
    ]
    some = msgspec.structs.replace(made, signatures=tuple(signed))
    enough = history.committee.weigh(one.author for one in signed) >= history.committee.quorum
    try:
        client.check(certificate_fact(some))
    except facts.NotProven:
        assert not enough
    else:
        assert enough


# --- what is proven under a certificate --------------------------------------------------------


def test_a_receipt_is_proven_where_it_stands_and_nowhere_else() -> None:
    history = History()
    history.grow(12)
    certificate = certificate_fact(history.certify())
    path = merkle.inclusion_proof(history.leaves, 5)
    receipt = facts.Receipt(*msgspec.structs.astuple(receipt_of(5)))
    light.check_receipt(receipt, 5, path, certificate)
    for other, index in ((receipt, 6), (replace(receipt, code=101), 5)):
        with pytest.raises(facts.NotProven, match="not in the log"):
            light.check_receipt(other, index, path, certificate)


def test_an_account_is_proven_present_or_absent_and_never_otherwise() -> None:
    node, value = bytes([7]) * 32, encode([5, 0, 0])
    for held in (None, value):
        tree = StateTree()
        key = key_of((Kind.ACCOUNT, node, 0))
        if held is not None:
            tree.put(key, digest(VALUE_TAG, held))
        certificate = certificate_fact(History().certify(tree.root))
        proof, part = tree.prove(key), facts.Part(facts.ACCOUNT, node, 0, held)
        assert part.key == key
        light.check_part(part, proof.bucket, proof.path, certificate)
        other = replace(part, value=value if held is None else None)
        with pytest.raises(facts.NotProven, match="does not hold this"):
            light.check_part(other, proof.bucket, proof.path, certificate)
        with pytest.raises(facts.NotProven, match="not part of the state"):
            light.check_part(part, proof.bucket, proof.path[1:], certificate)
