"""B6: keeping and finding records among 16 peers, each a process; hivemind's DHT beside it.

    python -m benchmarks.dht [--hivemind VENV/bin/python] [--turns N]

One operation at a time, at peers drawn at random, first all stores and then all gets, by both in
turn, so many turns; ratios are of what was measured in the same turn. Both keep a copy at 5 others
(hivemind's default `num_replicas`, and ours) and one where it is stored. A store ends when all who
keep a copy have said so, a get when three of them have answered; every answer is compared with what
was stored. Signing and checking signatures is in our times. With `--own-counts` hivemind's five are
as it comes: where the storer is itself among the nearest five, it asks only four others.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Final

import trio

from benchmarks.local import quantile
from dpin.base.crypto import SigningKey
from dpin.base.ids import BlobId, ChainId, NodeId
from dpin.base.machine import PeerDown, PeerUp, Received, Send, Tick
from dpin.net.directory import REPLICAS, Announce, Announced, Directory, Event, Find, Found
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.records import blob_key, write_provider
from dpin.node.clock import Clock

PEERS: Final = 16
OPERATIONS: Final = 300
END_SECONDS: Final = 60.0
CHAIN: Final = ChainId(bytes(32))
HIVEMIND: Final = """
import json, os, random, sys, time
import psutil
from hivemind import DHT
from hivemind.utils import get_dht_time
peers, operations, others = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "others"
local = dict(nat_port_map=False, auto_nat=False, use_relay=False, host_maddrs=["/ip4/127.0.0.1/tcp/0"])
first = DHT(start=True, **local)
boot = [str(address) for address in first.get_visible_maddrs()]
nodes = [first] + [DHT(initial_peers=boot, start=True, **local) for _ in range(peers - 1)]
chance, expires = random.Random(1), get_dht_time() + 3600
def cpu():
    own = psutil.Process()
    times = [each.cpu_times() for each in [own, *own.children(recursive=True)]]
    return sum(each.user + each.system for each in times)
stores, gets, marks = [], [], [cpu()]
for number in range(operations):
    node, began = chance.choice(nodes), time.perf_counter()
    assert node.store(f"k{number}", b"v" * 100, expires, exclude_self=others)
    stores.append(time.perf_counter() - began)
marks.append(cpu())
for number in range(operations):
    node, began = chance.choice(nodes), time.perf_counter()
    found = node.get(f"k{number}", latest=True)
    gets.append(time.perf_counter() - began)
    assert found.value == b"v" * 100
marks.append(cpu())
print(json.dumps([stores, gets, marks]))
for node in nodes:
    node.shutdown()
"""  # noqa: E501


class Member:
    """One peer: a real host, a directory, and the commands of the benchmark."""

    def __init__(self, key: SigningKey, host: Host) -> None:
        self._key = key
        self._host = host
        self._now = Clock().now
        self._directory = Directory(key.node_id, CHAIN, lambda _: ())
        self._ended = trio.Event()
        self._outcome: Announced | Found | None = None

    async def listen(self) -> None:
        """Network events into the directory."""
        while True:
            event = await self._host.events.receive()
            if isinstance(event, PeerUp | PeerDown | Received):
                self._step(event)

    async def tick(self) -> None:
        """Time passes."""
        while True:
            await trio.sleep(1)
            self._step(Tick())

    def _step(self, event: Event) -> None:
        for effect in self._directory.step(event, self._now()):
            match effect:
                case Send(peer, body):
                    self._host.send(peer, body)
                case Announced() | Found():
                    self._outcome = effect
                    self._ended.set()
                case _:
                    pass

    async def _done(self, event: Announce | Find) -> Announced | Found:
        self._ended = trio.Event()
        self._step(event)
        await self._ended.wait()
        assert self._outcome is not None, "set before the event"
        return self._outcome

    async def obey(self, words: Sequence[str]) -> object:
        """One command; the seconds that it took, and what came of it."""
        began = trio.current_time()
        match words:
            case ["dial", address]:
                await self._host.dial(address)
                return self._key.node_id.hex(), address
            case ["store", blob]:
                record = write_provider(self._key, CHAIN, _blob(blob), self._now())
                outcome = await self._done(Announce(record))
                assert isinstance(outcome, Announced)
                return trio.current_time() - began, outcome.copies
            case ["get", blob]:
                outcome = await self._done(Find(blob_key(_blob(blob))))
                assert isinstance(outcome, Found)
                return trio.current_time() - began, [r.signer.hex() for r in outcome.records]
            case _:
                return time.process_time(), len(self._host.peers())


def _blob(text: str) -> BlobId:
    return BlobId(bytes.fromhex(text))


async def be_member(number: int) -> None:
    """Serve commands, one JSON line each, until the input ends."""
    seed = (number + 1).to_bytes(32)
    async with open_host(HostOptions(seed)) as host, trio.open_nursery() as nursery:
        member = Member(SigningKey(seed), host)
        nursery.start_soon(member.listen)
        nursery.start_soon(member.tick)
        _say([host.addresses[0], NodeId(host.node_id).hex()])
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            _say(await member.obey(json.loads(line)))
        nursery.cancel_scope.cancel()


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


Process = subprocess.Popen[str]
Rows = list[tuple[float, float, float]]


@dataclass
class Figures:
    """Seconds of each store and of each get, and of CPU in all processes: at three moments."""

    stores: list[float] = field(default_factory=list)
    gets: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def rows(self) -> Rows:
        """For stores and gets: p50 and p99, and CPU for each, in ms."""
        found: Rows = []
        for times, before, after in zip(
            (self.stores, self.gets), self.cpu, self.cpu[1:], strict=False
        ):
            each = (after - before) / len(times)
            found.append((1e3 * quantile(times, 0.5), 1e3 * quantile(times, 0.99), 1e3 * each))
        return found


def ask(process: Process, *words: str) -> tuple[object, object]:
    """One command to one peer, and its answer."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(words) + "\n")
    process.stdin.flush()
    return heard(process)


