"""Merkle trees as a verifier needs them: a log that only grows, and the entries of a state.

Sources: RFC 6962 section 2.1 and RFC 9162 sections 2.1.3.2 and 2.1.4.2 for the log, and
docs/protocol/ledger.md for the state. Written apart from what builds the trees.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
ENTRY_BYTES: Final = 2 * HASH_BYTES
KEY_BITS: Final = 8 * HASH_BYTES


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf of the log, and of a bucket of the state."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash over two halves."""
    return sha256(b"\1" + left + right).digest()


def are_hashes(hashes: Sequence[bytes]) -> bool:
    """A short hash beside a long one would glue to the same bytes: all have the one length."""
    return all(len(one) == HASH_BYTES for one in hashes)


def is_included(leaf: bytes, place: tuple[int, int], path: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf hash stands at (index, size) of the log with that root."""
    index, size = place
    if not 0 <= index < size or not are_hashes([leaf, root, *path]):
        return False
    last, node = size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and node == root


def is_prefix(old: tuple[int, bytes], new: tuple[int, bytes], proof: Sequence[bytes]) -> bool:
    """Whether the log (size, root) of before is the beginning of the log of now."""
    (old_size, old_root), (new_size, new_root) = old, new
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not path or not are_hashes([old_root, new_root, *path]):
        return False
    return _roots_of(path, old_size - 1, new_size - 1) == (old_root, new_root)


def _roots_of(path: Sequence[bytes], place: int, last: int) -> tuple[bytes, bytes] | None:
    """The roots of before and of now that a consistency proof leads to."""
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    return (before, after) if last == 0 else None


def leads_to(bucket: bytes, path: Sequence[bytes], key: bytes, root: bytes) -> bool:
    """Whether this is the bucket of the state with that root in which the key would stand."""
    depth = len(path)
    if depth > KEY_BITS or len(bucket) % ENTRY_BYTES or not are_hashes([key, root, *path]):
        return False
    node, number = leaf_hash(bucket), int.from_bytes(key)
    for height, sibling in enumerate(path):
        is_right = number >> (KEY_BITS - depth + height) & 1
        node = node_hash(sibling, node) if is_right else node_hash(node, sibling)
    return node == root


def entry_of(bucket: bytes, key: bytes) -> bytes | None:
    """The value hash that stands at a key of a bucket, if any."""
    for at in range(0, len(bucket), ENTRY_BYTES):
        if bucket[at : at + HASH_BYTES] == key:
            return bucket[at + HASH_BYTES : at + ENTRY_BYTES]
    return None
