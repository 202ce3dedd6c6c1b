"""Peers average a vector over sealed sockets: fp32 with the exact mean, and int8 on the wire.

    python -m benchmarks.averaging [--peers 4 8] [--millions 10] [--hivemind PYTHON] [--short]

Each peer is a process; each owns a part of the vector, takes that part from all others, and gives
all others its mean. Frames, cipher and arithmetic are dpin's (bulkframe.py, kernels.py); sockets
are plain blocking ones of this script, with a thread a peer. --hivemind names a Python that has
hivemind: the same work is done by it in turn, in the same run.
"""

import argparse
import json
import multiprocessing
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.local import load, show
from dpin.base.blob import CHUNK_BYTES
from dpin.base.crypto import digest
from dpin.compute.kernels import add_blocks, quantise_blocks
from dpin.net.bulkframe import HEADER_BYTES, TAG_BYTES, Header, Kind, Opener, Sealer, read_header

BLOCK: Final = 256
SCALE_MAX: Final = 1 << 22
VALUE_MAX: Final = 127
HALVES: Final = 0x5000  # float16 by their bits, from 0 to below 32
BUFFER_BYTES: Final = 4 << 20
HIVEMIND: Final = Path(__file__).with_name("averaging_hivemind.py")
RUNS: Final = 5
ERROR_MAX: Final = {"fp32": 1e-6, "int8": 0.01}  # relative, of the mean

Floats = NDArray[np.float32]
Buffer = NDArray[np.uint8]


class Peer(NamedTuple):
    """One other peer: its socket and both directions' seals."""

    wire: socket.socket
    sealer: Sealer
    opener: Opener


class Result(NamedTuple):
    """What one peer saw: start and end of each run, and its error against the exact mean."""

    spans: list[tuple[float, float]]
    error: float


def connected(rank: int, ports: list[int]) -> dict[int, Peer]:
    """A sealed socket to every other peer; keys would be agreed over authenticated streams."""
    listener = socket.create_server(("127.0.0.1", ports[rank]))
    peers = {}
    for other in range(len(ports)):
        if other == rank:
            continue
        wire = _dialled(ports[other], rank) if other < rank else None
        if wire is None:
            wire, _ = listener.accept()
            other_rank = wire.recv(1)[0]
        else:
            other_rank = other
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            wire.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        there, back = _key(rank, other_rank), _key(other_rank, rank)
        peers[other_rank] = Peer(wire, Sealer(there), Opener(back))
    listener.close()
    return peers


def _dialled(port: int, rank: int) -> socket.socket:
    while True:
        try:
            wire = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            wire.sendall(bytes([rank]))
            return wire


def _key(source: int, target: int) -> bytes:
    return digest("dpin/benchmark/v1", bytes([source, target]))


def send(peer: Peer, data: Buffer) -> None:
    """Seal and send, a chunk at a time."""
    frame = bytearray(HEADER_BYTES + CHUNK_BYTES + TAG_BYTES)
    for number, start in enumerate(range(0, len(data), CHUNK_BYTES)):
        part = data.data[start : start + CHUNK_BYTES]
        frame[HEADER_BYTES : HEADER_BYTES + len(part)] = part
        peer.wire.sendall(peer.sealer.seal(Header(len(part), Kind.CHUNK, number), frame))


def receive(peer: Peer, data: Buffer) -> None:
    """Fill `data` with what comes, opened."""
    head = bytearray(HEADER_BYTES)
    sealed = memoryview(bytearray(CHUNK_BYTES + TAG_BYTES))
    at = 0
    while at < len(data):
        _fill(peer.wire, memoryview(head))
        header = read_header(head)
        room = sealed[: header.length + TAG_BYTES]
        _fill(peer.wire, room)
        body = peer.opener.open(peer.opener.turn(), header, room)
        data[at : at + header.length] = np.frombuffer(body, np.uint8)
        at += header.length


def _fill(wire: socket.socket, room: memoryview) -> None:
    done = 0
    while done < len(room):
        got = wire.recv_into(room[done:])
        if not got:
            raise ConnectionResetError
        done += got


