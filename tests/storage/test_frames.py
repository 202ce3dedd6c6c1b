"""Log records: what a torn or damaged log still says, and never says falsely."""

from collections import Counter
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.storage.checksums import Checksums, product
from dpin.storage.frames import (
    HEAD_BYTES,
    RECORD_BYTES_MAX,
    Problem,
    Record,
    encode_record,
    scan,
)

RECORDS = st.lists(st.builds(Record, st.integers(0, 255), st.binary(max_size=30)), max_size=8)


def log_of(records: list[Record]) -> bytes:
    data = b""
    for record in records:
        data += encode_record(record, len(data))
    return data


@given(RECORDS)
def test_a_log_says_what_was_written(records: list[Record]) -> None:
    data = log_of(records)
    found = scan(data)
    assert (found.records, found.good_length, found.problem) == (records, len(data), None)


@given(RECORDS, st.data())
def test_a_log_cut_anywhere_says_a_prefix(records: list[Record], data: st.DataObject) -> None:
    whole = log_of(records)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    found = scan(cut)
    assert found.records == records[: len(found.records)]
    assert log_of(found.records) == cut[: found.good_length]
    assert found.problem == (None if found.good_length == len(cut) else Problem.TORN)


@given(RECORDS.filter(bool), st.data())
def test_a_turned_bit_never_makes_a_wrong_record(
    records: list[Record], data: st.DataObject
) -> None:
    damaged = bytearray(log_of(records))
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    found = scan(bytes(damaged))
    assert found.records == records[: len(found.records)]
    assert found.good_length <= place


@given(RECORDS, st.integers(0, 255), st.binary(max_size=60))
def test_zeros_or_noise_after_the_end_are_no_records(
    records: list[Record], kind: int, noise: bytes
) -> None:
    whole = log_of(records)
    for tail in (bytes(64), bytes([kind]) * 3 + noise):
        found = scan(whole + tail)
        assert found.records == records
        assert found.problem is Problem.TORN


@given(RECORDS.filter(lambda records: len(records) > 1), st.data())
def test_damage_before_good_records_is_rot(records: list[Record], data: st.DataObject) -> None:
    damaged = bytearray(log_of(records))
    last = len(log_of(records[:-1]))
    place = data.draw(st.integers(0, last - 1))
    damaged[place] ^= 0x40
    assert scan(bytes(damaged)).problem is Problem.ROTTEN


def test_a_record_is_valid_in_one_place_only() -> None:
    moved = encode_record(Record(1, b"body"), 13)
    assert scan(moved).records == []
    assert scan(log_of([Record(1, b"1234")]) + moved).records == [
        Record(1, b"1234"),
        Record(1, b"body"),
    ]


def test_a_whole_log_inside_a_torn_body_is_not_taken_for_good_records() -> None:
    inner = log_of([Record(1, b"mine"), Record(1, b"too")])
    torn = log_of([Record(1, inner + bytes(100))])[:-1]
    found = scan(torn)
    assert found.records == []
    assert found.problem is Problem.TORN


def test_a_length_above_the_limit_is_damage() -> None:
    data = b"\xff\xff\xff\xff" + bytes(5)
    assert scan(data).problem is Problem.TORN


def test_a_record_has_a_head_of_nine_bytes_and_a_limit() -> None:
    assert len(encode_record(Record(7, b"abc"), 0)) == HEAD_BYTES + 3 == 12
    assert encode_record(Record(7, b"abc"), 0)[:4] == b"\0\0\0\3"
    with pytest.raises(AssertionError):
        encode_record(Record(7, bytes(RECORD_BYTES_MAX + 1)), 0)


def test_the_bytes_of_a_record_stay_what_they_are() -> None:
    assert encode_record(Record(1, b"dpin"), 9).hex() == "000000046d8b2564016470696e"


@given(st.binary(max_size=200), st.data())
def test_the_checksum_of_a_part_is_that_of_its_bytes(whole: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    begun = data.draw(st.integers(0, 2**32 - 1))
    assert Checksums(whole).of(start, end, begun) == crc32(whole[start:end], begun)


def test_a_torn_tail_of_chosen_bytes_costs_in_proportion_to_its_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of lengths that all fit, each would have been summed up to the end: a square of the tail."""
    counts: Counter[str] = Counter()

    def counted_crc(data: bytes, value: int = 0) -> int:
        counts["bytes"] += len(data)
        return crc32(data, value)

    def counted_product(one: int, other: int) -> int:
        counts["products"] += 1
        return product(one, other)

    monkeypatch.setattr("dpin.storage.frames.crc32", counted_crc)
    monkeypatch.setattr("dpin.storage.checksums.product", counted_product)
    size = 1 << 14
    tail = bytes(HEAD_BYTES - 1) + b"\x01" + b"\x00\x00\x10" * (size // 3)
    found = scan(log_of([Record(1, b"kept")]) + tail)
    assert (found.records, found.problem) == ([Record(1, b"kept")], Problem.TORN)
    assert size // 6 < counts["products"] <= size
    assert counts["bytes"] < 32 * size


def test_a_record_behind_chosen_bytes_is_found() -> None:
    before = log_of([Record(1, b"kept")]) + b"\xff" * HEAD_BYTES + b"\x00\x00\x10" * 500
    found = scan(before + encode_record(Record(2, b"whole" * 100), len(before)))
    assert (found.records, found.problem) == ([Record(1, b"kept")], Problem.ROTTEN)
