"""A thread for the disk: one job after the other, each waited for, none left midway."""

import threading
import time

import pytest
import trio

from dpin.storage.syncing import DiskThread


async def test_jobs_are_done_in_order_by_one_other_thread() -> None:
    disk, done = DiskThread(), list[tuple[int, threading.Thread]]()
    async with trio.open_nursery() as nursery:
        for number in range(20):
            job = lambda number=number: done.append((number, threading.current_thread()))  # noqa: E731
            nursery.start_soon(disk.run, job)
            await trio.lowlevel.checkpoint()
    assert sorted(number for number, _ in done) == [number for number, _ in done]
    [thread] = {thread for _, thread in done}
    assert thread is not threading.current_thread()
    disk.close()
    thread.join(timeout=60)
    assert not thread.is_alive()


async def test_what_a_job_raises_is_raised_where_it_is_waited_for_and_the_next_one_runs() -> None:
    disk, done = DiskThread(), list[int]()

    def broken() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await disk.run(broken)
    await disk.run(lambda: done.append(1))
    assert done == [1]
    disk.close()


async def test_whoever_is_cancelled_waits_until_its_job_is_done() -> None:
    """Else its file could be closed, and its number used again, under a sync."""
    disk, done = DiskThread(), list[int]()

    def slow() -> None:
        time.sleep(0.05)
        done.append(1)

    with trio.CancelScope() as scope:
        scope.cancel()
        await disk.run(slow)
    assert done == [1]
    disk.close()
