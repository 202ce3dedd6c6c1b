"""Every question ends exactly once, whatever the network does."""

from hypothesis import given
from hypothesis import strategies as st

from dpin.base.ids import NodeId
from dpin.base.machine import Blame, PeerDown, Received, Send, Tick, Wake
from dpin.base.units import Instant, Micros
from dpin.net.requests import PENDING_MAX, Answer, Ask, Asked, Effect, Event, RequestId, Requests

BOB, EVE = NodeId(b"bob"), NodeId(b"eve")
PATIENCE = Micros(200_000)
FIRST = RequestId(0)


def asked() -> Requests:
    requests = Requests(PATIENCE)
    assert requests.step(Ask(BOB, b"?"), Instant(0)) == [
        Asked(FIRST),
        Send(BOB, bytes(8) + b"?"),
        Wake(Instant(PATIENCE)),
    ]
    return requests


def test_an_answer_ends_its_question_once() -> None:
    requests = asked()
    assert requests.step(Received(BOB, bytes(8) + b"!"), Instant(1)) == [Answer(FIRST, b"!")]
    assert requests.step(Received(BOB, bytes(8) + b"!"), Instant(2)) == []
    assert requests.step(Tick(), Instant(PATIENCE)) == []


def test_an_answer_from_the_wrong_peer_is_blamed_and_ignored() -> None:
    requests = asked()
    assert requests.step(Received(EVE, bytes(8) + b"!"), Instant(1)) == [
        Blame(EVE, "answered a question put to another peer")
    ]
    assert requests.step(Received(BOB, bytes(8) + b"!"), Instant(2)) == [Answer(FIRST, b"!")]


def test_an_answer_too_short_to_name_its_question_is_blamed() -> None:
    assert asked().step(Received(BOB, bytes(7)), Instant(1)) == [
        Blame(BOB, "sent an answer without a request id")
    ]


def test_an_early_or_repeated_tick_is_harmless() -> None:
    requests = asked()
    assert requests.step(Tick(), Instant(1)) == [Wake(Instant(PATIENCE))]
    assert requests.step(Tick(), Instant(PATIENCE)) == [Answer(FIRST, None)]
    assert requests.step(Tick(), Instant(PATIENCE)) == []


def test_a_peer_that_goes_leaves_its_questions_unanswered_at_once() -> None:
    requests = asked()
    assert requests.step(PeerDown(EVE), Instant(1)) == []
    assert requests.step(PeerDown(BOB), Instant(1)) == [Answer(FIRST, None)]


def test_a_full_table_answers_the_next_question_with_silence() -> None:
    requests = Requests(PATIENCE)
    for _ in range(PENDING_MAX):
        requests.step(Ask(BOB, b"?"), Instant(0))
    over = RequestId(PENDING_MAX)
    assert requests.step(Ask(BOB, b"?"), Instant(0)) == [Asked(over), Answer(over, None)]


events = st.one_of(
    st.builds(Ask, st.sampled_from([BOB, EVE]), st.binary(max_size=3)),
    st.builds(
        Received,
        st.sampled_from([BOB, EVE]),
        st.integers(0, 20).map(lambda n: n.to_bytes(8)) | st.binary(max_size=9),
    ),
    st.builds(PeerDown, st.sampled_from([BOB, EVE])),
    st.just(Tick()),
)


@given(st.lists(st.tuples(events, st.integers(0, 150_000)), max_size=40))
def test_every_question_ends_exactly_once_in_every_history(
    history: list[tuple[Event, int]],
) -> None:
    requests, now = Requests(PATIENCE), Instant(0)
    effects: list[Effect] = []
    for event, wait in history:
        now = Instant(now + wait)
        effects += requests.step(event, now)
    effects += requests.step(Tick(), Instant(now + PATIENCE))
    put = [effect.request for effect in effects if isinstance(effect, Asked)]
    assert sorted(e.request for e in effects if isinstance(e, Answer)) == put
