"""Small files: whole or not there, and what a power cut could take away is synced in time."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

from dpin.storage.durable import create_file, replace_file
from tests.support.files import files_limited_to

SYNC_OF_DATA: Final = "fcntl" if sys.platform == "darwin" else "fdatasync"
WATCHED: Final = {SYNC_OF_DATA, "replace", "fsync", "unlink"}


def calls_of(work: Callable[[], None]) -> list[str]:
    """The calls into the system that matter, in order."""
    seen: list[str] = []

    def watch(_frame: FrameType, event: str, called: object) -> None:
        name, module = getattr(called, "__name__", ""), getattr(called, "__module__", "")
        if event == "c_call" and module in {"posix", "fcntl"} and name in WATCHED:
            seen.append(name)

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def test_a_file_is_synced_before_it_takes_the_place_of_another_and_its_name_after(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    for data in (b"old", b"new"):
        calls = calls_of(lambda: replace_file(path, data))  # noqa: B023 (called at once)
        assert calls == [SYNC_OF_DATA, "replace", "fsync"]
        assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_synced_and_then_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert calls_of(lambda: create_file(path, b"new")) == [SYNC_OF_DATA, "fsync"]
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        create_file(path, b"new")
    assert path.read_bytes() == b"mine"


def test_without_room_the_old_file_stays_and_a_new_one_is_not_begun(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    replace_file(old, b"old")
    with files_limited_to(8):
        with pytest.raises(OSError, match="large"):
            replace_file(old, bytes(100))
        with pytest.raises(OSError, match="large"):
            create_file(new, bytes(100))
    assert old.read_bytes() == b"old"
    assert not new.exists()
