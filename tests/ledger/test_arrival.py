"""A node that is epochs behind, and what becomes of its questions."""

from typing import cast

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.machine import Send
from dpin.base.units import Instant, after
from dpin.ledger.arrival import ANSWER_PATIENCE, ASK_AGAIN, Arrival
from dpin.ledger.engine import Engine
from dpin.ledger.identity import Identity
from dpin.ledger.keeper import Keeper
from dpin.ledger.messages import AskHandover
from tests.support.cluster import START, FakeExecutor, key, network

ONE, OTHER = NodeId(bytes([1]) * 32), NodeId(bytes([2]) * 32)


def behind(*peers: NodeId) -> Arrival:
    """A node in epoch 0, whose peers are in epoch 5."""
    engine = Engine(network(4)[0], Identity(key(99)), FakeExecutor())
    engine.keeper = cast("Keeper", object())  # It keeps states; none is read here.
    arrival = Arrival(engine)
    for peer in peers:
        arrival.heard(peer, 5)
    return arrival


def asked(arrival: Arrival, now: Instant) -> list[NodeId]:
    """Who is asked now how epoch 0 ended."""
    effects, progress = arrival.go(now)
    assert progress is None
    sends = [one for one in effects if isinstance(one, Send)]
    assert all(one.payload == encode(AskHandover(0)) for one in sends)
    return [one.peer for one in sends]


def test_a_question_that_nobody_answers_is_asked_again_after_a_while() -> None:
    arrival = behind(ONE, OTHER)
    now = START
    assert asked(arrival, now) == [ONE]
    now = after(now, ASK_AGAIN)
    assert asked(arrival, now) == [OTHER]
    assert asked(arrival, after(now, ASK_AGAIN)) == []
    assert arrival.next_at == after(now, ANSWER_PATIENCE)
    assert asked(arrival, arrival.next_at) == [ONE]


def test_a_peer_whose_connection_went_with_the_question_is_asked_when_it_is_back() -> None:
    arrival = behind(ONE)
    assert asked(arrival, START) == [ONE]
    arrival.left(ONE)
    arrival.heard(ONE, 5)
    assert asked(arrival, after(START, ASK_AGAIN)) == [ONE]
