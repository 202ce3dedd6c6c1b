"""The state tree is what its entries say, whatever its history; proofs show just what is there."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpin.base.codec import encode
from dpin.base.ids import Digest
from dpin.base.merkle import node_hash
from dpin.ledger.statetree import (
    BUCKET_MAX,
    BUCKETS,
    ENTRY_BYTES,
    Bucket,
    StateProof,
    StateTree,
    bucket_hashes,
    holds,
    root_of_bucket,
    root_of_buckets,
)

Entries = dict[Digest, Digest]
# Few first bytes and few different bits, so that buckets fill, split and merge.
KEYS = st.tuples(st.sampled_from([0, 7, 255]), st.integers(0, 255), st.integers(0, 3)).map(
    lambda three: Digest(bytes(three[:2]) + bytes(29) + bytes(three[2:]))
)
VALUES = st.integers(0, 9).map(lambda number: Digest(sha256(bytes([number])).digest()))
ENTRIES = st.dictionaries(KEYS, VALUES, max_size=60)


def tree_of(entries: Entries) -> StateTree:
    tree = StateTree()
    for key, value in entries.items():
        tree.put(key, value)
    return tree


def naive_root(entries: Entries) -> Digest:
    """The page, word by word: buckets by first byte, halved while too full; a tree over them."""
    level = [
        root_of_bucket({key: value for key, value in entries.items() if key[0] == bucket})
        for bucket in range(BUCKETS)
    ]
    while len(level) > 1:
        level = [node_hash(*level[at : at + 2]) for at in range(0, len(level), 2)]
    return level[0]


def many(count: int) -> Entries:
    keys = (Digest(sha256(number.to_bytes(4)).digest()) for number in range(count))
    return {key: Digest(sha256(key).digest()) for key in keys}


@settings(max_examples=40)
@given(ENTRIES)
def test_the_root_is_that_of_the_definition(entries: Entries) -> None:
    tree = tree_of(entries)
    assert tree.root == naive_root(entries)
    held = {key: value for key, value in entries.items() if key[0] == 7}
    assert bucket_hashes(tree.above_buckets())[7] == root_of_bucket(held)


@given(st.lists(st.tuples(KEYS, VALUES | st.none(), st.booleans()), max_size=80))
def test_the_root_does_not_depend_on_history(
    steps: list[tuple[Digest, Digest | None, bool]],
) -> None:
    tree, entries = StateTree(), dict[Digest, Digest]()
    for key, value, look in steps:
        if value is None:
            tree.remove(key)
            entries.pop(key, None)
        else:
            tree.put(key, value)
            entries[key] = value
        if look:
            assert tree.root == tree_of(entries).root
    assert tree.root == tree_of(entries).root


@given(ENTRIES, KEYS)
def test_presence_and_absence_are_shown(entries: Entries, key: Digest) -> None:
    tree = tree_of(entries)
    assert holds(tree.prove(key), key, tree.root) == (True, entries.get(key))


@given(ENTRIES, KEYS, st.data())
def test_no_altered_proof_leads_to_the_root(
    entries: Entries, key: Digest, data: st.DataObject
) -> None:
    tree = tree_of(entries)
    altered = data.draw(altered_proofs(tree.prove(key)))
    assert holds(altered, key, tree.root) == (False, None)


@st.composite
def altered_proofs(draw: st.DrawFn, proof: StateProof) -> StateProof:
    """A proof with one bit, entry or step changed."""
    bucket, path = proof.bucket, list(proof.path)
    at = draw(st.integers(0, len(path) - 1))
    match draw(st.sampled_from(["bit", "entry", "more", "step", "fewer", "longer", "swap"])):
        case "bit" if bucket:
            place = draw(st.integers(0, len(bucket) - 1))
            turned = bytes([bucket[place] ^ 1 << draw(st.integers(0, 7))])
            bucket = bucket[:place] + turned + bucket[place + 1 :]
        case "entry" if bucket:
            place = draw(st.integers(0, len(bucket) // ENTRY_BYTES - 1)) * ENTRY_BYTES
            bucket = bucket[:place] + bucket[place + ENTRY_BYTES :]
        case "more":
            bucket += bytes(ENTRY_BYTES)
        case "fewer":
            path.pop(at)
        case "longer":
            path.insert(at, Digest(bytes(32)))
        case "swap":
            path[at] = Digest(path[at][::-1])
        case _:
            path[at] = Digest(path[at][:31])
    return StateProof(bucket, tuple(path))


@given(ENTRIES.filter(bool), st.data())
def test_an_entry_that_is_there_is_never_shown_absent(
    entries: Entries, data: st.DataObject
) -> None:
    """Not even by the true proof of another key, nor by a bucket cut out of the true one."""
    tree = tree_of(entries)
    key = data.draw(st.sampled_from(sorted(entries)))
    for other in sorted(entries):
        led, value = holds(tree.prove(other), key, tree.root)
        assert not led or value == entries[key]


def test_an_inner_node_does_not_pass_for_a_bucket() -> None:
    entries = many(5_000)
    tree = tree_of(entries)
    key = min(entries)
    proof = tree.prove(key)
    assert len(proof.path) > 8
    node = sha256(b"\0" + proof.bucket).digest()
    pair = node + proof.path[0] if not proof.path else proof.path[0] + node
    assert holds(StateProof(pair, proof.path[1:]), key, tree.root) == (False, None)


@pytest.mark.parametrize("count", [0, 1, 100, 20_000])
def test_proofs_stay_short(count: int) -> None:
    tree = tree_of(many(count))
    sizes = [len(encode(tree.prove(key))) for key in many(count + 200)]
    assert max(sizes) <= BUCKET_MAX * ENTRY_BYTES + 34 * 18 + 8


def test_a_short_key_and_a_deep_path_prove_nothing() -> None:
    tree = StateTree()
    proof = tree.prove(Digest(bytes(32)))
    assert holds(proof, Digest(b""), tree.root) == (False, None)
    assert holds(StateProof(b"", (Digest(bytes(32)),) * 257), Digest(bytes(32)), tree.root) == (
        False,
        None,
    )


@settings(max_examples=40)
@given(ENTRIES)
def test_a_tree_of_whole_buckets_is_the_tree_of_their_entries(entries: Entries) -> None:
    tree, whole = tree_of(entries), StateTree()
    for number in (0, 7, 255):
        held = {key: entries[key] for key in sorted(entries) if key[0] == number}
        bucket = Bucket(number, b"".join(key + value for key, value in held.items()))
        assert bucket.hash == bucket_hashes(tree.above_buckets())[number] == root_of_bucket(held)
        whole.adopt(bucket)
    assert whole.root == tree.root
    assert root_of_buckets(bucket_hashes(tree.above_buckets())) == tree.root
    for key in sorted(entries):
        assert whole.prove(key) == tree.prove(key)
    for key in sorted(entries):
        assert not whole.put(key, entries[key])
        whole.remove(key)
    assert whole.root == StateTree().root


def test_a_large_bucket_splits_as_deep_as_it_must() -> None:
    entries = {Digest(bytes([7]) + key[1:]): value for key, value in many(3_000).items()}
    bucket = Bucket(7, b"".join(key + entries[key] for key in sorted(entries)))
    assert bucket.hash == bucket_hashes(tree_of(entries).above_buckets())[7]


def test_what_lies_deep_does_not_make_the_list_of_nodes_long() -> None:
    one_path = {Digest(bytes(31) + bytes([number])): Digest(bytes(32)) for number in range(9)}
    tree = tree_of(one_path)
    assert tree.root == naive_root(one_path)
    assert len(tree._nodes._list) <= 4_096  # The path has 244 nodes below its bucket.


def test_a_tree_of_many_entries_is_as_the_definition_says_and_shrinks_again() -> None:
    entries = many(6_000)
    tree = tree_of(entries)
    assert len(tree._nodes._list) > 2 * BUCKETS
    assert tree.root == naive_root(entries)
    kept = dict(list(entries.items())[:5])
    for key in entries:
        if key not in kept:
            tree.remove(key)
    assert tree.root == naive_root(kept)
