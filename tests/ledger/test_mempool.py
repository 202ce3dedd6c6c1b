"""Waiting transactions: first come first served, within limits."""

import msgspec
import pytest

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey
from dpin.base.units import MicroTokens
from dpin.ledger import mempool
from dpin.ledger.genesis import chain_id
from dpin.ledger.mempool import Check, Dropped, Mempool
from dpin.ledger.transactions import SignedTransaction, Terms, Transfer, sign
from tests.support.cluster import network, transfer

GENESIS, KEYS = network(4)
CHAIN = chain_id(GENESIS)


def pool_of(check: Check = lambda _: None, funds: int = 0) -> Mempool:
    """A pool where every account has so much free."""
    return Mempool(check, lambda _: MicroTokens(funds))


def offer(max_fee: int, sequence: int, key: SigningKey = KEYS[0], until: int = 2) -> bytes:
    """A transfer that pays at most so much; all are of one size."""
    operation = Transfer(key.node_id, MicroTokens(1), b"")
    terms = Terms(until, MicroTokens(max_fee))
    return encode(sign(key, CHAIN, sequence, operation, terms))


def made(count: int, key: SigningKey = KEYS[0]) -> list[bytes]:
    return [transfer(key, CHAIN, number + 1) for number in range(count)]


def reason(pool: Mempool, transaction: bytes) -> str | None:
    return pool.add(transaction)[1]


def test_transactions_leave_in_the_order_of_their_arrival() -> None:
    pool = pool_of()
    transactions = made(5)
    assert [reason(pool, one) for one in transactions] == [None] * 5
    assert pool.take(3, 10_000) == tuple(transactions[:3])
    assert pool.take(3, 10_000) == tuple(transactions[3:])
    assert pool.take(3, 10_000) == ()
    assert len(pool) == 5  # until they are committed


def test_a_payload_keeps_to_its_bytes() -> None:
    pool = pool_of()
    transactions = made(4)
    for one in transactions:
        pool.add(one)
    room = len(transactions[0]) + len(transactions[1])
    assert pool.take(10, room) == tuple(transactions[:2])
    assert pool.take(10, room - 1) == (transactions[2],)
    assert pool.queued == 1


def test_the_same_transaction_is_taken_once_even_with_another_signature() -> None:
    pool = pool_of()
    [transaction] = made(1)
    signed = decode(SignedTransaction, transaction)
    twin = encode(msgspec.structs.replace(signed, signature=bytes(64)))
    assert reason(pool, transaction) is None
    assert reason(pool, transaction) == mempool.DUPLICATE
    assert reason(pool, twin) == mempool.DUPLICATE
    pool.take(1, 10_000)
    assert reason(pool, transaction) == mempool.DUPLICATE


def test_one_sender_may_have_only_so_many_waiting() -> None:
    pool = pool_of()
    *taken, last = made(mempool.ACCOUNT_MAX + 1)
    assert {reason(pool, one) for one in taken} == {None}
    assert reason(pool, last) == mempool.ACCOUNT_FULL
    assert reason(pool, made(1, KEYS[1])[0]) is None
    pool.committed(taken[:1])
    assert reason(pool, last) is None


def test_a_full_mempool_refuses_and_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "TRANSACTIONS_MAX", 2)
    pool = pool_of()
    first, second, third = made(3)
    assert [reason(pool, one) for one in (first, second, third)] == [None, None, mempool.FULL]
    assert pool.take(10, 10_000) == (first, second)


def test_bytes_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = made(2)
    monkeypatch.setattr(mempool, "BYTES_MAX", len(first) + len(second) - 1)
    pool = pool_of()
    assert [reason(pool, first), reason(pool, second)] == [None, mempool.FULL]
    pool.committed([first])
    assert reason(pool, second) is None


def test_what_the_state_refuses_is_refused_with_its_reason() -> None:
    pool = pool_of(lambda _: "sequence-used")
    assert reason(pool, made(1)[0]) == "sequence-used"
    assert len(pool) == 0


@pytest.mark.parametrize("data", [b"", b"junk", bytes(5_000)])
def test_what_is_no_transaction_is_refused(data: bytes) -> None:
    pool = pool_of()
    identity, why = pool.add(data)
    assert why == mempool.MALFORMED
    assert len(identity) == 32


def test_committed_transactions_leave_whether_proposed_or_not() -> None:
    pool = pool_of()
    transactions = made(3)
    for one in transactions:
        pool.add(one)
    pool.take(1, 10_000)
    pool.committed([transactions[0], transactions[1], b"unknown"])
    assert (len(pool), pool.queued) == (1, 1)
    assert pool.take(10, 10_000) == (transactions[2],)


def test_a_fallen_blocks_transactions_wait_again_unless_committed() -> None:
    used: set[bytes] = set()
    pool = pool_of(lambda one: "used" if one in used else None)
    first, second, from_before = made(3)
    pool.add(first)
    pool.add(second)
    body = pool.take(10, 10_000)
    pool.committed([first])
    used.add(first)
    pool.put_back([*body, from_before])
    assert pool.take(10, 10_000) == (second, from_before)