def exchange(peers: dict[int, Peer], out: dict[int, Buffer], into: dict[int, Buffer]) -> None:
    """Send each peer its bytes and take those that it sends, all at once."""
    jobs = [threading.Thread(target=receive, args=(peers[at], into[at])) for at in into]
    jobs += [threading.Thread(target=send, args=(peers[at], out[at])) for at in out]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()


def bounds(count: int, world: int) -> list[int]:
    """Where parts begin and end, in whole blocks."""
    blocks = -(-count // BLOCK)
    return [min(count, blocks * part // world * BLOCK) for part in range(world + 1)]


def average_floats(rank: int, peers: dict[int, Peer], vector: Floats) -> None:
    """The mean in place, summed in the order of ranks."""
    world = len(peers) + 1
    cut = bounds(len(vector), world)
    mine = vector[cut[rank] : cut[rank + 1]]
    parts = {at: vector[cut[at] : cut[at + 1]].view(np.uint8) for at in peers}
    found = {at: np.empty(len(mine), np.float32) for at in peers}
    exchange(peers, parts, {at: part.view(np.uint8) for at, part in found.items()})
    rows = [mine if at == rank else found[at] for at in range(world)]
    total = rows[0] + rows[1]
    for row in rows[2:]:
        total += row
    np.multiply(total, np.float32(1 / world), out=mine)
    sent = mine.view(np.uint8)
    exchange(peers, dict.fromkeys(peers, sent), parts)


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def as_movement(vector: Floats, movement: NDArray[np.int64]) -> None:
    """Floats as integers of units of 2^-30."""
    for at in range(len(vector)):
        movement[at] = np.int64(np.rint(np.float64(vector[at]) * 1073741824.0))


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # It has no types.
def as_floats(
    scales: NDArray[np.uint16], units: Floats, values: NDArray[np.int8], vector: Floats
) -> None:
    """What encoded blocks say; `units` is the table of all float16."""
    for block in range(len(scales)):
        unit = units[scales[block]]
        for at in range(256 * block, min(len(values), 256 * block + 256)):
            vector[at] = values[at] * unit


class Codec:
    """int8 blocks of a part of so many numbers, as dpin writes them: scales, then values."""

    # All float16 up to 32, by their bits: as floats, and as integers of units of 2^-24.
    table: Final = np.arange(HALVES, dtype=np.uint16).view(np.float16).astype(np.float32)
    magnitudes: Final = (table.astype(np.float64) * (1 << 24)).astype(np.int64)

    def __init__(self, count: int) -> None:
        self.count = count
        self.blocks = -(-count // BLOCK)
        self.scales = np.empty(self.blocks, np.int64)

    def size(self) -> int:
        """Bytes of the encoded part."""
        return 2 * self.blocks + self.count

    def encode(self, movement: NDArray[np.int64], data: Buffer) -> None:
        """A movement into its bytes."""
        values = data[2 * self.blocks :].view(np.int8)
        quantise_blocks(movement, VALUE_MAX, SCALE_MAX, self.scales, values)
        halves = (self.scales / (1 << 24)).astype(np.float16)
        data[: 2 * self.blocks] = halves.view(np.uint8)

    def add(self, data: Buffer, total: NDArray[np.int64]) -> None:
        """What bytes say, added exactly: in whatever order, the same integers."""
        scales = self.magnitudes[data[: 2 * self.blocks].view(np.uint16)]
        add_blocks(scales, data[2 * self.blocks :].view(np.int8), 1, total)

    def floats(self, data: Buffer, vector: Floats) -> None:
        """What bytes say."""
        scales = data[: 2 * self.blocks].view(np.uint16)
        as_floats(scales, self.table, data[2 * self.blocks :].view(np.int8), vector)


def average_blocks(rank: int, peers: dict[int, Peer], vector: Floats) -> None:
    """The mean in place, in 8 bits on the wire; summed as integers."""
    world = len(peers) + 1
    cut = bounds(len(vector), world)
    parts = [vector[cut[at] : cut[at + 1]] for at in range(world)]
    codecs = [Codec(len(part)) for part in parts]
    movement = np.empty(max(len(part) for part in parts), np.int64)
    out = {}
    for at in peers:
        as_movement(parts[at], movement)
        out[at] = np.empty(codecs[at].size(), np.uint8)
        codecs[at].encode(movement[: len(parts[at])], out[at])
    own = codecs[rank]
    into = {at: np.empty(own.size(), np.uint8) for at in peers}
    exchange(peers, out, into)
    total = movement[: len(parts[rank])]
    as_movement(parts[rank], total)
    for data in into.values():
        own.add(data, total)
    total //= world
    sent = np.empty(own.size(), np.uint8)
    own.encode(total, sent)
    exchange(peers, dict.fromkeys(peers, sent), out)
    own.floats(sent, parts[rank])
    for at in peers:
        codecs[at].floats(out[at], parts[at])


WAYS: Final[dict[str, Callable[[int, dict[int, Peer], Floats], None]]] = {
    "fp32": average_floats,
    "int8": average_blocks,
}


def drawn(way: str, rank: int, count: int) -> Floats:
    """What a peer starts with: small integers where the mean must come out exactly."""
    dice = np.random.default_rng(rank)
    if way == "fp32":
        return dice.integers(-1000, 1000, count).astype(np.float32)
    return dice.standard_normal(count, np.float32) * np.float32(0.01)


class Order(NamedTuple):
    """What all peers are to do."""

    way: str
    numbers: int
    ports: list[int]


def work(rank: int, order: Order, gate: Barrier, found: "Queue[Result]") -> None:
    """One peer's process."""
    way, count, ports = order
    peers = connected(rank, ports)
    first = drawn(way, rank, count)
    spans = []
    vector = first
    for _ in range(RUNS + 1):
        vector = first.copy()
        gate.wait()
        began = time.perf_counter()
        WAYS[way](rank, peers, vector)
        spans.append((began, time.perf_counter()))
    sums = sum(drawn(way, at, count).astype(np.float64) for at in range(len(ports)))
    exact = np.asarray(sums) / len(ports)
    error = float(np.linalg.norm(vector - exact) / np.linalg.norm(exact))
    found.put(Result(spans[1:], error))


def averaged(way: str, world: int, count: int) -> tuple[list[float], float]:
    """Seconds of each run, first start to last end; the largest error."""
    context = multiprocessing.get_context("spawn")
    gate, found = context.Barrier(world), context.Queue()
    order = Order(way, count, _free_ports(world))
    processes = [
        context.Process(target=work, args=(rank, order, gate, found)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    results = [found.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    times = [
        max(result.spans[run][1] for result in results)
        - min(result.spans[run][0] for result in results)
        for run in range(RUNS)
    ]
    return times, max(result.error for result in results)


def _free_ports(world: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(world)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def hivemind(python: str, way: str, world: int, millions: int) -> tuple[list[float], float]:
    """The same by hivemind: its all-reduce alone, without its match-making."""
    name = {"fp32": "none", "int8": "uniform8"}[way]
    done = subprocess.run(
        [python, str(HIVEMIND), name, str(world), str(millions), str(RUNS)],
        capture_output=True,
        text=True,
        check=True,
        timeout=580,
    )
    times, error = json.loads(done.stdout.splitlines()[-1])
    return times, error


def compared(way: str, world: int, count: int, python: str) -> str:
    """One row of the table; ends the script where the mean is wrong."""
    times, error = averaged(way, world, count)
    assert error <= ERROR_MAX[way], f"the mean is off by {error}"
    middle = statistics.median(times)
    text = f"{middle:.3f} s ({min(times):.3f} to {max(times):.3f}), error {error:.2g}"
    if python:
        theirs, off = hivemind(python, way, world, count // 1_000_000)
        ratio = statistics.median(theirs) / middle
        text += f"; hivemind {statistics.median(theirs):.3f} s, error {off:.2g}: "
        text += f"{ratio:.1f} times as long"
    return text


def main() -> None:
    """Average, compare, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--millions", type=int, default=10)
    parser.add_argument("--hivemind", default="", help="a Python that has hivemind")
    parser.add_argument("--short", action="store_true", help="two peers, few numbers, for tests")
    options = parser.parse_args()
    worlds = [2] if options.short else options.peers
    count = 100_003 if options.short else options.millions * 1_000_000
    rows = [("load before", load())]
    rows += [
        (f"{world} peers, {way}", compared(way, world, count, options.hivemind))
        for world in worlds
        for way in WAYS
    ]
    show(f"Averaging {count:,} numbers, sealed", rows)


if __name__ == "__main__":
    main()
