"""Append, sync, replay: the node's one log, and the lock of the folder it lies in.

A failed write or sync is final. After a failed fsync the kernel may have dropped the very pages
that it could not write and report the next one as good, so the log refuses everything from then on;
the node stops, and a start from the disk shows what was kept.
"""

import fcntl
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trio

from dpin.base.errors import Unavailable
from dpin.storage.frames import Problem, Record, encode_record, scan

KIND_ENTRY: Final = 1  # the only kind so far: what a machine asked to store


def _make_durable(descriptor: int) -> None:
    """Return when the device itself has the file's data."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync there stops at the drive's cache.
    else:
        os.fdatasync(descriptor)


def _make_name_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderLock:
    """Keeps a data folder to one process; the kernel frees it when the process dies."""

    def __init__(self, folder: Path) -> None:
        """Take the lock, or raise Unavailable that names the process which has it."""
        try:
            self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot lock {folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise Unavailable(f"another node uses this folder: pid {holder} ({folder})") from error
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let another process have the folder. Once only."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class Replay:
    """What a log held when it was opened; all of it is durable."""

    records: list[bytes]
    dropped_bytes: int  # of a torn tail, cut off


class Log:
    """An append-only file of records. One task appends; any task may sync."""

    def __init__(self, descriptor: int, name: str, end: int) -> None:
        """Go on at offset `end` of an open file; `Log.open` makes one from a path."""
        self._descriptor = descriptor
        self._name = name
        self._end = end
        self._broken: str | None = None
        self._syncing = trio.Lock()  # close waits: a number closed under a sync may be reused

    @classmethod
    async def open(cls, path: Path) -> "tuple[Log, Replay]":
        """Open or create the log at `path`, cut off a torn tail, return what it holds.

        Raises Unavailable where the log cannot be read, is damaged before its tail, or holds a
        kind of record that this version does not know.
        """
        try:
            descriptor, end, replay = await trio.to_thread.run_sync(_open, path)
        except OSError as error:
            raise Unavailable(f"cannot open the log {path}: {error.strerror}") from error
        return cls(descriptor, str(path), end), replay

    def append(self, records: Sequence[bytes]) -> None:
        """Write records after the last one; durable only after `sync`. Raises Unavailable."""
        self._refuse_if_broken()
        data = bytearray()
        for body in records:
            data += encode_record(Record(KIND_ENTRY, body), self._end + len(data))
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            raise self._break(error) from error
        self._end += len(data)

    async def sync(self) -> None:
        """Return when everything appended before this call is durable. Raises Unavailable."""
        async with self._syncing:
            self._refuse_if_broken()
            try:
                await trio.to_thread.run_sync(_make_durable, self._descriptor)
            except OSError as error:
                raise self._break(error) from error
        self._refuse_if_broken()

    async def close(self) -> None:
        """Close the file; what was not synced may or may not be kept."""
        with trio.CancelScope(shield=True):
            async with self._syncing:
                self._broken = self._broken or "it was closed"
                if self._descriptor >= 0:
                    os.close(self._descriptor)
                    self._descriptor = -1

    def _break(self, error: OSError) -> Unavailable:
        self._broken = error.strerror or str(error)
        return Unavailable(f"cannot write the log {self._name}: {self._broken}")

    def _refuse_if_broken(self) -> None:
        if self._broken is not None:
            raise Unavailable(f"the log {self._name} takes nothing more: {self._broken}")


def _write_all(descriptor: int, data: bytearray) -> None:
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.write(descriptor, view[written:])


def _open(path: Path) -> tuple[int, int, Replay]:
    """Blocking part of `Log.open`: the descriptor at the end of the good records, and these."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        end, replay = _recover(descriptor, path)
        # What a killed process had only handed to the kernel is durable from here on too: the
        # node will act on it.
        _make_durable(descriptor)
        _make_name_durable(path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, end, replay


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
