"""A blob arrives whole, from whomever, or not at all and says why."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpin.base.blob import CHUNK_BYTES, BlobManifest, blob_id
from dpin.base.ids import NodeId
from dpin.base.machine import Blame, Tick, Wake
from dpin.base.units import Instant, seconds
from dpin.net.blobwire import AskBlob, AskChunk, AskHave, BlobQuestion, Have, Manifest, bits_of
from dpin.net.sharing import IN_FLIGHT_MAX
from dpin.net.sources import PATIENCE, SOURCES_MAX, STRIKES_MAX, WINDOW_MAX, WINDOW_MIN
from dpin.net.transfer import (
    Answered,
    Begin,
    Denied,
    Done,
    Effect,
    Event,
    Failed,
    Fetch,
    GaveUp,
    Known,
    Landed,
    Lied,
    Request,
    SourceFound,
    Stalled,
)

COUNT = 40
MANIFEST = BlobManifest(COUNT * CHUNK_BYTES, tuple(bytes([n]) * 32 for n in range(COUNT)))
BLOB = blob_id(MANIFEST)
NOW = Instant(0)


def node(number: int) -> NodeId:
    return NodeId(bytes([number]) * 32)


@dataclass
class Peer:
    """How one source behaves."""

    has: Sequence[int] = range(COUNT)
    micros: int = 10_000  # for one chunk, one after the other
    lies: bool = False
    silent: bool = False
    busy_until: int = 0

    def reply(self, peer: NodeId, question: BlobQuestion) -> Event:
        """What comes of a question."""
        if self.silent:
            return Failed(peer, question, "silence")
        match question:
            case AskBlob():
                return Answered(peer, question, Manifest(MANIFEST))
            case AskHave():
                return Answered(peer, question, Have(bits_of(self.has)))
            case AskChunk(_, index) if index not in self.has:
                return Denied(peer, question, "not here")
            case AskChunk(_, index) if self.lies:
                return Lied(peer, question, "other bytes")
            case AskChunk(_, index):
                return Landed(peer, index)


def is_end_of_chunk(event: Event) -> bool:
    if isinstance(event, Failed | Denied | Lied):
        return isinstance(event.question, AskChunk)
    return isinstance(event, Landed)


@dataclass
class World:
    """Sources, and a fetch that asks them, until it ends."""

    peers: dict[NodeId, Peer]
    asked: list[Request] = field(default_factory=list)
    landed: list[tuple[NodeId, int]] = field(default_factory=list)
    said: list[Effect] = field(default_factory=list)
    now: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    def play(self, fetch: Fetch) -> Effect:
        """Until it is done or gives up; the last word."""
        coming: list[tuple[int, int, Event]] = [(0, 0, Begin())]
        number = 0
        while coming:
            self.now, _, event = heappop(coming)
            if isinstance(event, Landed):
                self.landed.append((event.peer, event.index))
            self.in_flight -= is_end_of_chunk(event)
            for effect in fetch.step(event, Instant(self.now)):
                number += 1
                self.said.append(effect)
                match effect:
                    case Wake(at):
                        heappush(coming, (at, number, Tick()))
                    case Request(peer, question):
                        self.asked.append(effect)
                        heappush(coming, (self._when(peer, question), number, self._what(effect)))
                    case Done() | GaveUp():
                        return effect
                    case _:
                        pass
        raise AssertionError("it neither ended nor waits for anything")

    def _what(self, request: Request) -> Event:
        self.in_flight += isinstance(request.question, AskChunk)
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return self.peers[request.peer].reply(request.peer, request.question)

    def _when(self, peer: NodeId, question: BlobQuestion) -> int:
        source = self.peers[peer]
        took = source.micros if isinstance(question, AskChunk) else 1_000
        source.busy_until = max(source.busy_until, self.now) + took
        return source.busy_until

    def by(self, peer: NodeId) -> int:
        """How many chunks a peer gave."""
        return sum(giver == peer for giver, _ in self.landed)


def world(*peers: Peer) -> World:
    return World({node(number): peer for number, peer in enumerate(peers)})


def fetch_from(made: World, have: Sequence[int] = ()) -> Fetch:
    return Fetch(BLOB, list(made.peers), MANIFEST, have)


def test_a_blob_comes_from_one_source_and_no_chunk_twice() -> None:
    made = world(Peer())
    assert made.play(fetch_from(made)) == Done()
    assert sorted(index for _, index in made.landed) == list(range(COUNT))


def test_first_the_manifest_from_whoever_has_it() -> None:
    made = world(Peer(silent=True), Peer())
    fetch = Fetch(BLOB, list(made.peers))
    said = list(fetch.step(Begin(), NOW))
    request = next(effect for effect in said if isinstance(effect, Request))
    said = list(fetch.step(Failed(request.peer, request.question, "silence"), NOW))
    assert said == [Request(node(1), AskBlob(BLOB))]
    answer = Answered(node(1), AskBlob(BLOB), Manifest(MANIFEST))
    assert fetch.step(answer, NOW) == [Known(MANIFEST)]
    assert fetch.step(Tick(), NOW) == []


def test_a_manifest_of_another_blob_is_a_lie() -> None:
    fetch = Fetch(BLOB, [node(0)])
    fetch.step(Begin(), NOW)
    other = Manifest(BlobManifest(0, ()))
    said = fetch.step(Answered(node(0), AskBlob(BLOB), other), NOW)
    assert isinstance(said[0], Blame)
    assert isinstance(said[1], GaveUp)


def test_an_answer_to_another_question_is_a_lie() -> None:
    fetch = Fetch(BLOB, [node(0)])
    fetch.step(Begin(), NOW)
    said = fetch.step(Answered(node(0), AskBlob(BLOB), Have(b"")), NOW)
    assert said[0] == Blame(node(0), "answered another question than the one put")


def test_several_sources_share_the_work_by_how_fast_they_are() -> None:
    made = world(Peer(micros=10_000), Peer(micros=20_000), Peer(micros=40_000))
    assert made.play(fetch_from(made)) == Done()
    assert made.by(node(0)) > made.by(node(1)) > made.by(node(2)) > 0


def test_four_equal_sources_take_a_quarter_of_the_time_of_one() -> None:
    alone, four = world(Peer()), world(*[Peer() for _ in range(4)])
    alone.play(fetch_from(alone))
    four.play(fetch_from(four))
    assert four.now < alone.now / 3


def test_the_rarest_chunks_are_asked_for_first() -> None:
    rare = [7, 30]
    most = [index for index in range(COUNT) if index not in rare]
    made = world(Peer(), Peer(has=most), Peer(has=most))
    made.play(fetch_from(made))
    of_whole = [r.question for r in made.asked if r.peer == node(0)]
    chunks = [question.index for question in of_whole if isinstance(question, AskChunk)]
    assert set(rare) <= set(chunks[: 2 * WINDOW_MIN])


def test_a_source_with_a_part_is_asked_for_nothing_else() -> None:
    made = world(Peer(), Peer(has=[0, 1]))
    made.play(fetch_from(made))
    chunks = [r.question for r in made.asked if r.peer == node(1)]
    assert all(q.index in {0, 1} for q in chunks if isinstance(q, AskChunk))


def test_sources_that_have_the_blob_only_together_are_enough() -> None:
    made = world(Peer(has=range(20)), Peer(has=range(20, COUNT)))
    assert made.play(fetch_from(made)) == Done()


def test_a_liar_is_blamed_once_and_its_chunks_come_from_others() -> None:
    made = world(Peer(lies=True, micros=1_000), Peer())
    assert made.play(fetch_from(made)) == Done()
    assert {e.peer for e in made.said if isinstance(e, Blame)} == {node(0)}
    assert made.by(node(0)) == 0


def test_a_slow_source_is_replaced_and_does_not_hold_up_the_end() -> None:
    made = world(Peer(), Peer(micros=100_000_000))
    assert made.play(fetch_from(made)) == Done()
    assert made.now < 2 * PATIENCE


def test_a_source_that_stalls_while_another_gives_is_named() -> None:
    made = world(Peer(micros=PATIENCE // 2), Peer(micros=1_000 * PATIENCE))
    assert made.play(fetch_from(made)) == Done()
    assert {effect.peer for effect in made.said if isinstance(effect, Stalled)} == {node(1)}


def test_a_source_that_is_slow_alone_is_waited_for() -> None:
    made = world(Peer(micros=5 * PATIENCE))
    assert made.play(fetch_from(made)) == Done()


def test_a_silent_source_is_dropped_after_some_failures() -> None:
    made = world(Peer(silent=True))
    last = made.play(fetch_from(made))
    assert isinstance(last, GaveUp)
    assert "silence" in last.reason
    assert len(made.asked) == STRIKES_MAX


def test_a_source_that_has_not_what_is_missing_is_asked_again_and_at_last_given_up() -> None:
    made = world(Peer(has=range(39)))
    last = made.play(fetch_from(made))
    assert isinstance(last, GaveUp)
    assert "no source has what is missing" in last.reason
    assert made.now > seconds(60)
    made = world(Peer(has=range(39)))
    made.peers[node(0)].has = range(COUNT)
    assert made.play(fetch_from(made)) == Done()


def test_what_is_on_disk_is_not_asked_for_again() -> None:
    made = world(Peer())
    assert made.play(fetch_from(made, have=range(35))) == Done()
    assert sorted(index for _, index in made.landed) == [35, 36, 37, 38, 39]


def test_a_blob_that_is_here_already_needs_no_source() -> None:
    assert Fetch(BLOB, [], MANIFEST, range(COUNT)).step(Begin(), NOW)[-1] == Done()
    empty = BlobManifest(0, ())
    assert Fetch(blob_id(empty), [], empty).step(Begin(), NOW)[-1] == Done()


def test_without_any_source_it_gives_up_and_says_why() -> None:
    assert Fetch(BLOB, []).step(Begin(), NOW)[-1] == GaveUp(
        "no source is left; the last one: no peer is known to have it"
    )


def test_so_much_is_asked_at_once_and_no_more() -> None:
    made = world(*[Peer() for _ in range(SOURCES_MAX)])
    made.play(fetch_from(made))
    assert made.most_in_flight <= IN_FLIGHT_MAX
    alone = world(Peer())
    alone.play(fetch_from(alone))
    assert alone.most_in_flight <= WINDOW_MAX


def test_sources_are_bounded() -> None:
    many = [NodeId(number.to_bytes(32)) for number in range(SOURCES_MAX + 5)]
    fetch = Fetch(BLOB, many)
    fetch.step(SourceFound(NodeId(b"x" * 32)), NOW)
    assert len(fetch._sources) == SOURCES_MAX


def test_after_the_end_nothing_more_is_said() -> None:
    fetch = Fetch(BLOB, [])
    fetch.step(Begin(), NOW)
    assert fetch.step(SourceFound(node(0)), NOW) == []


def peers() -> st.SearchStrategy[Peer]:
    parts = st.lists(st.integers(0, COUNT - 1), unique=True, max_size=COUNT)
    return st.builds(
        Peer,
        has=parts | st.just(range(COUNT)),
        micros=st.sampled_from([1, 1_000, 50_000, 10_000_000]),
        lies=st.booleans(),
        silent=st.booleans(),
    )


@settings(max_examples=60)
@given(others=st.lists(peers(), max_size=6), good=st.booleans())
def test_whatever_sources_do_it_ends_and_is_done_where_one_is_good(
    others: list[Peer], *, good: bool
) -> None:
    made = world(*others, *([Peer()] if good else []))
    last = made.play(fetch_from(made))
    if good:
        assert last == Done()
    if last == Done():
        assert {index for _, index in made.landed} == set(range(COUNT))
    blamed = {e.peer for e in made.said if isinstance(e, Blame)}
    assert all(made.peers[peer].lies for peer in blamed)


@pytest.mark.parametrize("seed", range(5))
def test_equal_histories_give_equal_effects(seed: int) -> None:
    def run() -> list[Effect]:
        dice = Random(seed)  # noqa: S311  A test's dice.
        made = world(*[Peer(micros=dice.randrange(1, 10**6)) for _ in range(4)])
        made.play(fetch_from(made))
        return made.said

    assert run() == run()
