"""Messages take fewer turns of the loop, and arrive as they did."""

from itertools import pairwise

import trio
import trio.testing
from libp2p.io.trio import TrioTCPStream
from typing_extensions import override

from dpin.base.machine import Received
from dpin.net import swift
from dpin.net.swift import READ_AHEAD, SERVED_MAX, QuickLock
from tests.support.hosts import next_of, two_hosts


class Turns(trio.abc.Instrument):
    """Counts the turns that tasks have had."""

    def __init__(self) -> None:
        self.count = 0

    @override
    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.count += 1


async def turns_of_a_message() -> float:
    """How many turns sender and receiver take for one small message, on the average."""
    turns, number = Turns(), 150
    async with two_hosts() as (one, two):
        trio.lowlevel.add_instrument(turns)
        for _ in range(number):
            assert one.send(two.node_id, bytes(500))
            assert (await next_of(two, Received)).payload == bytes(500)
        trio.lowlevel.remove_instrument(turns)
    return turns.count / number


async def test_a_small_message_takes_few_turns_of_the_loop() -> None:
    """Libp2p as it comes takes 22; left are who writes, who reads the socket, who waits here."""
    assert await turns_of_a_message() < 8


async def test_what_is_larger_than_any_window_arrives_whole_beside_small_ones() -> None:
    async with two_hosts() as (one, two):
        sizes = [1, READ_AHEAD - 1, READ_AHEAD, 900_000, 3, 300_000, 0x10000 - 13, 2]
        for size in sizes:
            assert one.send(two.node_id, bytes([size % 251]) * size)
        for size in sizes:
            assert (await next_of(two, Received)).payload == bytes([size % 251]) * size


async def test_nothing_overtakes_what_a_reader_has_in_hand() -> None:
    """Small messages go straight to the node, unless something is still on its way there."""
    async with two_hosts() as (one, two):
        sizes = [3 if number % 5 else 100_000 for number in range(60)]
        for number, size in enumerate(sizes):
            assert one.send(two.node_id, bytes([number]) * size)
            if number % 3 == 0:
                await trio.sleep(0.001)
        for number, size in enumerate(sizes):
            assert (await next_of(two, Received)).payload == bytes([number]) * size


async def test_reads_of_any_size_give_all_bytes_in_order() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    swift.read_ahead()
    stream, sent = TrioTCPStream(ours), bytes(range(256)) * 40
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, sent)
        found = await stream.read(0)
        for size in (2, 1_000, 1, None, 7):
            if len(found) < len(sent):
                found += await stream.read(size)
    assert found == sent[: len(found)]
    assert len(found) == len(sent)


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    swift.read_ahead()
    stream = TrioTCPStream(ours)
    with trio.move_on_after(0.01):
        await stream.read(4)
    await theirs.send_all(b"abcdef")
    assert await stream.read(4) == b"abcd"
    assert await stream.read(4) == b"ef"


async def test_many_small_reads_let_others_have_their_turn() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    swift.read_ahead()
    stream, marks = TrioTCPStream(ours), [0]
    await theirs.send_all(bytes(8 * SERVED_MAX))

    async def other() -> None:
        while True:
            marks.append(reads)
            await trio.lowlevel.checkpoint()

    reads = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(8 * SERVED_MAX):
            await stream.read(1)
            reads += 1
        nursery.cancel_scope.cancel()
    assert max(later - earlier for earlier, later in pairwise(marks)) <= 2 * SERVED_MAX + 2


async def test_a_quick_lock_lets_one_in_at_a_time_and_in_turn() -> None:
    lock, order = QuickLock(), list[int]()

    async def use(number: int) -> None:
        async with lock:
            order.append(number)
            await trio.lowlevel.checkpoint()
            assert order[-1] == number

    async with trio.open_nursery() as nursery:
        await lock.acquire()
        for number in range(4):
            nursery.start_soon(use, number)
            await trio.testing.wait_all_tasks_blocked()
        lock.release()
    assert order == [0, 1, 2, 3]
    assert not lock.locked()
