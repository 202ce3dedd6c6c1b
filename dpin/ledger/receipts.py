"""The log of everything that became of transactions and units: one RFC 6962 tree over receipts.

A checkpoint is a leaf, too: the last one at the time it is made. It has another shape than a
receipt, so that no leaf is both.

A node that joined late, or that keeps no archive, has the newest leaves only; of those before it
knows what it takes to prove the newest.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from dpin.base import merkle
from dpin.base.codec import decode, encode
from dpin.base.errors import NotFound
from dpin.base.ids import Digest
from dpin.base.logtree import LogTree
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.order import Receipt

Leaf = Receipt | Checkpoint
_ARRAY: Final = 0x90  # of MessagePack: an array of as many fields as the lower bits say


class ReceiptLog:
    """All receipts and checkpoints since genesis, in order, or the newest of them.

    The leaves that are held begin with `tree.first`. A log may begin with a tree whose leaves are
    all forgotten.
    """

    def __init__(self, tree: LogTree | None = None) -> None:
        self.tree = LogTree() if tree is None else tree  # proofs at any size, and between sizes
        self._leaves: list[Leaf] = []
        self._by_subject: dict[Digest, list[int]] = {}

    def __len__(self) -> int:
        return len(self.tree)

    def __getitem__(self, index: int) -> Leaf:
        if index < self.tree.first:
            raise NotFound(
                f"leaf {index} of the receipts log is not held here, only those from "
                f"{self.tree.first} on",
                fix="ask a node that keeps everything (ledger.archive = true)",
            )
        return self._leaves[index - self.tree.first]

    def __iter__(self) -> Iterator[Leaf]:
        """All leaves that are held."""
        return iter(self._leaves)

    def receipt(self, index: int) -> Receipt:
        """A leaf that is a receipt, as those that `of` finds are."""
        leaf = self[index]
        assert isinstance(leaf, Receipt), "this leaf is a checkpoint"
        return leaf

    def append(self, *leaves: Leaf) -> int:
        """Add leaves, in this order; returns the index of the first."""
        index = len(self)
        self._leaves += leaves
        for place, leaf in enumerate(leaves, start=index):
            if isinstance(leaf, Receipt):
                self._by_subject.setdefault(leaf.subject, []).append(place)
        self.tree.extend(merkle.leaf_hashes([encode(leaf) for leaf in leaves]))
        return index

    def of(self, subject: Digest) -> Sequence[int]:
        """Where the receipts of a transaction or of a unit stand that are held, oldest first."""
        return self._by_subject.get(subject, ())

    @property
    def root(self) -> Digest:
        """The root over all leaves."""
        return self.tree.root()

    def prove(self, index: int, size: int | None = None) -> tuple[Digest, ...]:
        """The inclusion path of a leaf in the log as it is now, or was at a size."""
        assert index >= self.tree.first, "only what is held is proven"
        return self.tree.inclusion(index, size)

    def forget(self, first: int) -> None:
        """Hold the leaves from this one on alone."""
        if first <= self.tree.first:
            return
        for leaf in self._leaves[: first - self.tree.first]:
            if isinstance(leaf, Receipt):
                places = self._by_subject[leaf.subject]
                places.pop(0)
                if not places:
                    del self._by_subject[leaf.subject]
        del self._leaves[: first - self.tree.first]
        self.tree.forget(first)


def read_leaf(data: bytes) -> Leaf:
    """A leaf from its bytes; raises PeerFault. Its number of fields says what it is."""
    fields = len(Receipt.__struct_fields__)
    if data[:1] == bytes([_ARRAY | fields]):
        return decode(Receipt, data)
    return decode(Checkpoint, data)


def proven(leaf: Leaf, place: tuple[int, int], path: Sequence[Digest], root: Digest) -> bool:
    """Whether the leaf stands at place (index, size) of the log with that root."""
    index, size = place
    return merkle.root_from_inclusion(merkle.leaf_hash(encode(leaf)), index, size, path) == root
