"""A log that rolls: the old segment or the new one, whole, wherever the process or the power ends.

The crashes are real: a process rolls a log on a real disk and kills itself right before the n-th
call into the system, for every n. What a power cut may take in addition (bytes, names and removals
that were not synced) is then taken away by hand, as the calls so far allow it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from dpin.base.errors import Unavailable
from dpin.storage.durable import UNFINISHED
from dpin.storage.frames import HEAD_BYTES, segment_name
from dpin.storage.log import Log
from tests.support.files import files_limited_to

OLD: Final = [b"old one", b"old two" * 1000]
CARRY: Final = [b"carried", bytes(3 << 20), b"carried to the end"]
LATE: Final = b"after the roll"

ROLLER: Final = """
import os, signal, sys, threading
from pathlib import Path
import trio
from dpin.storage.log import Log
from tests.storage.test_segments import CARRY, LATE

CALLERS = {"_flush", "begin_roll", "sync", "make_durable", "make_names_durable"}
CALLERS |= {"unlink", "rename"}
CALLS = {"open", "write", "fdatasync", "fsync", "rename", "unlink", "close"}
folder, last, archive = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "archive"
seen, armed = [], []

def watch(frame, event, called):
    name = getattr(called, "__name__", "")
    module = getattr(called, "__module__", "")
    if not armed or event != "c_call" or module != "posix" or name not in CALLS:
        return
    if frame.f_code.co_name not in CALLERS:
        return
    if len(seen) == last:
        os.write(1, " ".join(seen).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    seen.append(name)

async def main():
    log, _ = await Log.open(folder, archive=archive)
    armed.append(True)
    log.roll(CARRY)
    log.append([LATE])
    await log.sync()
    armed.clear()
    os.write(1, b"done")

threading.setprofile(watch)  # before trio has any thread
sys.setprofile(watch)
trio.run(main)
"""


async def replayed(folder: Path) -> list[bytes]:
    log, replay = await Log.open(folder)
    await log.close()
    return replay.records


async def made(folder: Path) -> Path:
    """A log with two records, durable."""
    log, _replay = await Log.open(folder)
    log.append(OLD)
    await log.sync()
    await log.close()
    return folder


def roll_and_die(folder: Path, calls: int, mode: str = "prune") -> list[str] | None:
    """Roll this log in a process that dies before its next call; what it called, None: all."""
    done = subprocess.run(  # noqa: S603 (our own interpreter and text)
        [sys.executable, "-c", ROLLER, str(folder), str(calls), mode],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stdout == "done":
        return None
    assert done.returncode == -9, done.stderr
    return done.stdout.split()


def without_power(folder: Path, calls: list[str], syncs: int) -> Iterator[Path]:
    """What the disk may hold after these calls if the machine's power went with the process.

    Of the new segment that is nothing certain before the last of so many syncs.
    """
    new, old = folder / segment_name(2), folder / segment_name(1)
    unfinished = new.with_name(new.name + UNFINISHED)
    renamed = "rename" in calls
    named = renamed and "fsync" in calls[calls.index("rename") :]

    def copy(name: str) -> Path:
        other = folder.with_name(f"{folder.name}-{name}")
        shutil.copytree(folder, other)
        return other

    written = new if renamed else unfinished
    if written.exists() and calls.count("fdatasync") < syncs:
        for cut in sorted({0, 5, written.stat().st_size // 2}):
            short = copy(f"cut-{cut}")
            os.truncate(short / written.name, cut)
            yield short
        gone = copy("never-made")
        (gone / written.name).unlink()
        yield gone
    if renamed and not named:
        back = copy("not-renamed")
        (back / new.name).rename(back / unfinished.name)
        yield back
    if "unlink" in calls and not old.exists():
        both = copy("not-removed")
        shutil.copy(folder.with_name("whole") / old.name, both / old.name)
        yield both


async def test_a_rolled_log_holds_what_was_carried_and_what_came_after(tmp_path: Path) -> None:
    folder = await made(tmp_path / "wal")
    log, _replay = await Log.open(folder)
    log.roll(CARRY)
    log.append([LATE])
    await log.sync()
    log.append([b"more"])
    await log.close()
    assert await replayed(folder) == [*CARRY, LATE, b"more"]
    assert [path.name for path in folder.iterdir()] == [segment_name(2)]


async def test_a_roll_that_was_not_synced_never_was(tmp_path: Path) -> None:
    folder = await made(tmp_path / "wal")
    log, _replay = await Log.open(folder)
    log.roll(CARRY)
    log.append([LATE])
    await log.close()
    assert await replayed(folder) == OLD
    assert [path.name for path in folder.iterdir()] == [segment_name(1)]


async def test_a_log_goes_on_while_the_next_one_is_written(tmp_path: Path) -> None:
    folder = await made(tmp_path / "wal")
    log, _replay = await Log.open(folder)
    log.begin_roll()
    log.carry(CARRY[:1])
    log.append([LATE])
    await log.sync()
    assert [path.name for path in finished(folder)] == [segment_name(1)]
    log.carry(CARRY[1:])
    log.end_roll()
    log.append([b"more"])
    await log.sync()
    await log.close()
    assert await replayed(folder) == [*CARRY, LATE, b"more"]
    assert [path.name for path in folder.iterdir()] == [segment_name(2)]


async def test_a_roll_that_never_ends_costs_nothing_that_was_synced(tmp_path: Path) -> None:
    folder = await made(tmp_path / "wal")
    log, _replay = await Log.open(folder)
    log.begin_roll()
    log.carry(CARRY)
    log.append([LATE])
    await log.sync()
    await log.close()
    assert await replayed(folder) == [*OLD, LATE]


async def test_a_roll_takes_the_place_of_one_that_has_not_ended(tmp_path: Path) -> None:
    folder = await made(tmp_path / "wal")
    log, _replay = await Log.open(folder)
    log.begin_roll()
    log.carry([b"never"])
    log.append([LATE])
    log.begin_roll()
    log.carry(CARRY)
    log.append([b"more"])
    log.end_roll()
    await log.sync()
    await log.close()
    assert await replayed(folder) == [*CARRY, b"more"]


def finished(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ".log")


async def test_an_archive_keeps_every_segment_and_replays_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "wal"
    log, _replay = await Log.open(folder, archive=True)
    for number in range(3):
        log.append([bytes([number])])
        log.roll([b"carry %d" % number])
    await log.sync()
    await log.close()
    assert await replayed(folder) == [b"carry 2"]
    assert sorted(path.name for path in folder.iterdir()) == [segment_name(n) for n in (1, 2, 3, 4)]
    for number in range(3):
        whole = (folder / segment_name(number + 1)).read_bytes()
        assert whole.endswith(bytes([number]))


async def test_a_log_that_is_no_archive_any_more_drops_the_old_at_its_next_roll(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "wal"
    log, _replay = await Log.open(folder, archive=True)
    log.roll([b"second"])
    await log.sync()
    await log.close()
    log, replay = await Log.open(folder)
    assert replay.records == [b"second"]
    assert len(list(folder.iterdir())) == 2
    log.roll([b"third"])
    await log.sync()
    await log.close()
    assert [path.name for path in folder.iterdir()] == [segment_name(3)]


@pytest.mark.parametrize("mode", ["prune", "archive"])
async def test_a_crash_at_any_call_leaves_the_old_log_or_the_new_one(
    tmp_path: Path, mode: str
) -> None:
    whole = folder = await made(tmp_path / "whole")
    new, outcomes = [*CARRY, LATE], list[bool]()
    syncs = {"prune": 1, "archive": 2}[mode]  # an archive syncs the old segment first
    for calls in range(100):
        folder = tmp_path / f"crash-{calls}"
        shutil.copytree(whole, folder)
        seen = roll_and_die(folder, calls, mode)
        if seen is None:
            break
        assert len(seen) == calls
        for states in [*without_power(folder, seen, syncs), folder]:
            found = await replayed(states)
            assert found in (OLD, new), seen
            if "rename" not in seen:
                assert found == OLD, seen
            if "fsync" in seen:
                assert found == new, seen
        outcomes.append("rename" in seen)
    assert outcomes.count(False) >= 4  # opening, writing and syncing were interrupted
    assert outcomes.count(True) >= 2  # and naming, and what comes after
    assert await replayed(folder) == new


async def test_a_full_disk_in_the_middle_of_a_roll_leaves_the_old_log(tmp_path: Path) -> None:
    folder = await made(tmp_path / "wal")
    log, _replay = await Log.open(folder)
    with files_limited_to(1 << 20), pytest.raises(Unavailable, match="cannot write the log"):
        log.roll(CARRY)
    with pytest.raises(Unavailable, match="takes nothing more"):
        log.append([b"late"])
    with pytest.raises(Unavailable, match="takes nothing more"):
        await log.sync()
    await log.close()
    assert await replayed(folder) == OLD


async def test_a_folder_that_cannot_take_a_new_name_ends_the_log(tmp_path: Path) -> None:
    folder = await made(tmp_path / "wal")
    log, _replay = await Log.open(folder)
    (folder / segment_name(2)).mkdir()
    (folder / segment_name(2) / "in the way").touch()
    log.roll(CARRY)
    with pytest.raises(Unavailable, match="cannot write the log"):
        await log.sync()
    with pytest.raises(Unavailable, match="takes nothing more"):
        log.append([b"late"])
    await log.close()


async def test_other_files_in_the_folder_are_let_be(tmp_path: Path) -> None:
    folder = await made(tmp_path / "wal")
    (folder / "notes.txt").write_text("mine")
    log, _replay = await Log.open(folder)
    log.roll([b"next"])
    await log.sync()
    await log.close()
    assert (folder / "notes.txt").read_text() == "mine"


async def test_rot_in_the_carried_records_stops_the_start(tmp_path: Path) -> None:
    folder = await made(tmp_path / "wal")
    log, _replay = await Log.open(folder)
    log.roll(CARRY)
    await log.sync()
    await log.close()
    path = folder / segment_name(2)
    rotten = bytearray(path.read_bytes())
    rotten[HEAD_BYTES] ^= 1
    path.write_bytes(rotten)
    with pytest.raises(Unavailable, match="is damaged at byte 0"):
        await Log.open(folder)
