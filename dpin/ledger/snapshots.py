"""A node's state on its disk, as an epoch ended with it: records that its log begins with.

A new segment of the log begins with such records, so that older segments are needed no more. They
are the frozen state bucket by bucket, and the newest receipts; all else about receipts is in the
peaks of their tree.
"""

from collections.abc import Iterator
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest
from dpin.base.logtree import LogTree
from dpin.ledger.assembly import Assembly, Restored
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.frozen import PAGE_BYTES, Entry, Frozen
from dpin.ledger.receipts import ReceiptLog, read_leaf
from dpin.ledger.statetree import BUCKETS

LEAVES_KEPT: Final = 65_536  # of the receipts log: what is older is in archives only


class Head(Wire, frozen=True, tag=1):
    """Which state it is. `peaks` are of the receipts log before leaf `first`."""

    checkpoint: Checkpoint
    hashes: tuple[Digest, ...]
    first: int
    peaks: tuple[Digest, ...]
    size: int  # of the receipts log


class BucketPiece(Wire, frozen=True, tag=2):
    """Some of a bucket's parts; with `last`, there are no more."""

    bucket: int
    entries: tuple[Entry, ...]
    last: bool


class LeavesPiece(Wire, frozen=True, tag=3):
    """Some of the leaves from `first` on, in order."""

    leaves: tuple[bytes, ...]


Piece = Head | BucketPiece | LeavesPiece


def leaves_from(log: ReceiptLog, size: int) -> int:
    """The first of the leaves that are kept when the log has that size."""
    return max(log.tree.first, size - LEAVES_KEPT)


def pieces(frozen: Frozen, log: ReceiptLog) -> Iterator[bytes]:
    """The records of a frozen state, in order, each well below a record's limit."""
    first = leaves_from(log, frozen.size)
    head = Head(frozen.checkpoint, frozen.hashes, first, log.tree.peaks(first), frozen.size)
    return _pieces(head, frozen, log)


def _pieces(head: Head, frozen: Frozen, log: ReceiptLog) -> Iterator[bytes]:
    yield encode(head)
    for bucket in range(BUCKETS):
        start: int | None = 0
        while start is not None:
            entries, start = frozen.page(bucket, start)
            yield encode(BucketPiece(bucket, entries, start is None))
    page: list[bytes] = []
    size = 0
    for index in range(head.first, frozen.size):
        page.append(encode(log[index]))
        size += len(page[-1])
        if size >= PAGE_BYTES:
            yield encode(LeavesPiece(tuple(page)))
            page, size = [], 0
    if page:
        yield encode(LeavesPiece(tuple(page)))


class Reader:
    """Takes the records again, in order; raises PeerFault for others."""

    def __init__(self) -> None:
        self._head: Head | None = None
        self._entries: list[Entry] = []  # of the bucket that is not whole yet

    @property
    def done(self) -> bool:
        """Whether all are there."""
        if self._head is None:
            return False
        return not self._assembly.missing and len(self._log) == self._head.size

    def take(self, record: bytes) -> None:
        """The next record."""
        piece: Piece = decode(Piece, record)
        if isinstance(piece, Head):
            self._begin(piece)
        elif self._head is None:
            raise PeerFault("a snapshot begins with its head")
        elif isinstance(piece, BucketPiece):
            self._entries += piece.entries
            if piece.last:
                if piece.bucket not in self._assembly.missing:
                    raise PeerFault("a snapshot has each bucket once")
                self._assembly.take(piece.bucket, self._entries)
                self._entries = []
        else:
            for leaf in piece.leaves:
                self._log.append(read_leaf(leaf))

    def _begin(self, head: Head) -> None:
        self._head = head
        self._assembly = Assembly(head.checkpoint, head.hashes)
        if len(head.peaks) != head.first.bit_count():
            raise PeerFault("the peaks of a log go with its size")
        self._log = ReceiptLog(LogTree(head.first, head.peaks))

    def restored(self) -> Restored:
        """The state, when all is there."""
        assert self.done, "only what is done is restored"
        return self._assembly.finish(self._log)
