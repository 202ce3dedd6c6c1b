"""The tree over a log that only grows, with proofs for any size it has ever had (RFC 6962, 9162).

The hash of every whole subtree is kept, 64 bytes a leaf in all; so a proof costs a walk down the
tree and not a new hash of it.
"""

from hashlib import sha256

from dpin.base.ids import ID_BYTES, Digest
from dpin.base.merkle import EMPTY_ROOT, node_hash


class LogTree:
    """Leaf hashes in order. A size of None is the present one."""

    def __init__(self) -> None:
        self._levels = [bytearray()]  # level k: roots over 2^k leaves, side by side

    def __len__(self) -> int:
        return len(self._levels[0]) // ID_BYTES

    def append(self, leaf: bytes) -> None:
        """Add the hash of one leaf."""
        node = leaf
        for level in self._levels:
            level.extend(node)
            if len(level) // ID_BYTES % 2:
                return
            node = sha256(b"\1" + level[-2 * ID_BYTES :]).digest()
        self._levels.append(bytearray(node))

    def root(self, size: int | None = None) -> Digest:
        """The root when the log had so many leaves."""
        size = self._checked(size)
        return self._root(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> tuple[Digest, ...]:
        """The path from a leaf to the root of that size, lowest sibling first (9162, 2.1.3.1)."""
        width = self._checked(size)
        assert 0 <= index < width, "there is no such leaf"
        path: list[Digest] = []
        start = 0
        while width > 1:
            cut = _split(width)
            if index < start + cut:
                path.append(self._root(start + cut, width - cut))
                width = cut
            else:
                path.append(self._root(start, cut))
                start, width = start + cut, width - cut
        return tuple(reversed(path))

    def consistency(self, old: int, size: int | None = None) -> tuple[Digest, ...]:
        """Shows that the first `old` leaves are how the log of that size begins (9162, 2.1.4.1)."""
        width = self._checked(size)
        assert 0 < old <= width, "nothing is proven from an empty log, nor from a longer one"
        path: list[Digest] = []
        start = 0
        while old != start + width:
            cut = _split(width)
            if old <= start + cut:
                path.append(self._root(start + cut, width - cut))
                width = cut
            else:
                path.append(self._root(start, cut))
                start, width = start + cut, width - cut
        if start:  # The verifier knows the old root, and no other subtree.
            path.append(self._root(start, width))
        return tuple(reversed(path))

    def _checked(self, size: int | None) -> int:
        assert size is None or 0 <= size <= len(self), "the log has never had that size"
        return len(self) if size is None else size

    def _root(self, start: int, size: int) -> Digest:
        """The root over `size` leaves from `start`, a multiple of the power of two above them."""
        if size & (size - 1) == 0:
            at = start // size * ID_BYTES
            return Digest(bytes(self._levels[size.bit_length() - 1][at : at + ID_BYTES]))
        cut = _split(size)
        return node_hash(self._root(start, cut), self._root(start + cut, size - cut))


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)
