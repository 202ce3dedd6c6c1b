"""Waiting transactions: first come first served, within limits."""

import msgspec
import pytest

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.ledger import mempool
from dpin.ledger.genesis import chain_id
from dpin.ledger.mempool import Mempool
from dpin.ledger.transactions import SignedTransaction
from tests.support.cluster import network, transfer

GENESIS, KEYS = network(4)
CHAIN = chain_id(GENESIS)


def made(count: int, key: SigningKey = KEYS[0]) -> list[bytes]:
    return [transfer(key, CHAIN, number + 1) for number in range(count)]


def reason(pool: Mempool, transaction: bytes) -> str | None:
    return pool.add(transaction)[1]


def test_transactions_leave_in_the_order_of_their_arrival() -> None:
    pool = Mempool(lambda _: None)
    transactions = made(5)
    assert [reason(pool, one) for one in transactions] == [None] * 5
    assert pool.take(3, 10_000) == tuple(transactions[:3])
    assert pool.take(3, 10_000) == tuple(transactions[3:])
    assert pool.take(3, 10_000) == ()
    assert len(pool) == 5  # until they are committed


def test_a_payload_keeps_to_its_bytes() -> None:
    pool = Mempool(lambda _: None)
    transactions = made(4)
    for one in transactions:
        pool.add(one)
    room = len(transactions[0]) + len(transactions[1])
    assert pool.take(10, room) == tuple(transactions[:2])
    assert pool.take(10, room - 1) == (transactions[2],)
    assert pool.queued == 1


def test_the_same_transaction_is_taken_once_even_with_another_signature() -> None:
    pool = Mempool(lambda _: None)
    [transaction] = made(1)
    signed = decode(SignedTransaction, transaction)
    twin = encode(msgspec.structs.replace(signed, signature=bytes(64)))
    assert reason(pool, transaction) is None
    assert reason(pool, transaction) == mempool.DUPLICATE
    assert reason(pool, twin) == mempool.DUPLICATE
    pool.take(1, 10_000)
    assert reason(pool, transaction) == mempool.DUPLICATE


def test_one_sender_may_have_only_so_many_waiting() -> None:
    pool = Mempool(lambda _: None)
    *taken, last = made(mempool.ACCOUNT_MAX + 1)
    assert {reason(pool, one) for one in taken} == {None}
    assert reason(pool, last) == mempool.ACCOUNT_FULL
    assert reason(pool, made(1, KEYS[1])[0]) is None
    pool.committed(taken[:1])
    assert reason(pool, last) is None


def test_a_full_mempool_refuses_and_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "TRANSACTIONS_MAX", 2)
    pool = Mempool(lambda _: None)
    first, second, third = made(3)
    assert [reason(pool, one) for one in (first, second, third)] == [None, None, mempool.FULL]
    assert pool.take(10, 10_000) == (first, second)


def test_bytes_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = made(2)
    monkeypatch.setattr(mempool, "BYTES_MAX", len(first) + len(second) - 1)
    pool = Mempool(lambda _: None)
    assert [reason(pool, first), reason(pool, second)] == [None, mempool.FULL]
    pool.committed([first])
    assert reason(pool, second) is None


def test_what_the_state_refuses_is_refused_with_its_reason() -> None:
    pool = Mempool(lambda _: "sequence-used")
    assert reason(pool, made(1)[0]) == "sequence-used"
    assert len(pool) == 0


@pytest.mark.parametrize("data", [b"", b"junk", bytes(5_000)])
def test_what_is_no_transaction_is_refused(data: bytes) -> None:
    pool = Mempool(lambda _: None)
    identity, why = pool.add(data)
    assert why == mempool.MALFORMED
    assert len(identity) == 32


def test_committed_transactions_leave_whether_proposed_or_not() -> None:
    pool = Mempool(lambda _: None)
    transactions = made(3)
    for one in transactions:
        pool.add(one)
    pool.take(1, 10_000)
    pool.committed([transactions[0], transactions[1], b"unknown"])
    assert (len(pool), pool.queued) == (1, 1)
    assert pool.take(10, 10_000) == (transactions[2],)


def test_a_fallen_blocks_transactions_wait_again_unless_committed() -> None:
    used: set[bytes] = set()
    pool = Mempool(lambda one: "used" if one in used else None)
    first, second, from_before = made(3)
    pool.add(first)
    pool.add(second)
    body = pool.take(10, 10_000)
    pool.committed([first])
    used.add(first)
    pool.put_back([*body, from_before])
    assert pool.take(10, 10_000) == (second, from_before)
