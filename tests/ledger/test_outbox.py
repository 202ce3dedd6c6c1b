"""A node that makes no blocks gets its transactions onto the ledger through one that does."""

import pytest

from dpin.base.ids import NodeId
from dpin.base.machine import Send
from dpin.base.units import Instant, after, seconds
from dpin.ledger import outbox
from dpin.ledger.genesis import chain_id
from dpin.ledger.mempool import DUPLICATE, FULL, MALFORMED
from dpin.ledger.messages import SubmitTransaction, read_message
from dpin.ledger.outbox import ATTEMPTS_MAX, UNTAKEN, GivenUp, Outbox
from tests.support.cluster import START, network, transfer

GENESIS, KEYS = network(4)
MEMBERS = [key.node_id for key in KEYS]
FIRST, SECOND, THIRD = (transfer(KEYS[0], chain_id(GENESIS), number) for number in (1, 2, 3))


def targets(box: Outbox, now: Instant) -> list[NodeId]:
    sends = [one for one in box.step(MEMBERS, now) if isinstance(one, Send)]
    assert all(isinstance(read_message(one.payload), SubmitTransaction) for one in sends)
    return [one.peer for one in sends]


def test_each_member_in_turn_has_two_seconds() -> None:
    box = Outbox(lambda _: None)
    assert box.add(FIRST, START) is None
    turns = [targets(box, after(START, seconds(wait))) for wait in (0, 1, 2, 3, 4, 6)]
    assert [len(turn) for turn in turns] == [1, 0, 1, 0, 1, 1]
    assert len({turn[0] for turn in turns if turn}) == 4
    box.committed([FIRST])
    assert targets(box, after(START, seconds(60))) == []


def test_nothing_is_tried_while_nobody_can_be_reached() -> None:
    box = Outbox(lambda _: None)
    box.add(FIRST, START)
    assert box.step([], START) == []
    assert len(targets(box, after(START, seconds(2)))) == 1


def test_a_transaction_is_given_up_after_enough_attempts() -> None:
    box = Outbox(lambda _: None)
    box.add(FIRST, START)
    now = START
    for _ in range(ATTEMPTS_MAX):
        assert len(targets(box, now)) == 1
        now = after(now, seconds(2))
    [given_up] = box.step(MEMBERS, now)
    assert isinstance(given_up, GivenUp)
    assert given_up.reason == UNTAKEN
    assert box.step(MEMBERS, after(now, seconds(2))) == []


def test_what_the_state_no_longer_takes_is_given_up() -> None:
    refused: set[bytes] = set()
    box = Outbox(lambda one: "sequence-used" if one in refused else None)
    box.add(FIRST, START)
    refused.add(FIRST)
    [given_up] = box.step(MEMBERS, START)
    assert isinstance(given_up, GivenUp)
    assert given_up.reason == "sequence-used"


def test_a_full_outbox_refuses_and_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "OUTBOX_MAX", 2)
    box = Outbox(lambda _: None)
    results = [box.add(one, START) for one in (FIRST, FIRST, SECOND, THIRD, b"junk")]
    reasons = [one.reason if one else None for one in results]
    assert reasons == [None, DUPLICATE, None, FULL, MALFORMED]
    assert len(targets(box, START)) == 2
