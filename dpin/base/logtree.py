"""The tree over a log that only grows, with proofs for any size it has ever had (RFC 6962, 9162).

The hash of every whole subtree is kept, 64 bytes a leaf in all; so a proof costs a walk down the
tree and not a new hash of it.

What came before some leaf may be forgotten but for the peaks there: the roots of the largest whole
subtrees, of which there are as many as the size has bits set. They are enough to go on, and to
prove every later leaf, at every later size.
"""

from collections.abc import Sequence
from hashlib import sha256

from dpin.base.errors import NotFound
from dpin.base.ids import ID_BYTES, Digest
from dpin.base.merkle import EMPTY_ROOT, node_hash


class LogTree:
    """Leaf hashes in order. A size of None is the present one.

    `peaks` stand for what comes before the leaf `first`.
    """

    def __init__(self, first: int = 0, peaks: Sequence[Digest] = ()) -> None:
        places = _places(first)
        assert len(peaks) == len(places), "a size has so many peaks"
        levels = range(max(1, first.bit_length()))
        # Level k: roots over 2^k leaves, side by side; and how many, from the left, are forgotten.
        self._levels = [bytearray() for _ in levels]
        self._gone = [(first >> level) - (first >> level & 1) for level in levels]
        self.first = first  # the oldest leaf that can be proven
        for (level, _), peak in zip(places, peaks, strict=True):
            self._levels[level].extend(peak)

    def __len__(self) -> int:
        return self._gone[0] + len(self._levels[0]) // ID_BYTES

    def append(self, leaf: bytes) -> None:
        """Add the hash of one leaf."""
        node = leaf
        for gone, level in zip(self._gone, self._levels, strict=True):
            level.extend(node)
            if (gone + len(level) // ID_BYTES) % 2:
                return
            node = sha256(b"\1" + level[-2 * ID_BYTES :]).digest()
        self._levels.append(bytearray(node))
        self._gone.append(0)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add the hashes of several leaves: as one by one, for less."""
        nodes, level = list(leaves), 0
        while nodes:
            if level == len(self._levels):
                self._levels.append(bytearray())
                self._gone.append(0)
            held = self._levels[level]
            # A last node that had no sibling yet has one now.
            start = len(held) - ID_BYTES * ((self._gone[level] + len(held) // ID_BYTES) % 2)
            held += b"".join(nodes)
            ends = range(start + 2 * ID_BYTES, len(held) + 1, 2 * ID_BYTES)
            nodes = [sha256(b"\1" + held[end - 2 * ID_BYTES : end]).digest() for end in ends]
            level += 1

    def peaks(self, size: int | None = None) -> tuple[Digest, ...]:
        """The roots of the largest whole subtrees that make up a size, from the left."""
        return tuple(self._node(level, at) for level, at in _places(self._checked(size)))

    def forget(self, first: int) -> None:
        """Keep of what comes before this leaf only what later proofs need."""
        assert self.first <= first <= len(self), "a log forgets what it has"
        self.first = first
        for level, nodes in enumerate(self._levels):
            # The peak, if there is one of this level, is the last of what lies before.
            gone = max(self._gone[level], (first >> level) - (first >> level & 1))
            del nodes[: (gone - self._gone[level]) * ID_BYTES]
            self._gone[level] = gone

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
            return self._node(size.bit_length() - 1, start // size)
        cut = _split(size)
        return node_hash(self._root(start, cut), self._root(start + cut, size - cut))

    def _node(self, level: int, place: int) -> Digest:
        at = (place - self._gone[level]) * ID_BYTES
        if at < 0:
            raise NotFound(
                f"nothing from before leaf {self.first} of the receipts log is held here",
                fix="ask a node that keeps everything (ledger.archive = true)",
            )
        return Digest(bytes(self._levels[level][at : at + ID_BYTES]))


def _places(size: int) -> list[tuple[int, int]]:
    """Level and place of each peak of a size."""
    levels = range(size.bit_length() - 1, -1, -1)
    return [(level, (size >> level) - 1) for level in levels if size >> level & 1]


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)
