"""Append, sync, roll, replay: the node's one log.

The log is a folder of segments, numbered from 1; the one with the highest number is current and it
alone is replayed. A new segment begins with everything that is still needed of the older ones. It
is written beside them under another name and takes its own name when it is durable, so a crash
leaves the old segment current or the new one, each whole. While it is written the old one may go
on: what is appended meanwhile is in both.

A failed write or sync is final. After a failed fsync the kernel may have dropped the very pages
that it could not write and report the next one as good, so the log refuses everything from then on;
the node stops, and a start from the disk shows what was kept.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from dpin.base.errors import Unavailable
from dpin.storage.durable import UNFINISHED, make_durable, make_names_durable
from dpin.storage.frames import (
    Problem,
    Record,
    encode_record,
    scan,
    segment_name,
    segment_number,
)
from dpin.storage.syncing import DiskThread

KIND_ENTRY: Final = 1  # the only kind so far: what a machine asked to store
_WRITE_BYTES: Final = 1 << 20  # handed to the system at once, so that a long carry is not copied
_PRIVATE: Final = 0o600
_FOLDER: Final = 0o700


@dataclass(frozen=True, slots=True)
class Replay:
    """What a log held when it was opened; all of it is durable."""

    records: list[bytes]
    dropped_bytes: int  # of a torn tail, cut off


@dataclass(slots=True)
class _Segment:
    """One file of the log, open for appending."""

    descriptor: int
    path: Path  # as it is called once it is durable
    end: int = 0

    @property
    def unfinished(self) -> Path:
        return self.path.with_name(self.path.name + UNFINISHED)

    def write(self, records: Iterable[bytes]) -> None:
        data = bytearray()
        for body in records:
            data += encode_record(Record(KIND_ENTRY, body), self.end + len(data))
            if len(data) >= _WRITE_BYTES:
                self._flush(data)
        self._flush(data)

    def _flush(self, data: bytearray) -> None:
        with memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.write(self.descriptor, view[written:])
        self.end += len(data)
        data.clear()


class Log:
    """An append-only folder of records. One task appends and rolls; any task may sync."""

    def __init__(self, descriptor: int, path: Path, end: int, *, archive: bool = False) -> None:
        """Go on at offset `end` of an open segment; `Log.open` makes one from a folder."""
        self._segments = [_Segment(descriptor, path, end)]  # oldest first; all but [0] unfinished
        self._draft: _Segment | None = None  # being written, while the last one is in use
        self._since: list[bytes] = []  # records that the draft must end with
        self._archive = archive
        self._broken: str | None = None
        self._cause: Unavailable | None = None
        self._syncing = trio.Lock()  # close waits: a number closed under a sync may be reused
        self._thread = DiskThread()  # of its own: no other work keeps a sync waiting

    @classmethod
    async def open(cls, folder: Path, *, archive: bool = False) -> "tuple[Log, Replay]":
        """Open or create the log in `folder`; cut off a torn tail; return what is still needed.

        With `archive`, older segments are kept when the log rolls. Raises Unavailable where the
        log cannot be read, is damaged before its tail, or holds a kind of record that this version
        does not know.
        """
        try:
            segment, replay = await trio.to_thread.run_sync(_open, folder)
        except OSError as error:
            raise Unavailable(f"cannot open the log {folder}: {error.strerror}") from error
        return cls(segment.descriptor, segment.path, segment.end, archive=archive), replay

    def append(self, records: Sequence[bytes]) -> None:
        """Write records after the last one; durable only after `sync`. Raises Unavailable."""
        self._refuse_if_broken()
        try:
            self._segments[-1].write(records)
        except OSError as error:
            raise self._break(error) from error
        if self._draft is not None:
            self._since += records

    def roll(self, carry: Iterable[bytes]) -> None:
        """Go on in a new segment that begins with `carry`: all that is needed of what was written.

        The next `sync` makes it durable and then current; a crash before that leaves the old one.
        Raises Unavailable.
        """
        self.begin_roll()
        self.carry(carry)
        self.end_roll()

    def begin_roll(self) -> None:
        """Begin a new segment, and go on in the old one until `end_roll`. Raises Unavailable.

        One that was begun before, and did not come to its end, is given up.
        """
        self._refuse_if_broken()
        self._give_up()
        last = self._segments[-1].path
        segment = _Segment(-1, last.with_name(segment_name(_number(last) + 1)))
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        try:
            segment.descriptor = os.open(segment.unfinished, flags, _PRIVATE)
        except OSError as error:
            raise self._break(error) from error
        self._draft = segment

    def carry(self, records: Iterable[bytes]) -> None:
        """More of what the new segment begins with. Raises Unavailable."""
        self._refuse_if_broken()
        assert self._draft is not None, "a roll has begun"
        try:
            self._draft.write(records)
        except OSError as error:
            raise self._break(error) from error

    def end_roll(self) -> None:
        """All was carried: what was appended meanwhile follows, and all that comes.

        The next `sync` makes the segment durable and then current. Raises Unavailable.
        """
        self.carry(self._since)
        assert self._draft is not None, "a roll has begun"
        self._segments.append(self._draft)
        self._draft, self._since = None, []

    def _give_up(self) -> None:
        if self._draft is not None:
            os.close(self._draft.descriptor)
            self._draft, self._since = None, []

    async def sync(self) -> None:
        """Return when everything appended before this call is durable. Raises Unavailable."""
        try:
            self._syncing.acquire_nowait()  # As nearly always: to wait takes a turn of the loop.
        except trio.WouldBlock:
            await self._syncing.acquire()
        try:
            await self._settle()
        finally:
            self._syncing.release()
        self._refuse_if_broken()

    async def _settle(self) -> None:
        self._refuse_if_broken()
        segments = list(self._segments)
        try:
            await self._thread.run(partial(_settle, segments, archive=self._archive))
        except OSError as error:
            raise self._break(error) from error
        for segment in segments[:-1]:
            self._segments.remove(segment)
            os.close(segment.descriptor)

    async def close(self) -> None:
        """Close the files; what was not synced may or may not be kept."""
        with trio.CancelScope(shield=True):
            async with self._syncing:
                self._broken = self._broken or "it was closed"
                self._give_up()
                self._thread.close()
                while self._segments:
                    os.close(self._segments.pop().descriptor)

    def _break(self, error: OSError) -> Unavailable:
        self._broken = error.strerror or str(error)
        path = self._segments[-1].path
        self._cause = Unavailable(f"cannot write the log {path}: {self._broken}")
        return self._cause

    def _refuse_if_broken(self) -> None:
        if self._broken is not None:
            where = self._segments[-1].path if self._segments else "of this node"
            said = f"the log {where} takes nothing more: {self._broken}"
            raise Unavailable(said) from self._cause


def _settle(segments: Sequence[_Segment], *, archive: bool) -> None:
    """Blocking part of `Log.sync`: each newer segment becomes current, in order."""
    old = segments[0]
    for new in segments[1:]:
        if archive:
            make_durable(old.descriptor)
        make_durable(new.descriptor)
        new.unfinished.rename(new.path)
        make_names_durable(new.path.parent)
        if not archive:
            _drop_older(new.path)
        old = new
    if len(segments) == 1:
        make_durable(old.descriptor)


def _drop_older(current: Path) -> None:
    """Also what a crash, or a time as an archive, has left; a name that comes back does no harm."""
    for path in _finished(current.parent):
        if _number(path) < _number(current):
            path.unlink()


def _finished(folder: Path) -> list[Path]:
    """The segments of a log, oldest first."""
    return sorted(path for path in folder.iterdir() if segment_number(path.name) is not None)


def _number(segment: Path) -> int:
    return segment_number(segment.name) or 0


def _open(folder: Path) -> tuple[_Segment, Replay]:
    """Blocking part of `Log.open`: the newest segment behind its good records, and these."""
    folder.mkdir(mode=_FOLDER, exist_ok=True)
    for path in folder.glob(f"*{UNFINISHED}"):
        path.unlink()
    path = (_finished(folder) or [folder / segment_name(1)])[-1]
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE)
    try:
        end, replay = _recover(descriptor, path)
        # What a killed process had only handed to the kernel is durable from here on too: the
        # node will act on it.
        make_durable(descriptor)
        make_names_durable(folder)
        make_names_durable(folder.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return _Segment(descriptor, path, end), replay


def _recover(descriptor: int, path: Path) -> tuple[int, Replay]:
    data = path.read_bytes()
    found = scan(data)
    if found.problem is Problem.ROTTEN:
        raise Unavailable(
            f"the log {path} is damaged at byte {found.good_length} of {len(data)}, before records "
            "that are whole: this disk lost what it had kept. Restore the file, or move it away "
            "and let the node fetch the ledger anew"
        )
    unknown = sorted({record.kind for record in found.records} - {KIND_ENTRY})
    if unknown:
        raise Unavailable(f"the log {path} holds records of kind {unknown[0]}: use a newer dpin")
    os.ftruncate(descriptor, found.good_length)
    os.lseek(descriptor, found.good_length, os.SEEK_SET)
    bodies = [record.body for record in found.records]
    return found.good_length, Replay(bodies, len(data) - found.good_length)
