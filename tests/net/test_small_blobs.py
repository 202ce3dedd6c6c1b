"""A small blob comes with the answer to what it consists of; what else comes there is a lie."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.blob import CHUNK_BYTES, BlobManifest, blob_id, manifest_of
from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId, NodeId
from dpin.base.machine import Blame
from dpin.base.units import Instant, seconds
from dpin.net.blobwire import (
    SMALL_BLOB_BYTES_MAX,
    AskBlob,
    AskHave,
    Manifest,
    Whole,
    check_whole,
    is_small,
    read_question,
    read_reply,
)
from dpin.net.course import Course
from dpin.net.network import ANSWER_BYTES_MAX
from dpin.net.transfer import Answered, Begin, Effect, Fetch, GaveUp, Known, Request

DATA = b"an update of a few bytes"
SMALL = manifest_of(DATA)
BLOB = blob_id(SMALL)
LARGE = bytes(SMALL_BLOB_BYTES_MAX + 1)
MANY = bytes(CHUNK_BYTES) + b"end"
FIRST, SECOND = NodeId(b"\1" * 32), NodeId(b"\2" * 32)
NOW = Instant(seconds(1))

HOSTILE = {
    "other bytes": (DATA, Whole(SMALL, b"?" + DATA[1:])),
    "too long": (DATA, Whole(SMALL, DATA + b"?")),
    "far too long": (DATA, Whole(SMALL, bytes(ANSWER_BYTES_MAX - 100))),
    "truncated": (DATA, Whole(SMALL, DATA[:-1])),
    "nothing": (DATA, Whole(SMALL, b"")),
    "another blob": (DATA, Whole(manifest_of(b"other"), b"other")),
    "a length that is not its own": (DATA, Whole(BlobManifest(5, SMALL.chunks), DATA)),
    "no chunk": (b"", Whole(manifest_of(b""), b"")),
    "the first of many chunks": (MANY, Whole(manifest_of(MANY), MANY[:CHUNK_BYTES])),
    "the last of many chunks": (MANY, Whole(manifest_of(MANY), b"end")),
    "more than is small": (LARGE, Whole(manifest_of(LARGE), LARGE)),
}


def begun(blob: BlobId = BLOB) -> Fetch:
    fetch = Fetch(blob, [FIRST, SECOND])
    assert Request(FIRST, AskBlob(blob)) in fetch.step(Begin(), NOW)
    return fetch


def told(fetch: Fetch, peer: NodeId, reply: Manifest | Whole) -> Sequence[Effect]:
    question = AskBlob(BLOB)
    return fetch.step(Answered(peer, question, reply), NOW)


def test_a_small_blob_comes_with_its_manifest() -> None:
    assert told(begun(), FIRST, Whole(SMALL, DATA)) == [Known(SMALL, DATA)]


def test_a_source_of_the_version_before_sends_the_manifest_alone() -> None:
    assert told(begun(), FIRST, Manifest(SMALL)) == [Known(SMALL)]


@pytest.mark.parametrize("case", HOSTILE)
def test_whoever_sends_anything_else_with_it_is_blamed_and_another_is_asked(case: str) -> None:
    data, reply = HOSTILE[case]
    blob = blob_id(manifest_of(data))
    fetch = begun(blob)
    blame, again = told(fetch, FIRST, reply)
    assert isinstance(blame, Blame)
    assert blame.peer == FIRST
    assert again == Request(SECOND, AskBlob(blob))
    honest = manifest_of(data)
    right = Whole(honest, data) if is_small(honest) else Manifest(honest)
    assert isinstance(told(fetch, SECOND, right)[0], Known)


def test_when_the_last_source_lies_it_gives_up() -> None:
    fetch = begun()
    told(fetch, FIRST, Whole(SMALL, b""))
    blame, end = told(fetch, SECOND, Whole(SMALL, b""))
    assert isinstance(blame, Blame)
    assert isinstance(end, GaveUp)
    assert "0 bytes" in end.reason


def test_of_the_largest_that_is_small_nothing_is_refused() -> None:
    data = LARGE[:-1]
    manifest = manifest_of(data)
    assert is_small(manifest)
    assert not is_small(manifest_of(LARGE))
    check_whole(blob_id(manifest), Whole(manifest, data))
    assert len(encode(Whole(manifest, data))) < ANSWER_BYTES_MAX


def test_the_course_of_a_small_blob_has_one_question_and_all_bytes() -> None:
    course, fetch = Course(NOW), begun()
    course.gave(Request(FIRST, AskBlob(BLOB)), NOW)
    later = Instant(NOW + seconds(2))
    answer = Answered(FIRST, AskBlob(BLOB), Whole(SMALL, DATA))
    course.took(answer, later)
    for effect in fetch.step(answer, later):
        course.gave(effect, later)
    share = course.shares[FIRST]
    assert (share.chunks, share.bytes) == (1, len(DATA))
    assert (share.asked_at, share.first_at, share.last_at) == (NOW, later, later)
    assert [hop.what for hop in course.hops] == [
        "asked what the blob consists of",
        f"{len(DATA)} bytes in 1 chunks",
        "gave its first chunk",
    ]


@given(st.binary(min_size=1, max_size=200))
def test_what_is_written_is_read(data: bytes) -> None:
    manifest = manifest_of(data)
    whole = Whole(manifest, data)
    assert read_reply(encode(whole)) == whole
    assert read_question(encode(AskBlob(blob_id(manifest)))) == AskBlob(blob_id(manifest))
    check_whole(blob_id(manifest), whole)


@given(st.binary(max_size=200), st.integers(-1, 1 << 40), st.lists(st.binary(max_size=33)))
def test_only_the_blob_itself_passes(data: bytes, length: int, chunks: list[bytes]) -> None:
    made_up = Whole(BlobManifest(length, tuple(chunks)), data)
    for one in (made_up, Whole(SMALL, data)):
        if one.data == DATA and one.manifest == SMALL:
            continue
        with pytest.raises(PeerFault):
            check_whole(BLOB, one)


@given(st.binary(max_size=64), st.integers(0, 1 << 16), st.integers(0, 255))
def test_a_damaged_answer_is_a_fault_or_is_not_taken(tail: bytes, at: int, byte: int) -> None:
    written = bytearray(encode(Whole(SMALL, DATA)))
    written[at % len(written)] = byte
    damaged = bytes(written) + tail
    if damaged == encode(Whole(SMALL, DATA)):
        return
    with pytest.raises(PeerFault):
        taken(damaged)


def taken(answer: bytes) -> None:
    reply = read_reply(answer)
    assert isinstance(reply, Whole)
    check_whole(BLOB, reply)


@pytest.mark.parametrize("reply", [Manifest(SMALL), Whole(SMALL, DATA)])
def test_neither_is_an_answer_to_what_a_source_has(reply: Manifest | Whole) -> None:
    fetch = Fetch(BLOB, [FIRST], SMALL)
    fetch.step(Begin(), NOW)
    blame = fetch.step(Answered(FIRST, AskHave(BLOB), reply), NOW)[0]
    assert blame == Blame(FIRST, "answered another question than the one put")
