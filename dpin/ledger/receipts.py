"""The log of everything that became of transactions and units: one RFC 6962 tree over receipts.

A checkpoint is a leaf, too: the last one at the time it is made. It has another shape than a
receipt, so that no leaf is both.

Hashes of whole subtrees are kept, so a proof costs a walk down the tree and not a new hash of it.
"""

from collections.abc import Iterator, Sequence

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.ids import Digest
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.order import Receipt

Leaf = Receipt | Checkpoint


class ReceiptLog:
    """All receipts and checkpoints since genesis, in order."""

    def __init__(self) -> None:
        self._leaves: list[Leaf] = []
        self._levels: list[list[Digest]] = [[]]  # level k: roots over 2^k leaves, side by side
        self._by_subject: dict[Digest, list[int]] = {}

    def __len__(self) -> int:
        return len(self._leaves)

    def __getitem__(self, index: int) -> Leaf:
        return self._leaves[index]

    def __iter__(self) -> Iterator[Leaf]:
        return iter(self._leaves)

    def receipt(self, index: int) -> Receipt:
        """A leaf that is a receipt, as those that `of` finds are."""
        leaf = self._leaves[index]
        assert isinstance(leaf, Receipt), "this leaf is a checkpoint"
        return leaf

    def append(self, leaf: Leaf) -> int:
        """Add a leaf; returns its index."""
        index = len(self._leaves)
        self._leaves.append(leaf)
        if isinstance(leaf, Receipt):
            self._by_subject.setdefault(leaf.subject, []).append(index)
        node, level = merkle.leaf_hash(encode(leaf)), 0
        self._levels[0].append(node)
        while len(self._levels[level]) % 2 == 0:
            node = merkle.node_hash(self._levels[level][-2], node)
            level += 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(node)
        return index

    def of(self, subject: Digest) -> Sequence[int]:
        """Where the receipts of a transaction or of a unit stand, oldest first."""
        return self._by_subject.get(subject, ())

    @property
    def root(self) -> Digest:
        """The root over all leaves."""
        return self._root(0, len(self)) if self._leaves else merkle.EMPTY_ROOT

    def prove(self, index: int) -> tuple[Digest, ...]:
        """The inclusion path of a leaf in the log as it is now."""
        assert 0 <= index < len(self), "there is no such leaf"
        path: list[Digest] = []
        start, size = 0, len(self)
        while size > 1:
            cut = 1 << ((size - 1).bit_length() - 1)
            if index < start + cut:
                path.append(self._root(start + cut, size - cut))
                size = cut
            else:
                path.append(self._root(start, cut))
                start, size = start + cut, size - cut
        return tuple(reversed(path))

    def _root(self, start: int, size: int) -> Digest:
        """The root over `size` leaves from `start`, a multiple of the power of two above them."""
        if size & (size - 1) == 0:
            return self._levels[size.bit_length() - 1][start // size]
        cut = 1 << ((size - 1).bit_length() - 1)
        return merkle.node_hash(self._root(start, cut), self._root(start + cut, size - cut))


def proven(leaf: Leaf, place: tuple[int, int], path: Sequence[Digest], root: Digest) -> bool:
    """Whether the leaf stands at place (index, size) of the log with that root."""
    index, size = place
    return merkle.root_from_inclusion(merkle.leaf_hash(encode(leaf)), index, size, path) == root