def test_a_full_mempool_lets_the_lowest_offer_go_for_a_higher_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mempool, "TRANSACTIONS_MAX", 3)
    pool = pool_of(funds=10_000)
    low, high, middle = offer(300, 1), offer(500, 2), offer(400, 3)
    for one in (low, high, middle):
        assert reason(pool, one) is None
    assert reason(pool, offer(300, 4)) == mempool.FULL  # as much is not more
    better = offer(301, 5)
    assert reason(pool, better) is None
    assert pool.dropped() == [Dropped(mempool.identify(low).id, mempool.FULL)]
    assert pool.dropped() == []
    assert pool.take(10, 10_000) == (high, middle, better)


def test_among_equal_offers_the_newest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "TRANSACTIONS_MAX", 2)
    pool = pool_of(funds=10_000)
    older, newer, better = offer(300, 1), offer(300, 2), offer(400, 3)
    for one in (older, newer, better):
        pool.add(one)
    assert pool.take(10, 10_000) == (older, better)


def test_it_is_the_offer_for_a_byte_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "TRANSACTIONS_MAX", 1)
    pool = pool_of(funds=10_000)
    small = offer(300, 1)
    large = Transfer(KEYS[0].node_id, MicroTokens(1), bytes(64))
    pool.add(small)
    more = encode(sign(KEYS[0], CHAIN, 2, large, Terms(2, MicroTokens(310))))
    assert len(more) > len(small)
    assert reason(pool, more) == mempool.FULL


def test_bytes_make_as_many_go_as_must_and_none_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    low, middle, high = offer(300, 1), offer(400, 2), offer(500, 3)
    monkeypatch.setattr(mempool, "BYTES_MAX", 2 * len(low))
    pool = pool_of(funds=10_000)
    pool.add(low)
    pool.add(middle)
    large = Transfer(KEYS[0].node_id, MicroTokens(1), bytes(64))
    greedy = encode(sign(KEYS[0], CHAIN, 4, large, Terms(2, MicroTokens(500))))
    assert reason(pool, greedy) == mempool.FULL  # it would outbid one, and needs the room of two
    assert pool.queued == 2
    assert reason(pool, high) is None
    assert pool.take(10, 10_000) == (middle, high)


def test_what_is_in_a_block_makes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "TRANSACTIONS_MAX", 1)
    pool = pool_of(funds=10_000)
    pool.add(offer(300, 1))
    assert pool.take(1, 10_000) != ()
    assert reason(pool, offer(900, 2)) == mempool.FULL


def test_what_cannot_be_applied_drives_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "TRANSACTIONS_MAX", 1)
    forged = offer(900, 2)
    pool = pool_of(lambda one: "wrong-signature" if one == forged else None, 10_000)
    pool.add(offer(300, 1))
    assert reason(pool, forged) == "wrong-signature"
    assert (pool.queued, pool.dropped()) == (1, [])


def test_an_account_covers_the_sum_of_what_it_offers() -> None:
    pool = pool_of(funds=1_000)
    first, second, third = offer(600, 1), offer(401, 2), offer(400, 3)
    answers = [reason(pool, one) for one in (first, second, third)]
    assert answers == [None, mempool.UNCOVERED, None]
    assert reason(pool, offer(1_000, 1, KEYS[1])) is None
    pool.take(10, 10_000)
    assert reason(pool, second) == mempool.UNCOVERED  # in a block is not yet paid
    pool.committed([first])
    assert reason(pool, second) is None


def test_what_is_valid_no_longer_is_dropped_as_the_epoch_begins() -> None:
    pool = pool_of(funds=10_000)
    early, proposed, late = offer(1, 1, until=2), offer(1, 2, until=2), offer(1, 3, until=3)
    pool.add(proposed)
    pool.take(1, 10_000)
    pool.add(early)
    pool.add(late)
    pool.expire(2)
    assert pool.queued == 2
    pool.expire(3)
    gone = {Dropped(mempool.identify(one).id, mempool.EXPIRED) for one in (early, proposed)}
    assert set(pool.dropped()) == gone
    assert pool.take(10, 10_000) == (late,)
    assert reason(pool, offer(1, 4)) is None  # the account's limit counts them no more


def test_the_list_of_offers_stays_as_short_as_the_queue() -> None:
    pool = pool_of(funds=10**9)
    for number in range(20 * mempool.OFFERS_SPARE):
        one = offer(1, number + 1)
        assert reason(pool, one) is None
        pool.take(1, 10_000)
        pool.committed([one])
    assert len(pool._offers) <= mempool.OFFERS_SPARE + 2


def test_a_fallen_blocks_transactions_can_be_outbid_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "TRANSACTIONS_MAX", 1)
    pool = pool_of(funds=10_000)
    low, high = offer(300, 1), offer(400, 2)
    pool.add(low)
    body = pool.take(1, 10_000)
    assert reason(pool, high) == mempool.FULL  # which forgets that low had ever made an offer
    pool.put_back(body)
    assert reason(pool, high) is None
    assert pool.take(10, 10_000) == (high,)
