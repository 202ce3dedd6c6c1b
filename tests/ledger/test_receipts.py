"""The log of receipts: every one can be proven, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base import merkle
from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.errors import NotFound
from dpin.base.logtree import LogTree
from dpin.ledger.order import Receipt
from dpin.ledger.receipts import ReceiptLog, proven
from dpin.light.trees import is_prefix
from tests.support.ledgers import Ledger, registration


def receipt(number: int) -> Receipt:
    return Receipt(number, digest("test/subject", encode(number % 5)), 0, "ok")


@pytest.mark.parametrize("size", [*range(1, 34), 64, 65, 100])
def test_root_and_paths_are_those_of_the_plain_tree(size: int) -> None:
    log, leaves = ReceiptLog(), []
    for number in range(size):
        assert log.append(receipt(number)) == number
        leaves.append(merkle.leaf_hash(encode(receipt(number))))
    assert log.root == merkle.root(leaves)
    for index in range(size):
        path = log.prove(index)
        assert list(path) == merkle.inclusion_proof(leaves, index)
        assert proven(log[index], (index, size), path, log.root)


@given(st.integers(1, 60), st.data())
def test_a_proof_holds_for_one_receipt_at_one_place_only(size: int, data: st.DataObject) -> None:
    log = ReceiptLog()
    for number in range(size):
        log.append(receipt(number))
    index, other = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    path = log.prove(index)
    assert proven(log[other], (index, size), path, log.root) == (index == other)
    assert proven(log[index], (other, size), path, log.root) == (index == other)
    assert not proven(log[index], (index, size), (*path, log.root), log.root)


def test_an_empty_log_has_the_root_of_nothing() -> None:
    assert ReceiptLog().root == merkle.EMPTY_ROOT
    assert not ReceiptLog().of(digest("test/subject", b""))


def test_receipts_are_found_by_their_subject() -> None:
    log = ReceiptLog()
    for number in range(12):
        log.append(receipt(number))
    assert list(log.of(receipt(3).subject)) == [3, 8]


def test_every_transaction_of_a_ledger_can_be_proven() -> None:
    ledger = Ledger("ann", "bob", "cat", "dan")
    for name in ledger.keys:
        ledger.do(name, registration())
    log = ledger.executor.receipts
    assert len(log) == 4
    for applied in ledger.applied:
        for one in applied.receipts:
            [index] = log.of(one.subject)
            assert proven(one, (index, len(log)), log.prove(index), log.root)


@given(st.integers(2, 60), st.data())
def test_a_log_is_proven_as_it_was_at_an_earlier_size(size: int, data: st.DataObject) -> None:
    log = ReceiptLog()
    for number in range(size):
        log.append(receipt(number))
    then = data.draw(st.integers(1, size))
    index, root = data.draw(st.integers(0, then - 1)), log.tree.root(then)
    assert proven(log[index], (index, then), log.prove(index, then), root)
    assert is_prefix((then, root), (size, log.root), log.tree.consistency(then))


@given(st.integers(1, 30), st.integers(0, 30), st.data())
def test_a_log_that_has_forgotten_proves_what_it_holds(
    size: int, more: int, data: st.DataObject
) -> None:
    whole, log = ReceiptLog(), ReceiptLog()
    first = data.draw(st.integers(0, size))
    for number in range(size + more):
        whole.append(receipt(number))
    for number in range(size):
        log.append(receipt(number))
    log.forget(first)
    joined = ReceiptLog(LogTree(first, whole.tree.peaks(first)))
    for number in range(size, size + more):
        log.append(receipt(number))
    for number in range(first, size + more):
        assert joined.append(receipt(number)) == number
    for one in (log, joined):
        assert (len(one), one.root, one.tree.first) == (len(whole), whole.root, first)
        assert list(one) == list(whole)[first:]
        for index in range(first, len(one)):
            path = one.prove(index)
            assert proven(one[index], (index, len(one)), path, whole.root)
            assert index in one.of(receipt(index).subject)
            assert all(at >= first for at in one.of(receipt(index).subject))
        for index in range(first):
            with pytest.raises(NotFound, match="is not held here"):
                one.receipt(index)
