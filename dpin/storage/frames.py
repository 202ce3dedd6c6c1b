"""Records of a log: length, checksum, kind, bytes; and what a damaged log still says.

A record is `[length u32][crc32 u32][kind u8][body]`, big-endian; `length` counts the body. The
checksum (CRC-32 as in zlib) covers the record's own offset in the log, the length, the kind and the
body: a record is valid in one place only, so bytes that a peer chose, stored inside a body, never
pass for a record.

A crash leaves at most a torn tail: the first bad record is the last thing in the log. Where a valid
record follows a bad one, the disk has lost what it once had: that is rot, and no tail to cut off.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from re import fullmatch
from struct import Struct
from typing import Final
from zlib import crc32

from dpin.storage.checksums import Checksums

RECORD_BYTES_MAX: Final = 4 << 20  # of one body

_HEAD: Final = Struct(">IIB")
_COVERED: Final = Struct(">QIB")
HEAD_BYTES: Final = _HEAD.size
_SEGMENT: Final = r"([0-9]{10})\.log"  # so that names sort as numbers


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that was written down."""

    kind: int  # 0..255
    body: bytes


class Problem(Enum):
    """Why a log is not whole."""

    TORN = "the last record was not written to its end"
    ROTTEN = "a damaged record is followed by good ones"


@dataclass(frozen=True, slots=True)
class Scan:
    """What a log says."""

    records: list[Record]
    good_length: int  # bytes that these records take; what follows is damaged
    problem: Problem | None


def _checksum(offset: int, kind: int, body: bytes | memoryview) -> int:
    return crc32(body, crc32(_COVERED.pack(offset, len(body), kind)))


def encode_record(record: Record, offset: int) -> bytes:
    """The bytes of `record` where it starts at `offset` of its log."""
    assert len(record.body) <= RECORD_BYTES_MAX, "the caller keeps its records small"
    checksum = _checksum(offset, record.kind, record.body)
    return _HEAD.pack(len(record.body), checksum, record.kind) + record.body


def _record_at(data: memoryview, offset: int) -> Record | None:
    """The record that starts at `offset`, or None where no valid one does."""
    start = offset + HEAD_BYTES
    if start > len(data):
        return None
    length, checksum, kind = _HEAD.unpack_from(data, offset)
    if length > RECORD_BYTES_MAX or start + length > len(data):
        return None
    body = data[start : start + length]
    return Record(kind, bytes(body)) if _checksum(offset, kind, body) == checksum else None


def scan(data: bytes | memoryview) -> Scan:
    """Read records up to the first that is not valid, and say what kind of damage that is."""
    view = memoryview(data)
    records: list[Record] = []
    offset = 0
    while offset < len(view):
        record = _record_at(view, offset)
        if record is None:
            problem = Problem.ROTTEN if _good_record_follows(view, offset) else Problem.TORN
            return Scan(records, offset, problem)
        records.append(record)
        offset += HEAD_BYTES + len(record.body)
    return Scan(records, offset, None)


def walk(data: memoryview) -> Iterator[tuple[int, Record]]:
    """Record after record, each with the offset behind it, up to the first that is not valid.

    Whoever reads compares the last offset with the length: `scan` says what the rest is.
    """
    offset = 0
    while (record := _record_at(data, offset)) is not None:
        offset += HEAD_BYTES + len(record.body)
        yield offset, record


def _good_record_follows(data: memoryview, bad: int) -> bool:
    """Whether a record is valid that starts where the one after the bad record may start.

    That may be anywhere, and a peer may have chosen the bytes: bodies that overlap are not read one
    by one.
    """
    first = bad + HEAD_BYTES
    last = min(first + RECORD_BYTES_MAX, len(data) - HEAD_BYTES)
    part = data[first : last + HEAD_BYTES + RECORD_BYTES_MAX]
    checksums = Checksums(part)
    for offset in range(first, last + 1):
        length, checksum, kind = _HEAD.unpack_from(data, offset)
        start = offset + HEAD_BYTES
        if length <= RECORD_BYTES_MAX and start + length <= len(data):
            begun = crc32(_COVERED.pack(offset, length, kind))
            if checksums.of(start - first, start + length - first, begun) == checksum:
                return True
    return False


def segment_name(number: int) -> str:
    """The file of a log's segment; the first is number 1."""
    return f"{number:010}.log"


def segment_number(name: str) -> int | None:
    """Which segment a file is, if it is one."""
    found = fullmatch(_SEGMENT, name)
    return int(found[1]) if found else None
