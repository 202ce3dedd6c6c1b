"""Connect and disconnect for thousands of times, and look whether anything is left behind.

    python -m scripts.soak --cycles 10000
    python -m scripts.soak --idle 1000

The first: one node of ours, a stranger that comes, says something and goes; every so often memory,
tasks and descriptors of the process are noted. The second: so many connected peers that say
nothing, each a real connection of libp2p over loopback from a process of its own, and what each
costs the node. Exits with 1 where something grew.
"""

import argparse
import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

import psutil
import trio

from dpin.base.errors import Unavailable
from dpin.base.machine import PeerDown, PeerUp, Received
from dpin.net.host import Host, HostOptions, open_host

MIB: Final = 1 << 20
SHARE_FOR_WARMTH: Final = 5  # the first of so many parts of the cycles is not judged
BYTES_PER_CYCLE_MAX: Final = 1_000
FREE_GROWTH: Final = 8 * MIB  # what the allocator may keep, however few the cycles
TASKS_MAX: Final = 6  # more than at the start
DESCRIPTORS_MAX: Final = 6
IDLE_BYTES_MAX: Final = 100 * MIB  # for a thousand peers
THOUSAND: Final = 1000
SECONDS_MAX: Final = 120.0
TRIES_MAX: Final = 10  # of one stranger: on a starved machine a dial or an answer takes too long


def seed(number: int) -> bytes:
    """The key of a node of the soak."""
    return number.to_bytes(32)


class Levels:
    """Memory, tasks and descriptors of this process, now."""

    def __init__(self) -> None:
        gc.collect()
        process = psutil.Process()
        self.bytes = process.memory_info().rss
        self.descriptors = process.num_fds()
        self.tasks = trio.lowlevel.current_statistics().tasks_living
        self.names = Counter(_names_of(trio.lowlevel.current_root_task()))

    def shown(self) -> str:
        """For people."""
        return f"{self.bytes / MIB:.1f} MiB, {self.tasks} tasks, {self.descriptors} descriptors"


def _names_of(task: trio.lowlevel.Task | None) -> Iterator[str]:
    """What runs below a task, by the functions that it began with."""
    if task is not None:
        yield task.name.rpartition(".")[2]
        for nursery in task.child_nurseries:
            for child in nursery.child_tasks:
                yield from _names_of(child)


async def one_cycle(node: Host, number: int, strangers: int) -> int:
    """A stranger comes, is heard, is answered, and goes; how often it came in vain.

    Raises Unavailable after TRIES_MAX times.
    """
    for in_vain in range(TRIES_MAX - 1):
        with suppress(Unavailable):
            await _visit(node, number, strangers)
            return in_vain
    await _visit(node, number, strangers)
    return TRIES_MAX - 1


async def _visit(node: Host, number: int, strangers: int) -> None:
    async with open_host(HostOptions(seed(1000 + number % strangers))) as stranger:
        await stranger.dial(node.addresses[0])
        assert stranger.send(node.node_id, b"hello")
        assert await stranger.request(node.node_id, b"question", SECONDS_MAX) == b"question"
        await _until(node, lambda event: isinstance(event, Received))
    await _until(node, lambda event: isinstance(event, PeerDown))


async def _until(node: Host, found: Callable[[object], bool]) -> None:
    with trio.fail_after(SECONDS_MAX):
        while not found(await node.events.receive()):
            pass


async def _echo(_peer: object, question: bytes) -> bytes:
    return question


async def cycles(count: int, strangers: int, say: Callable[[str], None]) -> list[str]:
    """So many cycles; what grew."""
    async with open_host(HostOptions(seed(1))) as node:
        node.serve(_echo)
        warm, in_vain = max(1, count // SHARE_FOR_WARMTH), 0
        for number in range(warm):
            in_vain += await one_cycle(node, number, strangers)
        before = Levels()
        say(f"{warm:6} cycles: {before.shown()}")
        for number in range(warm, count):
            in_vain += await one_cycle(node, number, strangers)
            if not (number + 1) % max(1, count // 10):
                say(f"{number + 1:6} cycles: {Levels().shown()}")
        if node.peers():  # Of a visit in vain.
            await _until(node, lambda _: not node.peers())
        await trio.sleep(0.5)
        after = Levels()
        say(f"at the end   : {after.shown()}; {len(node.errors)} errors, {node.dropped()} dropped")
        say(f"{in_vain} visits in vain")
        return grown(before, after, count - warm)


def grown(before: Levels, after: Levels, count: int) -> list[str]:
    """What is more than it was, by more than it may be."""
    allowed = FREE_GROWTH + BYTES_PER_CYCLE_MAX * count
    more = ", ".join(f"{many} {name}" for name, many in (after.names - before.names).items())
    return [
        *([f"{after.bytes - before.bytes} bytes"] if after.bytes - before.bytes > allowed else []),
        *([f"tasks: {more}"] if after.tasks - before.tasks > TASKS_MAX else []),
        *(["descriptors"] if after.descriptors - before.descriptors > DESCRIPTORS_MAX else []),
    ]


async def idle(count: int, say: Callable[[str], None]) -> list[str]:
    """So many peers from other processes; what each costs."""
    options = HostOptions(seed(1), connections_max=2 * count)
    async with open_host(options) as node, trio.open_nursery() as nursery:
        before = Levels()
        say(f"     0 peers: {before.shown()}")
        words = [sys.executable, "-m", "scripts.soak", "--dial", node.addresses[0]]
        nursery.start_soon(partial(trio.run_process, [*words, "--count", str(count)]))
        for _ in range(count):
            await _until(node, lambda event: isinstance(event, PeerUp))
        await trio.sleep(1)
        after = Levels()
        nursery.cancel_scope.cancel()
        each = (after.bytes - before.bytes) // count
        say(f"{count:6} peers: {after.shown()}; {each / 1024:.1f} KiB each")
        return [f"{each} bytes a peer"] if each * THOUSAND > IDLE_BYTES_MAX else []


async def crowd_of(count: int, address: str) -> None:
    """Be so many peers, until the process is ended."""
    async with trio.open_nursery() as nursery:
        for number in range(count):
            joined = trio.Event()
            nursery.start_soon(_stay, 10_000 + number, address, joined)
            await joined.wait()


async def _stay(number: int, address: str, joined: trio.Event) -> None:
    async with open_host(HostOptions(seed(number))) as peer:
        await peer.dial(address)
        joined.set()
        async for _ in peer.events:
            pass


def main() -> int:
    """Soak as asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cycles", type=int, default=0)
    parser.add_argument("--strangers", type=int, default=500, help="so many keys in turn")
    parser.add_argument("--idle", type=int, default=0, help="peers that are connected and silent")
    parser.add_argument("--dial", default="", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=0, help=argparse.SUPPRESS)
    wanted = parser.parse_args()

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    if wanted.dial:
        trio.run(crowd_of, wanted.count, wanted.dial)
        return 0
    found = trio.run(cycles, wanted.cycles, wanted.strangers, say) if wanted.cycles else []
    found += trio.run(idle, wanted.idle, say) if wanted.idle else []
    for what in found:
        say(f"GREW: {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
