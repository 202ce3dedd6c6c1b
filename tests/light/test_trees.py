"""Proofs that a log has only grown, against altered ones. The published ones: test_client."""

from hypothesis import given
from hypothesis import strategies as st

from dpin.base.logtree import LogTree
from dpin.base.merkle import EMPTY_ROOT, leaf_hash
from dpin.light.trees import is_included, is_prefix
from tests.support.paths import altered_path

LEAVES = st.lists(st.binary(max_size=4).map(leaf_hash), min_size=1, max_size=40)


def log_of(leaves: list[bytes]) -> LogTree:
    log = LogTree()
    for leaf in leaves:
        log.append(leaf)
    return log


@given(LEAVES, st.data())
def test_every_prefix_is_proven_to_be_one_and_no_altered_proof_is_taken(
    leaves: list[bytes], data: st.DataObject
) -> None:
    log, old = log_of(leaves), data.draw(st.integers(1, len(leaves)))
    before, now, proof = (old, log.root(old)), (len(log), log.root()), log.consistency(old)
    assert is_prefix(before, now, proof)
    assert not is_prefix(before, now, data.draw(altered_path(list(proof))))
    assert not is_prefix((old, leaf_hash(b"other!")), now, proof)
    assert not is_prefix(before, (len(log), leaf_hash(b"other!")), proof)


@given(
    st.binary(max_size=40),
    st.integers(-2, 1 << 70),
    st.integers(-2, 1 << 70),
    st.lists(st.binary(max_size=70), max_size=80),
)
def test_no_proof_a_peer_can_write_does_more_than_fail(
    leaf: bytes, index: int, size: int, path: list[bytes]
) -> None:
    assert not is_included(leaf, (index, size), path, leaf_hash(b"tree"))
    assert not is_prefix((index, leaf), (size + 1, leaf_hash(b"tree")), [b"", *path])


def test_an_empty_hash_beside_a_long_one_is_no_proof() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    both = log_of([left, right]).root()
    assert not is_included(b"", (0, 2), [left + right], both)
    assert not is_prefix((1, b""), (2, both), [left + right])


def test_no_proof_starts_from_an_empty_log_or_a_longer_one() -> None:
    some = leaf_hash(b"some")
    assert not is_prefix((0, EMPTY_ROOT), (1, some), [])
    assert not is_prefix((2, some), (1, some), [])
    assert not is_prefix((0, EMPTY_ROOT), (0, EMPTY_ROOT), [])