def heard(process: Process) -> tuple[object, object]:
    """The next line of a peer: two values."""
    assert process.stdout is not None
    one, other = json.loads(process.stdout.readline())
    return one, other


@contextmanager
def swarm(peers: int) -> Iterator[tuple[list[Process], list[str]]]:
    """So many processes, everybody connected to everybody; and the ids of the nodes."""
    words = [sys.executable, "-m", "benchmarks.dht", "--member"]
    members = [
        subprocess.Popen([*words, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(peers)
    ]
    try:
        told = [heard(member) for member in members]
        for number, member in enumerate(members):
            for address, _ in told[:number]:
                ask(member, "dial", str(address))
        yield members, [str(node) for _, node in told]
    finally:
        for member in members:
            assert member.stdin is not None
            member.stdin.close()
        for member in members:
            _ended(member)


def _ended(member: Process) -> None:
    """Wait for its end; on a starved machine it may be too slow to wait for."""
    try:
        member.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        member.kill()
        member.wait()


def _cpu(members: Sequence[Process]) -> float:
    seconds = 0.0
    for member in members:
        used, _ = ask(member, "cpu")
        assert isinstance(used, float)
        seconds += used
    return seconds


def ours(peers: int, operations: int) -> Figures:
    """What it took; raises AssertionError for a wrong answer."""
    chance = random.Random(1)  # noqa: S311 (no secret)
    figures = Figures()
    with swarm(peers) as (members, nodes):
        figures.cpu.append(_cpu(members))
        blobs = [chance.randbytes(32).hex() for _ in range(operations)]
        owners: list[str] = []
        for blob in blobs:
            number = chance.randrange(peers)
            took, copies = ask(members[number], "store", blob)
            assert isinstance(took, float)
            assert copies == min(REPLICAS, peers - 1), "a copy is missing"
            figures.stores.append(took)
            owners.append(nodes[number])
        figures.cpu.append(_cpu(members))
        for blob, owner in zip(blobs, owners, strict=True):
            took, found = ask(chance.choice(members), "get", blob)
            assert isinstance(took, float)
            assert found == [owner], "another answer than was stored"
            figures.gets.append(took)
        figures.cpu.append(_cpu(members))
    return figures


def hiveminds(python: str, peers: int, operations: int, *, others: bool) -> Figures:
    """The same of hivemind, in a process of its own that starts one for each peer."""
    words = [python, "-c", HIVEMIND, str(peers), str(operations), "others" if others else "own"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=560)
    return Figures(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the table; ends with an error where an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--member", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--hivemind", default="", help="a Python that has hivemind")
    parser.add_argument("--own-counts", action="store_true", help="hivemind's own copy is a fifth")
    parser.add_argument("--peers", type=int, default=PEERS)
    parser.add_argument("--operations", type=int, default=OPERATIONS)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="4 peers, 10 operations")
    options = parser.parse_args()
    if options.short:
        options.peers, options.operations = 4, 10
    if options.member >= 0:
        trio.run(be_member, options.member)
        return
    found: dict[str, list[Rows]] = {"dpin": [], "hivemind": []}
    say = sys.stdout.write
    say(f"{options.peers} peers, {options.operations} operations; ms: p50, p99, CPU of all\n")
    for _ in range(options.turns):
        found["dpin"].append(shown("dpin", ours(options.peers, options.operations)))
        if options.hivemind:
            theirs = partial(hiveminds, options.hivemind, others=not options.own_counts)
            found["hivemind"].append(shown("hivemind", theirs(options.peers, options.operations)))
    if options.hivemind:
        for at, what in enumerate(("store", "get")):
            say(f"{what}: hivemind over dpin, in the middle (least to most): ")
            say(f"p50 {ratio(found, at, 0)}, CPU {ratio(found, at, 2)}\n")


def shown(name: str, figures: Figures) -> Rows:
    """Two lines of the table."""
    for what, row in zip(("store", "get"), figures.rows(), strict=True):
        sys.stdout.write("{:10}{:7}{:9.2f}{:9.2f}{:9.2f}\n".format(name, what, *row))
    sys.stdout.flush()
    return figures.rows()


def ratio(found: Mapping[str, Sequence[Rows]], at: int, column: int) -> str:
    """Of one figure, by the turns."""
    both = zip(found["hivemind"], found["dpin"], strict=True)
    ratios = sorted(theirs[at][column] / mine[at][column] for theirs, mine in both)
    return f"{median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"


if __name__ == "__main__":
    main()
