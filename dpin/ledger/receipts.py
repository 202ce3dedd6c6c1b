"""The log of everything that became of transactions and units: one RFC 6962 tree over receipts.

Hashes of whole subtrees are kept, so a proof costs a walk down the tree and not a new hash of it.
"""

from collections.abc import Sequence

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.ids import Digest
from dpin.ledger.order import Receipt


class ReceiptLog:
    """All receipts since genesis, in order."""

    def __init__(self) -> None:
        self._receipts: list[Receipt] = []
        self._levels: list[list[Digest]] = [[]]  # level k: roots over 2^k leaves, side by side
        self._by_subject: dict[Digest, list[int]] = {}

    def __len__(self) -> int:
        return len(self._receipts)

    def __getitem__(self, index: int) -> Receipt:
        return self._receipts[index]

    def append(self, receipt: Receipt) -> int:
        """Add a receipt; returns its index."""
        index = len(self._receipts)
        self._receipts.append(receipt)
        self._by_subject.setdefault(receipt.subject, []).append(index)
        node, level = merkle.leaf_hash(encode(receipt)), 0
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
        """The root over all receipts."""
        return self._root(0, len(self)) if self._receipts else merkle.EMPTY_ROOT

    def prove(self, index: int) -> tuple[Digest, ...]:
        """The inclusion path of a receipt in the log as it is now."""
        assert 0 <= index < len(self), "there is no such receipt"
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


def proven(receipt: Receipt, place: tuple[int, int], path: Sequence[Digest], root: Digest) -> bool:
    """Whether the receipt stands at place (index, size) of the log with that root."""
    index, size = place
    leaf = merkle.leaf_hash(encode(receipt))
    return merkle.root_from_inclusion(leaf, index, size, path) == root
