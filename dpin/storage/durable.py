"""Files that a power cut leaves whole: synced before they get their name, and it is synced too."""

import fcntl
import os
import sys
from pathlib import Path
from typing import Final

UNFINISHED: Final = ".new"  # a file that has not got its name yet; of no use after a crash
_PRIVATE: Final = 0o600


def make_durable(descriptor: int) -> None:
    """Return when the device itself has the file's data."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync there stops at the drive's cache.
    else:
        os.fdatasync(descriptor)


def make_names_durable(folder: Path) -> None:
    """Return when the device has which files the folder holds, by which names."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_file(path: Path, data: bytes) -> None:
    """Write a file that was not there, for its owner alone; raises FileExistsError.

    It is gone again where the disk refuses, and durable when this returns.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    try:
        _fill(descriptor, data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    make_names_durable(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write beside and rename over: a crash leaves the old or the new, for its owner alone.

    The new one is durable when this returns.
    """
    beside = path.with_name(f"{path.name}{UNFINISHED}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    _fill(os.open(beside, flags, _PRIVATE), data)
    beside.replace(path)
    make_names_durable(path.parent)


def _fill(descriptor: int, data: bytes) -> None:
    """Write all of it, durably, and close the file."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        make_durable(descriptor)
