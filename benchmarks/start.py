"""How soon a node is of use: a connection, the first useful message, and what a start costs.

    python -m benchmarks.start [--short]

Connect: two processes on loopback; from the dial to the first answer over the new connection, ours
and py-libp2p as it comes in turn, each time from a host that has dialled nobody. First useful
message: a node process is started beside a running one; from its start until the running one has
its greeting, which says that it is of the same network. Cost: CPU time of that process until then
and in the 5 s after, beside that of a process that imports libp2p and nothing else.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil
import trio
from libp2p.custom_types import TProtocol
from libp2p.host.ping import ID as PING
from libp2p.host.ping import PING_LENGTH
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from benchmarks.local import load, plain_words, quantile, show, start, stop, wait_for
from benchmarks.stock import seed, stock_host
from dpin.base.ids import NodeId
from dpin.cli.process import spawn
from dpin.cli.swarm import make_homes
from dpin.client.client import Client
from dpin.net.host import HostOptions, open_host
from dpin.node.home import read_network, write_network
from dpin.node.invite import Invite

CONNECT_GOAL_MS: Final = 30.0
MESSAGE_GOAL_SECONDS: Final = 2.0
REST_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 10.0
LISTEN: Final = Multiaddr("/ip4/127.0.0.1/tcp/0")
IMPORT: Final = "import libp2p, os; print(sum(os.times()[:2]))"


async def echo(_peer: NodeId, question: bytes) -> bytes:
    """The answer to everything."""
    await trio.lowlevel.checkpoint()
    return question


async def answer() -> None:
    """The other process: a host of each kind, until standard input ends."""
    stock = stock_host(0)
    async with open_host(HostOptions(seed(1))) as ours, stock.run([LISTEN]):
        ours.serve(echo)
        there = f"{stock.get_transport_addrs()[0]}/p2p/{stock.get_id()}"
        sys.stdout.write(f"{ours.addresses[0]} {there}\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.buffer.read)
        await stock.close()


Times = tuple[float, float]  # milliseconds from the dial: to the connection, to the first answer


async def ours_once(address: str, number: int) -> Times:
    """One connection of ours, and one question over it."""
    async with open_host(HostOptions(seed(number))) as host:
        begun = time.perf_counter()
        node = await host.dial(address)
        ready = time.perf_counter()
        if await host.request(node, b"ready?", PATIENCE_SECONDS) != b"ready?":
            raise SystemExit("another answer than the question")
        return 1e3 * (ready - begun), 1e3 * (time.perf_counter() - begun)


async def stock_once(address: str, number: int) -> Times:
    """The same of py-libp2p: a ping, which every libp2p host answers."""
    host = stock_host(number)
    there = info_from_p2p_addr(Multiaddr(address))
    async with host.run([LISTEN]):
        begun = time.perf_counter()
        await host.connect(there)
        ready = time.perf_counter()
        stream = await host.new_stream(there.peer_id, [TProtocol(PING)])
        await stream.write(bytes(PING_LENGTH))
        if await stream.read(PING_LENGTH) != bytes(PING_LENGTH):
            raise SystemExit("another answer than the question")
        took = time.perf_counter() - begun
        await host.close()
    return 1e3 * (ready - begun), 1e3 * took


async def connects(ours: str, stock: str, count: int) -> dict[str, list[Times]]:
    """Each connection; the first of either kind warms up."""
    took: dict[str, list[Times]] = {"ours": [], "as it comes": []}
    for number in range(10, 11 + count):
        took["ours"].append(await ours_once(ours, number))
        took["as it comes"].append(await stock_once(stock, number))
    return {kind: found[1:] for kind, found in took.items()}


def connected(count: int) -> dict[str, list[Times]]:
    """The connections to another process."""
    words = [sys.executable, "-m", "benchmarks.start", "--answer"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        ours, stock = other.stdout.readline().split()
        took = trio.run(connects, ours, stock, count)
        other.stdin.close()
    return took


def greeted(folder: Path) -> tuple[float, float, float]:
    """Seconds to the first useful message, CPU until then, and CPU of 5 s at rest."""
    first, second = make_homes(folder, 2)
    running = start(first, plain_words)
    try:
        with Client(first) as client:
            addresses = tuple(client.node().addresses)
            write_network(second, Invite(read_network(first).genesis, addresses))
            begun = time.monotonic()
            process = spawn(second, plain_words(second))
            try:
                wait_for("the first greeting", lambda: _greeting_of(client))
                took = time.monotonic() - begun
                return took, *_cpu_of(process.pid)
            finally:
                process.terminate()
                process.wait()
    finally:
        stop(running)


def _greeting_of(client: Client) -> bool | None:
    return True if any(link.round_trip is not None for link in client.links()) else None


def _cpu_of(pid: int) -> tuple[float, float]:
    """CPU of a process so far, and in what follows."""
    process = psutil.Process(pid)
    until = sum(process.cpu_times()[:2])
    time.sleep(REST_SECONDS)
    return until, sum(process.cpu_times()[:2]) - until


def imports() -> float:
    """CPU of a process that imports libp2p."""
    return float(subprocess.check_output([sys.executable, "-c", IMPORT], text=True))


def spread(waits: list[float]) -> str:
    """Milliseconds, for people."""
    return f"p50 {quantile(waits, 0.5):.1f}, p90 {quantile(waits, 0.9):.1f} ms"


def start_rows(turns: int) -> list[tuple[str, str, str]]:
    """What a start takes, in the middle of so many."""
    starts = []
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as folder:
            starts.append(greeted(Path(folder)))
    alone = statistics.median(imports() for _ in range(turns))
    seconds, cpu, rest = (statistics.median(column) for column in zip(*starts, strict=True))
    return [
        ("start to first useful message", f"{seconds:.2f} s", f"{MESSAGE_GOAL_SECONDS:.0f} s"),
        ("CPU of the node until then", f"{cpu:.2f} s", ""),
        ("CPU of importing libp2p alone", f"{alone:.2f} s: {alone / cpu:.0%} of it", "most"),
        ("CPU of the 5 s after", f"{rest:.2f} s", ""),
    ]


def main() -> None:
    """Measure and print; ends with an error where a connection takes as long as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--short", action="store_true", help="a few seconds; figures mean nothing")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        trio.run(answer)
        return
    before, turns = load(), 1 if options.short else 3
    took = connected(5 if options.short else 50)
    rows = [("load before", before, "")]
    for kind, times in took.items():
        ready, answered = ([pair[at] for pair in times] for at in (0, 1))
        goal = f"{CONNECT_GOAL_MS:.0f} ms" if kind == "ours" else ""
        rows.append((f"dial to connection, {kind}", spread(ready), goal))
        rows.append((f"dial to first answer, {kind}", spread(answered), ""))
    rows += [*start_rows(turns), ("load after", load(), "")]
    show("The start of a node", rows)
    if min(took["ours"]) > min(took["as it comes"]):
        raise SystemExit("a connection of ours takes longer than one of py-libp2p as it comes")


if __name__ == "__main__":
    main()
