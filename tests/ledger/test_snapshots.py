"""A state on disk: what is read again is what was written, in records of bounded size."""

from itertools import count, islice

import pytest

from dpin.base.codec import decode, encode
from dpin.base.crypto import digest
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, NodeId, Round
from dpin.base.logtree import LogTree
from dpin.ledger.accounts import Account
from dpin.ledger.book import Kind, Part
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.execute import birth
from dpin.ledger.frozen import PAGE_BYTES, Frozen
from dpin.ledger.order import Receipt
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.roots import StateRoot, few_of, key_of
from dpin.ledger.snapshots import LEAVES_KEPT, BucketPiece, Head, LeavesPiece, Piece, Reader, pieces
from dpin.ledger.transactions import Register
from tests.ledger.test_parts import busy
from tests.support.ledgers import Ledger
from tests.support.twins import bucket_of, restored

RECORD_MAX = 1 << 20


def read(records: list[bytes]) -> Reader:
    reader = Reader()
    for record in records:
        assert not reader.done
        assert len(record) < RECORD_MAX
        reader.take(record)
    return reader


def test_what_is_read_again_is_what_was_written() -> None:
    ledger = busy()
    log, frozen = ledger.executor.receipts, ledger.executor.frozen.states[-1]
    reader = read(list(pieces(frozen, log)))
    assert reader.done
    found = reader.restored()
    assert found.checkpoint == frozen.checkpoint
    assert found.state == ledger.state
    assert list(found.receipts) == list(log)
    assert (found.receipts.root, found.receipts.tree.first) == (log.root, 0)


def large() -> Frozen:
    """A state with much in bucket 7."""
    state = birth(Ledger("ann").genesis)
    names = (NodeId(digest("test/large", number.to_bytes(4))) for number in count())
    parts: list[Part] = [(Kind.ACCOUNT, node, 0) for node in state.accounts]
    for node in islice((one for one in names if key_of((Kind.ACCOUNT, one, 0))[0] == 7), 200):
        said = Register("x" * 4_000, "", 0, NO_DIGEST, False, NO_DIGEST, Round(0))
        state.accounts[node] = Account(registration=said)
        parts.append((Kind.ACCOUNT, node, 0))
    root = StateRoot()
    digest_ = root.update(state, [*parts, *few_of(state)])
    checkpoint = Checkpoint(1, 0, 0, NO_DIGEST, digest_, 0, NO_DIGEST, NO_DIGEST, NO_DIGEST)
    return Frozen(state, checkpoint, root, LogTree())


def test_a_large_bucket_comes_in_pages() -> None:
    frozen = large()
    page, then = frozen.page(7, 0)
    assert then == len(page) < 200
    assert PAGE_BYTES <= sum(len(entry.value + entry.id) for entry in page) < PAGE_BYTES + 5_000
    assert len(bucket_of(frozen, 7)) >= 200
    assert restored(frozen).root.digest == frozen.checkpoint.state_root
    records = list(pieces(frozen, ReceiptLog()))
    assert len(records) > 256 + 4
    assert read(records).restored().root.digest == frozen.checkpoint.state_root


def test_only_the_newest_receipts_are_kept() -> None:
    log = ReceiptLog()
    for number in range(LEAVES_KEPT + 1_000):
        log.append(Receipt(number, NO_DIGEST, 0, "ok"))
    state, root = birth(Ledger("ann").genesis), StateRoot()
    parts: list[Part] = [(Kind.ACCOUNT, node, 0) for node in state.accounts]
    found_root = root.update(state, [*parts, *few_of(state)])
    checkpoint = Checkpoint(1, 0, 0, NO_DIGEST, found_root, 0, NO_DIGEST, NO_DIGEST, NO_DIGEST)
    frozen = Frozen(state, checkpoint, root, log.tree)
    found = read(list(pieces(frozen, log))).restored().receipts
    assert found.tree.first == 1_000
    assert found.root == log.root
    assert len(list(found)) == LEAVES_KEPT


def test_records_in_another_order_are_refused() -> None:
    ledger = busy()
    records = list(pieces(ledger.executor.frozen.states[-1], ledger.executor.receipts))
    with pytest.raises(PeerFault, match="begins with its head"):
        Reader().take(records[1])
    with pytest.raises(PeerFault, match="each bucket once"):
        read([*records[:2], records[1]])
    found: list[Piece] = [decode(Piece, record) for record in records]
    kinds = [type(piece) for piece in found]
    assert kinds == [Head, *(len(kinds) - 2) * [BucketPiece], LeavesPiece]
    assert not read(records[:-1]).done


def test_a_record_that_was_changed_is_refused() -> None:
    ledger = busy()
    records = list(pieces(ledger.executor.frozen.states[-1], ledger.executor.receipts))
    pieces_: list[Piece] = [decode(Piece, record) for record in records]
    at, piece = next(
        (at, one) for at, one in enumerate(pieces_) if isinstance(one, BucketPiece) and one.entries
    )
    less = BucketPiece(piece.bucket, piece.entries[1:], piece.last)
    with pytest.raises(PeerFault, match="is not what was certified"):
        read([*records[:at], encode(less)])
