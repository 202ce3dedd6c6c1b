"""A log proves what it holds, and that it has only grown, for every size that it has ever had."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base import merkle
from dpin.base.errors import NotFound
from dpin.base.ids import Digest
from dpin.base.logtree import LogTree
from dpin.base.merkle import EMPTY_ROOT, leaf_hash, node_hash
from dpin.light.trees import is_prefix

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "merkle"
# The leaves of the published vectors, as transparency-dev/merkle and RFC 6962's own tests use them.
PUBLISHED: Final = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                    "606162636465666768696a6b6c6d6e6f")  # fmt: skip


def log_of(leaves: Sequence[bytes]) -> LogTree:
    log = LogTree()
    for leaf in leaves:
        log.append(leaf)
    return log


# RFC 6962 section 2.1, word by word, over lists.


def naive_root(leaves: Sequence[bytes]) -> Digest:
    """MTH."""
    if len(leaves) < 2:
        return Digest(leaves[0]) if leaves else EMPTY_ROOT
    cut = largest_below(len(leaves))
    return node_hash(naive_root(leaves[:cut]), naive_root(leaves[cut:]))


def naive_path(index: int, leaves: Sequence[bytes]) -> list[Digest]:
    """PATH (2.1.1)."""
    if len(leaves) == 1:
        return []
    cut = largest_below(len(leaves))
    if index < cut:
        return [*naive_path(index, leaves[:cut]), naive_root(leaves[cut:])]
    return [*naive_path(index - cut, leaves[cut:]), naive_root(leaves[:cut])]


def naive_subproof(old: int, leaves: Sequence[bytes], *, known: bool = True) -> list[Digest]:
    """SUBPROOF (2.1.2); PROOF is SUBPROOF with the old tree known."""
    if old == len(leaves):
        return [] if known else [naive_root(leaves)]
    cut = largest_below(len(leaves))
    if old <= cut:
        return [*naive_subproof(old, leaves[:cut], known=known), naive_root(leaves[cut:])]
    return [*naive_subproof(old - cut, leaves[cut:], known=False), naive_root(leaves[:cut])]


def largest_below(size: int) -> int:
    cut = 1
    while cut * 2 < size:
        cut *= 2
    return cut


@given(st.lists(st.binary(max_size=4).map(leaf_hash), min_size=1, max_size=70), st.data())
def test_every_proof_is_that_of_the_recursive_definition(
    leaves: list[bytes], data: st.DataObject
) -> None:
    log = log_of(leaves)
    size = data.draw(st.integers(1, len(leaves)))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    then = leaves[:size]
    assert log.root(size) == naive_root(then)
    assert list(log.inclusion(index, size)) == naive_path(index, then)
    assert list(log.consistency(old, size)) == naive_subproof(old, then)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 31, 33, 64, 65])
def test_all_proofs_of_a_log_are_accepted_by_the_verifier(count: int) -> None:
    leaves = [leaf_hash(number.to_bytes(2)) for number in range(count)]
    log = log_of(leaves)
    assert len(log) == count
    for size in range(1, count + 1):
        root = log.root(size)
        for index in range(size):
            path = log.inclusion(index, size)
            assert merkle.root_from_inclusion(leaves[index], index, size, path) == root
            old = (index + 1, log.root(index + 1))
            assert is_prefix(old, (size, root), log.consistency(index + 1, size))


GOOD: Final = sorted(VECTORS.rglob("happy-path.json"))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_the_good_ones_of_the_published_proofs_are_what_this_log_gives(path: Path) -> None:
    case = json.loads(path.read_text())
    log = log_of([leaf_hash(bytes.fromhex(text)) for text in PUBLISHED])
    proof = [unpacked(text) for text in case["proof"] or []]
    if "leafIdx" in case:
        size = case["treeSize"]
        assert log.root(size) == unpacked(case["root"])
        assert list(log.inclusion(case["leafIdx"], size)) == proof
    else:
        old, size = case["size1"], case["size2"]
        assert (log.root(old), log.root(size)) == (unpacked(case["root1"]), unpacked(case["root2"]))
        assert list(log.consistency(old, size)) == proof


def test_the_good_ones_are_ten() -> None:
    assert len(GOOD) == 10


def unpacked(text: str) -> bytes:
    return base64.b64decode(text)


def test_an_empty_log_has_the_root_of_nothing() -> None:
    assert LogTree().root() == LogTree().root(0) == EMPTY_ROOT


def test_what_was_never_there_cannot_be_asked_for() -> None:
    log = log_of([leaf_hash(b"a"), leaf_hash(b"b")])
    for ask in (
        lambda: log.root(3),
        lambda: log.inclusion(2),
        lambda: log.inclusion(1, 1),
        lambda: log.consistency(0),
        lambda: log.consistency(2, 1),
    ):
        with pytest.raises(AssertionError):
            ask()


# --- logs of which the beginning is forgotten --------------------------------------------------


@given(st.integers(0, 34), st.integers(0, 20))
def test_a_log_goes_on_from_its_peaks_alone(first: int, more: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(first + more)]
    whole = log_of(leaves)
    assert len(whole.peaks(first)) == first.bit_count()
    log = LogTree(first, whole.peaks(first))
    for leaf in leaves[first:]:
        log.append(leaf)
    assert (len(log), log.root(), log.peaks()) == (len(whole), whole.root(), whole.peaks())
    forgetful = log_of(leaves)
    forgetful.forget(first)
    for one in (log, forgetful):
        for size in range(first, len(leaves) + 1):
            assert one.root(size) == whole.root(size)
            assert one.peaks(size) == whole.peaks(size)
            for index in range(first, size):
                assert one.inclusion(index, size) == whole.inclusion(index, size)
            if first:
                assert one.consistency(first, size) == whole.consistency(first, size)


def test_what_is_forgotten_is_not_proven() -> None:
    log = log_of([leaf_hash(bytes([number])) for number in range(40)])
    log.forget(13)
    with pytest.raises(NotFound, match="before leaf 13"):
        log.inclusion(2)
    assert log.root() == log_of([leaf_hash(bytes([number])) for number in range(40)]).root()


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 40))
def test_leaves_that_are_added_together_make_the_same_log(sizes: list[int], forgotten: int) -> None:
    one, many, number = LogTree(), LogTree(), 0
    for size in sizes:
        leaves = [leaf_hash(bytes([number + place])) for place in range(size)]
        number += size
        many.extend(leaves)
        for leaf in leaves:
            one.append(leaf)
        for log in (one, many):
            log.forget(max(log.first, min(forgotten, len(log))))
        assert (len(many), many.root(), many.peaks()) == (len(one), one.root(), one.peaks())
        assert all(many.inclusion(at) == one.inclusion(at) for at in range(one.first, number))
