"""Append-only Merkle trees and their proofs (RFC 6962 section 2.1, RFC 9162 section 2.1).

A tree is given by its leaf hashes. Leaf and node hashes are separated by a first byte, so that no
leaf can pass for a node.
"""

from collections.abc import Sequence
from hashlib import sha256

from dpin.base.ids import ID_BYTES, Digest


def leaf_hash(data: bytes) -> Digest:
    """Hash of one leaf's data."""
    return Digest(sha256(b"\0" + data).digest())


def leaf_hash_of(*parts: bytes | memoryview) -> Digest:
    """Hash of one leaf whose data are these parts, one after the other: none is copied."""
    found = sha256(b"\0")
    for part in parts:
        found.update(part)
    return Digest(found.digest())


def leaf_hashes(items: Sequence[bytes]) -> list[Digest]:
    """Hashes of many leaves' data."""
    return [Digest(sha256(b"\0" + data).digest()) for data in items]


def node_hash(left: bytes, right: bytes) -> Digest:
    """Hash of an inner node."""
    return Digest(sha256(b"\1" + left + right).digest())


EMPTY_ROOT = Digest(sha256(b"").digest())


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def root(leaves: Sequence[bytes]) -> Digest:
    """Root over leaf hashes."""
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:  # Level by level; a last node without a sibling moves up as it is.
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\1" + left + right).digest() for left, right in pairs] + odd
    return Digest(level[0])


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[Digest]:
    """The path from leaf `index` to the root, lowest sibling first (RFC 9162 section 2.1.3.1)."""
    assert 0 <= index < len(leaves)
    if len(leaves) == 1:
        return []
    cut = _split(len(leaves))
    if index < cut:
        return [*inclusion_proof(leaves[:cut], index), root(leaves[cut:])]
    return [*inclusion_proof(leaves[cut:], index - cut), root(leaves[:cut])]


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> Digest | None:
    """The root that this proof leads to, or None where no such proof can be (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size or not _are_digests([leaf, *path]):
        return None
    place, last, result = index, size - 1, Digest(leaf)
    for sibling in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            result = node_hash(sibling, result)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        place, last = place >> 1, last >> 1
    return result if last == 0 else None


def _are_digests(hashes: Sequence[bytes]) -> bool:
    """A hash covers its children glued together: a short one beside a long one would pass too."""
    return all(len(item) == ID_BYTES for item in hashes)
