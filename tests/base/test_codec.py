"""The canonical encoding: one value, one form, and nothing else gets in."""

import enum
from typing import Final

import msgpack  # type: ignore[import-untyped]  # The package carries no types.
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dpin.base.codec import MESSAGE_BYTES_MAX, Wire, decode, encode
from dpin.base.errors import PeerFault

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 64) - 1


class Pay(Wire, frozen=True, tag=1):
    to: bytes
    amount: int
    memo: str = ""


class Stop(Wire, frozen=True, tag=2):
    job: bytes


class Colour(enum.Enum):
    RED = "red"


class Signed(Wire, frozen=True):
    nonce: int
    what: Pay | Stop
    peers: tuple[bytes, ...]
    deadline: int | None = None
    final: bool = False
    colour: Colour = Colour.RED


VALUES = st.builds(
    Signed,
    nonce=st.integers(INT_MIN, INT_MAX),
    what=st.one_of(
        st.builds(Pay, to=st.binary(), amount=st.integers(INT_MIN, INT_MAX), memo=st.text()),
        st.builds(Stop, job=st.binary()),
    ),
    peers=st.lists(st.binary(), max_size=40).map(tuple),
    deadline=st.none() | st.integers(INT_MIN, INT_MAX),
    final=st.booleans(),
)
SOME: Final = Signed(7, Pay(b"them", 300, "hi"), (b"a", b"b"))
PLAIN: Final = [7, [1, b"them", 300, "hi"], [b"a", b"b"], None, False, "red"]


def refused(data: bytes, kind: type[Wire] = Signed) -> str:
    with pytest.raises(PeerFault) as caught:
        decode(kind, data)
    return str(caught.value)


@given(VALUES)
def test_a_value_comes_back_as_it_went(value: Signed) -> None:
    assert decode(Signed, encode(value)) == value


@given(VALUES)
def test_another_reader_of_the_format_reads_and_writes_the_same_bytes(value: Signed) -> None:
    data = encode(value)
    assert msgpack.packb(msgpack.unpackb(data)) == data


@given(VALUES, VALUES)
def test_different_values_have_different_bytes(one: Signed, other: Signed) -> None:
    assert (encode(one) == encode(other)) == (one == other)


def test_the_form_is_an_array_with_integer_tags() -> None:
    assert encode(SOME) == msgpack.packb(PLAIN)


def test_a_tag_picks_the_member_of_a_union() -> None:
    assert decode(Signed, msgpack.packb([7, [2, b"job"], [], None, False, "red"])).what == Stop(
        b"job"
    )


@pytest.mark.parametrize("what", [[3, b"job"], ["Pay", b"to", 1, ""], [True, b"job"], [], {1: 2}])
def test_an_unknown_tag_is_refused(what: object) -> None:
    refused(msgpack.packb([7, what, [], None, False, "red"]))


@pytest.mark.parametrize("count", range(len(PLAIN)))
def test_a_missing_field_is_refused_even_where_it_has_a_default(count: int) -> None:
    refused(msgpack.packb(PLAIN[:count]))


def test_a_field_too_many_is_refused() -> None:
    refused(msgpack.packb([*PLAIN, None]))
    refused(msgpack.packb([7, [2, b"job", b"more"], [], None, False, "red"]))


def test_names_for_fields_are_refused() -> None:
    refused(msgpack.packb({"nonce": 7, "what": [2, b""], "peers": []}))


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (0, 7.0),
        (0, "7"),
        (0, True),
        (0, None),
        (2, b"ab"),
        (2, ["a"]),
        (2, {b"a": b"b"}),
        (3, False),
        (4, 0),
        (4, None),
        (5, "blue"),
        (5, b"red"),
    ],
)
def test_a_field_of_another_type_is_refused(place: int, wrong: object) -> None:
    refused(msgpack.packb([*PLAIN[:place], wrong, *PLAIN[place + 1 :]]))


@pytest.mark.parametrize(
    "seven",
    [b"\xcc\x07", b"\xcd\0\x07", b"\xce\0\0\0\x07", b"\xcf" + bytes(7) + b"\x07", b"\xd0\7"],
)
def test_an_integer_written_longer_than_need_be_is_refused(seven: bytes) -> None:
    data = encode(SOME)
    assert data[:2] == b"\x96\x07"
    assert "canonical" in refused(data[:1] + seven + data[2:])


@pytest.mark.parametrize(
    "them", [b"\xc5\0\x04them", b"\xc6\0\0\0\x04them", b"\xa4them", b"\xd9\x04them", b"\xd6\0them"]
)
def test_bytes_written_another_way_are_refused(them: bytes) -> None:
    refused(encode(SOME).replace(b"\xc4\x04them", them))


def test_an_array_with_a_longer_head_than_need_be_is_refused() -> None:
    assert "canonical" in refused(b"\xdc\0\x06" + encode(SOME)[1:])
    assert "canonical" in refused(b"\xdd\0\0\0\x06" + encode(SOME)[1:])


def test_bytes_after_the_value_are_refused() -> None:
    refused(encode(SOME) + b"\0")


@given(st.integers(0, len(encode(SOME)) - 1))
def test_a_value_cut_short_is_refused(length: int) -> None:
    refused(encode(SOME)[:length])


def test_text_that_is_no_text_is_refused() -> None:
    refused(encode(SOME).replace(b"\xa2hi", b"\xa2\xff\xff"))
    refused(encode(SOME).replace(b"\xa2hi", b"\xa3\xed\xa0\x80"))  # half of a surrogate pair


def test_a_message_above_the_limit_is_refused_unread() -> None:
    assert "at most" in refused(bytes(MESSAGE_BYTES_MAX + 1))
    data = encode(SOME)
    assert decode(Signed, data, limit=len(data)) == SOME
    with pytest.raises(PeerFault, match="at most"):
        decode(Signed, data, limit=len(data) - 1)


class Anything(Wire, frozen=True):
    inner: object


@pytest.mark.parametrize("head", [b"\x91", b"\x81\x01", b"\xdc\0\1"])
def test_deep_nesting_is_refused(head: bytes) -> None:
    refused(b"\x91" + head * 100_000 + b"\x01", Anything)


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"])
def test_a_length_that_the_message_does_not_hold_is_refused_at_once(head: bytes) -> None:
    refused(b"\x91" + head + b"\xff\xff\xff\xff\x01", Anything)
    refused(b"\x96\x07\x92\x02" + head + b"\xff\xff\xff\xff")


def test_a_key_that_cannot_be_one_is_refused() -> None:
    refused(b"\x91\x81\x91\x80\x01", Anything)


def test_a_refusal_is_one_short_line_whatever_was_sent() -> None:
    reason = refused(msgpack.packb([*PLAIN[:5], "\n" * 100_000]))
    assert len(reason) < 500
    assert "\n" not in reason


@given(st.binary())
@example(b"")
@example(b"\xc1")
def test_random_bytes_are_refused_or_canonical(data: bytes) -> None:
    for kind in (Signed, Anything, Pay):
        try:
            value = decode(kind, data)
        except PeerFault:
            continue
        assert encode(value) == data


@given(VALUES, st.data())
def test_a_damaged_value_is_refused_or_another_value(value: Signed, data: st.DataObject) -> None:
    damaged = bytearray(encode(value))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = decode(Signed, bytes(damaged))
    except PeerFault:
        return
    assert read != value


def test_an_integer_that_has_no_form_is_our_own_mistake() -> None:
    with pytest.raises(OverflowError):
        encode(Signed(INT_MAX + 1, Stop(b""), ()))
