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


class Peaks:
    """Roots of the perfect subtrees of a growing tree: enough to append and to name the root."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[Digest] = []

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        carry, below = Digest(leaf), self.size
        while below & 1:
            carry, below = node_hash(self._peaks.pop(), carry), below >> 1
        self._peaks.append(carry)
        self.size += 1

    @property
    def root(self) -> Digest:
        """Root of all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        result = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            result = node_hash(peak, result)
        return result


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


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[Digest]:
    """Proof that the first `old_size` leaves are a prefix (RFC 9162 section 2.1.4.1)."""
    assert 0 < old_size <= len(leaves)
    return _subproof(leaves, old_size, known=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, known: bool) -> list[Digest]:
    if old_size == len(leaves):
        return [] if known else [root(leaves)]
    cut = _split(len(leaves))
    if old_size <= cut:
        return [*_subproof(leaves[:cut], old_size, known=known), root(leaves[cut:])]
    return [*_subproof(leaves[cut:], old_size - cut, known=False), root(leaves[:cut])]


def consistent(sizes: tuple[int, int], roots: tuple[bytes, bytes], proof: Sequence[bytes]) -> bool:
    """Whether the tree (sizes[0], roots[0]) is a prefix of (sizes[1], roots[1]); RFC 9162 2.1.4.2.

    An empty old tree has no proofs: nobody needs one, and a caller who passes 0 has lost count.
    """
    old_size, new_size = sizes
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and roots[0] == roots[1]
    if not _are_digests([*roots, *proof]):
        return False
    path = list(proof) if old_size & (old_size - 1) else [roots[0], *proof]
    return _roots_from_consistency(old_size - 1, new_size - 1, path) == roots


def _roots_from_consistency(
    place: int, last: int, path: Sequence[bytes]
) -> tuple[Digest, Digest] | None:
    if not path:
        return None
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = Digest(path[0])
    for sibling in path[1:]:
        if last == 0:
            return None
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    return (old, new) if last == 0 else None
