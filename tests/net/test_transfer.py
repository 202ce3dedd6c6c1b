"""A blob arrives whole, from whomever, or not at all and says why."""

from collections.abc import Callable, Sequence
from random import Random

import pytest

from dpin.base.blob import CHUNK_BYTES, BlobManifest, blob_id, manifest_of
from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId, NodeId
from dpin.base.machine import Blame
from dpin.base.units import Instant
from dpin.net.network import ANSWER_BYTES_MAX
from dpin.net.transfer import (
    FAILURES_MAX,
    IN_FLIGHT_MAX,
    IN_FLIGHT_PER_SOURCE_MAX,
    SOURCES_MAX,
    Answered,
    AskChunk,
    AskManifest,
    Begin,
    Chunk,
    Done,
    Effect,
    Failed,
    Fetch,
    GaveUp,
    Keep,
    Known,
    Manifest,
    Question,
    Refused,
    Request,
    SourceFound,
    read_question,
    read_reply,
)

NOW = Instant(0)
PARTS = [bytes([number]) * CHUNK_BYTES for number in range(19)] + [b"tail"]
DATA = b"".join(PARTS)
MANIFEST = manifest_of(DATA)
BLOB = blob_id(MANIFEST)
GOOD, SILENT, LIAR, POOR, OTHER = (NodeId(bytes([n]) * 32) for n in range(5))
Answer = Callable[[Question], bytes | None]


def good(question: Question) -> bytes | None:
    match question:
        case AskManifest():
            return encode(Manifest(MANIFEST))
        case AskChunk(_, index):
            return encode(Chunk(PARTS[index]))


def silent(_question: Question) -> bytes | None:
    return None


def liar(question: Question) -> bytes | None:
    match question:
        case AskManifest():
            return encode(Manifest(manifest_of(b"another blob")))
        case AskChunk(_, index):
            return encode(Chunk(PARTS[index][:-1] + b"?"))


def poor(_question: Question) -> bytes | None:
    return encode(Refused("I do not have it"))


BEHAVIOUR: dict[NodeId, Answer] = {
    GOOD: good,
    OTHER: good,
    SILENT: silent,
    LIAR: liar,
    POOR: poor,
}


def play(fetch: Fetch, seed: int = 0) -> list[Effect]:
    """Answer every request in some order; all that the fetch said."""
    dice = Random(seed)  # noqa: S311  A test's dice.
    said = list(fetch.step(Begin(), NOW))
    open_requests = [effect for effect in said if isinstance(effect, Request)]
    while open_requests:
        assert len(open_requests) <= IN_FLIGHT_MAX
        request = open_requests.pop(dice.randrange(len(open_requests)))
        reply = BEHAVIOUR[request.peer](request.question)
        effects = fetch.step(
            Failed(request.peer, request.question, "silence")
            if reply is None
            else Answered(request.peer, request.question, reply),
            NOW,
        )
        said += effects
        open_requests += [effect for effect in effects if isinstance(effect, Request)]
    return said


def kept(said: Sequence[Effect]) -> dict[int, bytes]:
    return {effect.index: effect.data for effect in said if isinstance(effect, Keep)}


def test_a_blob_comes_from_one_source() -> None:
    said = play(Fetch(BLOB, [GOOD]))
    assert kept(said) == dict(enumerate(PARTS))
    assert said[-1] == Done()
    assert Known(MANIFEST) in said


@pytest.mark.parametrize("seed", range(20))
def test_a_blob_comes_whatever_the_other_sources_do(seed: int) -> None:
    said = play(Fetch(BLOB, [LIAR, SILENT, POOR, GOOD, OTHER]), seed)
    assert kept(said) == dict(enumerate(PARTS))
    assert said[-1] == Done()
    assert [effect.peer for effect in said if isinstance(effect, Blame)] in ([LIAR], [LIAR] * 2, [])
    assert sum(isinstance(effect, Keep) for effect in said) == len(PARTS)


def test_several_sources_share_the_work() -> None:
    said = play(Fetch(BLOB, [GOOD, OTHER]))
    asked = [effect.peer for effect in said if isinstance(effect, Request)]
    assert min(asked.count(GOOD), asked.count(OTHER)) >= len(PARTS) // 4


def test_one_source_is_asked_for_so_much_at_once_and_no_more() -> None:
    fetch = Fetch(BLOB, [GOOD], MANIFEST)
    requests = [e for e in fetch.step(Begin(), NOW) if isinstance(e, Request)]
    assert len(requests) == IN_FLIGHT_PER_SOURCE_MAX
    fetch.step(SourceFound(OTHER), NOW)
    both = [e for e in fetch.step(SourceFound(SILENT), NOW) if isinstance(e, Request)]
    assert len(both) == 0  # The second source has filled the total already.


def test_what_is_on_disk_is_not_asked_for_again() -> None:
    fetch = Fetch(BLOB, [GOOD], MANIFEST, have=range(15))
    assert fetch.missing == [15, 16, 17, 18, 19]
    assert sorted(kept(play(fetch))) == [15, 16, 17, 18, 19]


def test_a_blob_that_is_here_already_needs_no_source() -> None:
    assert Fetch(BLOB, [], MANIFEST, have=range(20)).step(Begin(), NOW) == [Done()]
    empty = BlobManifest(0, ())
    assert Fetch(blob_id(empty), [], empty).step(Begin(), NOW) == [Done()]


def test_without_any_source_left_it_gives_up_and_says_why() -> None:
    assert play(Fetch(BLOB, []))[-1] == GaveUp(
        "no source is left; the last one: no peer is known to have it"
    )
    assert "silence" in str(play(Fetch(BLOB, [SILENT]))[-1])
    assert "do not have it" in str(play(Fetch(BLOB, [POOR]))[-1])
    assert "not that of the blob" in str(play(Fetch(BLOB, [LIAR]))[-1])


def test_a_silent_source_is_dropped_after_some_failures() -> None:
    asked = [e for e in play(Fetch(BLOB, [SILENT])) if isinstance(e, Request)]
    assert len(asked) == FAILURES_MAX


def test_after_the_end_nothing_more_is_said() -> None:
    fetch = Fetch(BLOB, [])
    fetch.step(Begin(), NOW)
    assert fetch.step(SourceFound(GOOD), NOW) == []


def test_sources_are_bounded() -> None:
    many = [NodeId(number.to_bytes(32)) for number in range(SOURCES_MAX + 5)]
    fetch = Fetch(BLOB, many)
    fetch.step(SourceFound(NodeId(b"x" * 32)), NOW)
    assert len(fetch._sources) == SOURCES_MAX


def test_an_answer_to_another_question_is_a_lie() -> None:
    fetch = Fetch(BLOB, [GOOD])
    fetch.step(Begin(), NOW)
    effects = fetch.step(Answered(GOOD, AskManifest(BLOB), encode(Chunk(b"x"))), NOW)
    assert effects[0] == Blame(GOOD, "answered another question than the one that was put")


def test_questions_and_answers_keep_to_their_limits() -> None:
    assert read_question(encode(AskChunk(BlobId(b"b" * 32), 7))) == AskChunk(b"b" * 32, 7)
    largest = encode(Chunk(bytes(CHUNK_BYTES)))
    assert len(largest) <= ANSWER_BYTES_MAX
    assert read_reply(largest) == Chunk(bytes(CHUNK_BYTES))
    for read in (read_question, read_reply):
        with pytest.raises(PeerFault):
            read(b"\xc1")
