"""The log on a real disk: replay, torn tails, rot and full disks."""

import os
import sys
from pathlib import Path
from typing import Final

import pytest
import trio

from dpin.base.errors import Unavailable
from dpin.storage.frames import Record, encode_record, segment_name
from dpin.storage.log import Log
from tests.support.files import files_limited_to

BODIES: Final = [b"first", b"", b"third" * 1000]


def first(folder: Path) -> Path:
    """The only segment of a log that has never rolled."""
    return folder / segment_name(1)


async def replayed(path: Path) -> tuple[list[bytes], int]:
    log, replay = await Log.open(path)
    await log.close()
    return replay.records, replay.dropped_bytes


async def write(path: Path, bodies: list[bytes]) -> None:
    log, _replay = await Log.open(path)
    log.append(bodies)
    await log.sync()
    await log.close()


async def test_a_new_log_is_empty(tmp_path: Path) -> None:
    assert await replayed(tmp_path / "wal") == ([], 0)


async def test_what_was_appended_is_replayed_in_order(tmp_path: Path) -> None:
    await write(tmp_path / "wal", BODIES)
    await write(tmp_path / "wal", [b"fourth"])
    assert await replayed(tmp_path / "wal") == ([*BODIES, b"fourth"], 0)


async def test_a_killed_process_loses_nothing_that_it_wrote(tmp_path: Path) -> None:
    log, _replay = await Log.open(tmp_path / "wal")
    log.append(BODIES)
    assert await replayed(tmp_path / "wal") == (BODIES, 0)
    await log.close()


@pytest.mark.parametrize("cut", [1, 8, 4_000])
async def test_a_torn_tail_is_cut_off_and_counted(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "wal"
    await write(path, BODIES)
    os.truncate(first(path), first(path).stat().st_size - cut)
    left = first(path).stat().st_size - len(encode_record(Record(1, b"first"), 0)) - 9
    assert await replayed(path) == (BODIES[:2], left)
    assert await replayed(path) == (BODIES[:2], 0)


async def test_a_log_goes_on_after_its_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    await write(path, BODIES)
    os.truncate(first(path), first(path).stat().st_size - 1)
    await write(path, [b"again"])
    assert await replayed(path) == ([*BODIES[:2], b"again"], 0)


async def test_rot_before_good_records_stops_the_start_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    await write(path, BODIES)
    rotten = bytearray(first(path).read_bytes())
    rotten[10] ^= 1
    first(path).write_bytes(rotten)
    with pytest.raises(Unavailable, match="damaged at byte 0"):
        await Log.open(path)
    assert first(path).read_bytes() == rotten


async def test_a_kind_of_record_from_the_future_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    path.mkdir()
    first(path).write_bytes(encode_record(Record(9, b"?"), 0))
    with pytest.raises(Unavailable, match="use a newer dpin"):
        await Log.open(path)


async def test_a_log_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot open the log"):
        await Log.open(tmp_path / "missing" / "wal")


async def test_a_full_disk_ends_the_log_and_keeps_what_was_whole(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    log, _replay = await Log.open(path)
    with files_limited_to(4096):
        log.append([b"kept"])
        await log.sync()
        with pytest.raises(Unavailable, match="cannot write the log"):
            log.append([bytes(5000)])
    # There is room again, but nobody knows what lies at the end.
    with pytest.raises(Unavailable, match="takes nothing more"):
        log.append([b"late"])
    with pytest.raises(Unavailable, match="takes nothing more"):
        await log.sync()
    await log.close()
    assert first(path).stat().st_size == 4096
    assert await replayed(path) == ([b"kept"], 4096 - 9 - len(b"kept"))


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
async def test_a_device_without_room_ends_the_log() -> None:
    log = Log(os.open("/dev/full", os.O_WRONLY), Path("/dev/full"), 0)
    with pytest.raises(Unavailable, match="No space left"):
        log.append([b"x"])
    with pytest.raises(Unavailable, match="takes nothing more: No space left"):
        log.append([b"x"])
    await log.close()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux syncs no character device")
async def test_a_failed_sync_is_never_tried_again() -> None:
    log = Log(os.open("/dev/null", os.O_WRONLY), Path("/dev/null"), 0)
    log.append([b"x"])
    with pytest.raises(Unavailable, match="cannot write the log") as first:
        await log.sync()
    with pytest.raises(Unavailable, match="takes nothing more") as second:
        await log.sync()
    assert second.value.__cause__ is first.value
    with pytest.raises(Unavailable, match="takes nothing more"):
        log.append([b"x"])
    await log.close()


async def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    log, _replay = await Log.open(tmp_path / "wal")
    await log.close()
    await log.close()
    with pytest.raises(Unavailable, match="closed"):
        log.append([b"x"])


async def test_records_may_be_appended_while_others_are_synced(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    log, _replay = await Log.open(path)
    async with trio.open_nursery() as nursery:
        for number in range(10):
            log.append([bytes([number])])
            nursery.start_soon(log.sync)
            await trio.lowlevel.checkpoint()
    await log.close()
    assert await replayed(path) == ([bytes([number]) for number in range(10)], 0)


async def test_other_work_on_the_disk_never_keeps_a_sync_waiting(tmp_path: Path) -> None:
    log, _replay = await Log.open(tmp_path / "wal")
    threads = trio.to_thread.current_default_thread_limiter()
    others = [object() for _ in range(int(threads.total_tokens))]
    for other in others:
        threads.acquire_on_behalf_of_nowait(other)
    try:
        log.append(BODIES)
        with trio.fail_after(100):
            await log.sync()
    finally:
        for other in others:
            threads.release_on_behalf_of(other)
    await log.close()
    assert await replayed(tmp_path / "wal") == (BODIES, 0)
