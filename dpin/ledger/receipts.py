"""The log of everything that became of transactions and units: one RFC 6962 tree over receipts.

A checkpoint is a leaf, too: the last one at the time it is made. It has another shape than a
receipt, so that no leaf is both.
"""

from collections.abc import Iterator, Sequence

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.ids import Digest
from dpin.base.logtree import LogTree
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.order import Receipt

Leaf = Receipt | Checkpoint


class ReceiptLog:
    """All receipts and checkpoints since genesis, in order."""

    def __init__(self) -> None:
        self._leaves: list[Leaf] = []
        self.tree = LogTree()  # proofs at any size, and from one to another
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
        self.tree.append(merkle.leaf_hash(encode(leaf)))
        return index

    def of(self, subject: Digest) -> Sequence[int]:
        """Where the receipts of a transaction or of a unit stand, oldest first."""
        return self._by_subject.get(subject, ())

    @property
    def root(self) -> Digest:
        """The root over all leaves."""
        return self.tree.root()

    def prove(self, index: int, size: int | None = None) -> tuple[Digest, ...]:
        """The inclusion path of a leaf in the log as it is now, or was at a size."""
        return self.tree.inclusion(index, size)


def proven(leaf: Leaf, place: tuple[int, int], path: Sequence[Digest], root: Digest) -> bool:
    """Whether the leaf stands at place (index, size) of the log with that root."""
    index, size = place
    return merkle.root_from_inclusion(merkle.leaf_hash(encode(leaf)), index, size, path) == root
