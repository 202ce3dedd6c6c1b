"""Gossip between thirty nodes in ten processes, ours beside py-libp2p as it comes.

    python -m benchmarks.gossip [--short]

Each node is connected to eight others, over noise and yamux on loopback; one after the other they
announce 500 bytes, twice a second in all. Both sides have the same lines, degree (6), heartbeat
(1 s) and messages. py-libp2p as it comes: its host, Pubsub and GossipSub with signatures, without
the parts that lose messages at this rate (its spam protection and its adaptation); ours: what a
node of dpin has. Every announcement must reach every node. CPU time is that of the ten processes
while messages come, idle work included, by deliveries; the sides take turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import trio
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from benchmarks.local import load, quantile, show
from benchmarks.stock import seed, stock_host
from dpin.net.host import HostOptions, open_host
from dpin.net.network import Gossip

SIDES: Final = ("as it comes", "ours")
TOPIC: Final = "benchmark"
BYTES: Final = 500
PER_SECOND: Final = 2.0
STEPS: Final = (1, 2, 5, 11)  # node n dials n + each of these: eight lines a node
SETTLE_SECONDS: Final = 8.0
DRAIN_SECONDS: Final = 5.0
P99_GOAL: Final = 0.5
CPU_GOAL: Final = 0.5


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    processes: int = 10
    hosts: int = 3  # in each
    messages: int = 60
    turns: int = 2

    @property
    def nodes(self) -> int:
        """All together."""
        return self.processes * self.hosts


FULL: Final = Size()
SHORT: Final = Size(processes=3, hosts=2, messages=8, turns=1)


# --- one process of three nodes ---

Say = Callable[[bytes], Awaitable[None]]


@dataclass
class Node:
    """One node, of either side."""

    address: str
    dial: Callable[[str], Awaitable[object]]
    announce: Say


@dataclass
class Heard:
    """When what came, in seconds after it was said."""

    delays: list[float] = field(default_factory=list)
    twice: int = 0
    _known: set[tuple[int, bytes]] = field(default_factory=set)

    def take(self, node: int, data: bytes) -> None:
        """One announcement has come to a node."""
        key = (node, data[:8])
        self.twice += key in self._known
        self._known.add(key)
        self.delays.append(time.monotonic() - int.from_bytes(data[8:16]) / 1e9)


async def ours(stack: AsyncExitStack, number: int, heard: Heard) -> Node:
    """A host of dpin."""
    host = await stack.enter_async_context(open_host(HostOptions(seed(number))))
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)

    async def listen() -> None:
        while True:
            event = await host.events.receive()
            if isinstance(event, Gossip):
                heard.take(number, event.payload)

    nursery.start_soon(listen)
    await host.subscribe(TOPIC)
    return Node(host.addresses[0], host.dial, partial(host.publish, TOPIC))


async def as_it_comes(stack: AsyncExitStack, number: int, heard: Heard) -> Node:
    """py-libp2p and nothing else."""
    host = stock_host(number)
    router = GossipSub(
        protocols=[PROTOCOL_ID_V11],
        degree=6,
        degree_low=4,
        degree_high=12,
        heartbeat_interval=1,
        spam_protection_enabled=False,
        adaptive_gossip_enabled=False,
    )
    pubsub = Pubsub(host, router, strict_signing=True)
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    await stack.enter_async_context(host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]))
    for service in (pubsub, router):
        await stack.enter_async_context(background_trio_service(service))
    await pubsub.wait_until_ready()
    subscription = await pubsub.subscribe(TOPIC)
    me = host.get_id().to_bytes()

    async def listen() -> None:
        while True:
            message = await subscription.get()
            if message.from_id != me:
                heard.take(number, message.data)

    async def dial(address: str) -> None:
        await host.connect(info_from_p2p_addr(Multiaddr(address)))

    nursery.start_soon(listen)
    address = f"{host.get_transport_addrs()[0]}/p2p/{host.get_id()}"
    return Node(address, dial, partial(pubsub.publish, TOPIC))


MADE_BY: Final = {"ours": ours, "as it comes": as_it_comes}


async def child(side: str, first: int, hosts: int) -> None:
    """Be some of the nodes; one command a line, one line of answer to each."""
    heard = Heard()
    async with trio.open_nursery() as nursery:
        nodes: list[Node] = []
        for number in range(first, first + hosts):
            opened = trio.Event()
            # A task for each: hosts of libp2p cannot be left in any other order.
            nursery.start_soon(_live, side, number, heard, nodes, opened)
            await opened.wait()
        _answer([node.address for node in nodes])
        await _obey(nodes, heard)
        nursery.cancel_scope.cancel()


async def _live(
    side: str, number: int, heard: Heard, nodes: list[Node], opened: trio.Event
) -> None:
    async with AsyncExitStack() as stack:
        nodes.append(await MADE_BY[side](stack, number, heard))
        opened.set()
        await trio.sleep_forever()


async def _obey(nodes: Sequence[Node], heard: Heard) -> None:
    while True:
        command = json.loads(await trio.to_thread.run_sync(sys.stdin.readline))
        match command:
            case ["dial", int(which), list(addresses)]:
                for address in addresses:
                    await nodes[which].dial(str(address))
                _answer("dialled")
            case ["say", int(which), int(number)]:
                said = time.monotonic_ns().to_bytes(8)
                await nodes[which].announce((number.to_bytes(8) + said).ljust(BYTES, b"\0"))
                _answer("said")
            case ["cpu"]:
                _answer(time.process_time())
            case _:
                _answer({"delays": heard.delays, "twice": heard.twice})
                return


def _answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


# --- all of them ---


class Process:
    """One child."""

    def __init__(self, side: str, first: int, hosts: int) -> None:
        words = [sys.executable, "-m", "benchmarks.gossip", "--side", side]
        self._process = subprocess.Popen(
            [*words, "--first", str(first), "--hosts", str(hosts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # py-libp2p tells there what it retries.
            text=True,
        )

    def answer(self) -> object:
        """The next line."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline() or "null")

    def ask(self, *command: object) -> object:
        """Say a line and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """Whatever it is doing."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def children(side: str, size: Size) -> Iterator[list[Process]]:
    """All processes of one side, their nodes connected and subscribed."""
    made: list[Process] = []
    try:
        made.extend(
            Process(side, size.hosts * number, size.hosts) for number in range(size.processes)
        )
        addresses: list[str] = []
        for process in made:
            found = process.answer()
            assert isinstance(found, list), "a process ended"
            addresses += map(str, found)
        for node in range(size.nodes):
            others = {(node + step) % size.nodes for step in STEPS} - {node}
            process = made[node // size.hosts]
            process.ask("dial", node % size.hosts, [addresses[other] for other in sorted(others)])
        time.sleep(SETTLE_SECONDS)
        yield made
    finally:
        for process in made:
            process.end()


@dataclass(frozen=True)
class Result:
    """What one side did in one turn."""

    delays: list[float]
    wanted: int  # deliveries
    twice: int
    cpu_seconds: float

    @property
    def cpu_each(self) -> float:
        """Seconds of CPU for each delivery."""
        return self.cpu_seconds / self.wanted


def measured(side: str, size: Size) -> Result:
    """One turn of one side."""
    with children(side, size) as made:
        before = _cpu(made)
        begun = time.monotonic()
        for number in range(size.messages):
            time.sleep(max(0.0, begun + number / PER_SECOND - time.monotonic()))
            node = number % size.nodes
            made[node // size.hosts].ask("say", node % size.hosts, number)
        time.sleep(1 / PER_SECOND)
        cpu = _cpu(made) - before
        time.sleep(DRAIN_SECONDS)
        delays: list[float] = []
        twice = 0
        for process in made:
            told = process.ask("end")
            assert isinstance(told, dict), "a process ended"
            delays += told["delays"]
            twice += told["twice"]
    return Result(delays, size.messages * (size.nodes - 1), twice, cpu)


def _cpu(made: Sequence[Process]) -> float:
    return sum(float(str(process.ask("cpu"))) for process in made)


def told(result: Result) -> str:
    """One turn, for people."""
    share = (len(result.delays) - result.twice) / result.wanted
    waits = [1e3 * delay for delay in result.delays]
    times = f"p50 {quantile(waits, 0.5):.0f}, p99 {quantile(waits, 0.99):.0f} ms"
    return f"{share:.1%} delivered; {times}; {1e3 * result.cpu_each:.2f} ms of CPU a delivery"


def verdicts(found: dict[str, list[Result]]) -> list[str]:
    """What our side did not do that it must."""
    failed = []
    for result in found["ours"]:
        if len(result.delays) - result.twice != result.wanted:
            failed.append(f"{len(result.delays)} of {result.wanted} deliveries")
        if result.twice:
            failed.append(f"{result.twice} announcements came twice")
    return failed


def main() -> None:
    """Print the table; ends with an error where an announcement of ours was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--short", action="store_true", help="a few seconds; figures mean nothing")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--hosts", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=0, help="fewer, on a busy machine")
    options = parser.parse_args()
    if options.side:
        trio.run(child, options.side, options.first, options.hosts)
        return
    size = SHORT if options.short else FULL
    if options.processes:
        size = replace(size, processes=options.processes)
    before = load()
    found: dict[str, list[Result]] = {side: [] for side in SIDES}
    for _ in range(size.turns):
        for side in SIDES:
            found[side].append(measured(side, size))
    rows = [("load before", before)]
    for side, results in found.items():
        rows.extend((side, told(result)) for result in results)
    mean = {side: statistics.mean(r.cpu_each for r in found[side]) for side in SIDES}
    ratio = mean["ours"] / mean["as it comes"]
    rows.append(("CPU a delivery, ours / as it comes", f"{ratio:.2f}"))
    rows.append(("goals", f"100 % delivered, p99 {1e3 * P99_GOAL:.0f} ms, {CPU_GOAL} of the CPU"))
    rows.append(("load after", load()))
    show(f"{size.nodes} nodes in {size.processes} processes, {BYTES} bytes, 2/s", rows)
    if failed := verdicts(found):
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
