"""Merkle trees against the published vectors, the naive definition and altered proofs."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.ids import Digest
from dpin.base.merkle import (
    EMPTY_ROOT,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    root_from_inclusion,
)
from tests.support.paths import altered_path

VECTORS = Path(__file__).parents[1] / "vectors" / "merkle"
INCLUSION = sorted((VECTORS / "inclusion").rglob("*.json"))

LEAVES = st.lists(st.binary(max_size=4).map(leaf_hash), min_size=1, max_size=40)


def name_of(path: Path) -> str:
    return str(path.relative_to(VECTORS).with_suffix(""))


def unpacked(texts: list[str] | None) -> list[bytes]:
    return [base64.b64decode(text) for text in texts or []]


def naive_root(leaves: Sequence[bytes]) -> Digest:
    """MTH of RFC 6962 section 2.1, word by word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return Digest(leaves[0])
    cut = 1
    while cut * 2 < len(leaves):
        cut *= 2
    return node_hash(naive_root(leaves[:cut]), naive_root(leaves[cut:]))


def test_all_published_vectors_are_here() -> None:
    assert len(INCLUSION) == 98


@pytest.mark.parametrize("path", INCLUSION, ids=name_of)
def test_published_inclusion_proofs_are_judged_as_published(path: Path) -> None:
    case = json.loads(path.read_text())
    leaf, expected = unpacked([case["leafHash"], case["root"]])
    found = root_from_inclusion(leaf, case["leafIdx"], case["treeSize"], unpacked(case["proof"]))
    assert (found != expected) == case["wantErr"], case["desc"]


def test_the_empty_tree_has_the_root_of_the_rfc() -> None:
    assert root([]) == EMPTY_ROOT
    assert EMPTY_ROOT.hex().startswith("e3b0c44298fc1c14")


@given(st.lists(st.binary(max_size=4).map(leaf_hash), max_size=70))
def test_the_root_is_that_of_the_recursive_definition(leaves: list[bytes]) -> None:
    assert root(leaves) == naive_root(leaves)


@given(LEAVES, st.data())
def test_every_leaf_is_proven_to_be_where_it_is(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = inclusion_proof(leaves, index)
    assert root_from_inclusion(leaves[index], index, len(leaves), path) == root(leaves)


@given(LEAVES, st.data())
def test_no_altered_inclusion_proof_leads_to_the_root(
    leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    path: list[bytes] = list(inclusion_proof(leaves, index))
    altered = data.draw(altered_path(path))
    assert root_from_inclusion(leaves[index], index, len(leaves), altered) != root(leaves)
    assert root_from_inclusion(leaf_hash(b"other!"), index, len(leaves), path) != root(leaves)


@given(
    st.binary(max_size=40),
    st.integers(-2, 1 << 70),
    st.integers(-2, 1 << 70),
    st.lists(st.binary(max_size=70), max_size=80),
)
def test_no_proof_a_peer_can_write_does_more_than_fail(
    leaf: bytes, index: int, size: int, path: list[bytes]
) -> None:
    assert root_from_inclusion(leaf, index, size, path) != leaf_hash(b"tree")


def test_an_empty_leaf_beside_a_long_sibling_is_no_proof() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert root_from_inclusion(b"", 0, 2, [left + right]) is None
