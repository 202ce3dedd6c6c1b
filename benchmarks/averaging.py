"""Peers average a vector over sealed sockets: fp32 with the exact mean, and int8 on the wire.

    python -m benchmarks.averaging [--peers 4 8] [--millions 10] [--hivemind PYTHON] [--short]

Each peer is a process; each owns a part of the vector, takes that part from all others, and gives
all others its mean. Frames, cipher and arithmetic are dpin's (bulkframe.py, kernels.py by way of
averaging_loops.py); sockets are plain blocking ones of this script (averaging_wire.py), with one
thread a direction. --hivemind names a Python that has hivemind: the same work is done by it in
turn, in the same run.
"""

import argparse
import json
import multiprocessing
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.averaging_loops import (
    SCALE_MAX,
    VALUE_MAX,
    floats_of,
    merge_blocks,
    quantise_floats,
)
from benchmarks.averaging_wire import (
    PIECE_BYTES,
    Buffer,
    Peer,
    after,
    before,
    beside,
    connected,
    pieces,
    receive,
    receive_piece,
    send,
    send_piece,
)
from benchmarks.local import load, show
from dpin.compute.kernels import quantise_blocks

BLOCK: Final = 256
HALVES: Final = 0x5000  # float16 by their bits, from 0 to below 32
HIVEMIND: Final = Path(__file__).with_name("averaging_hivemind.py")
RUNS: Final = 5
ERROR_MAX: Final = {"fp32": 1e-6, "int8": 0.01}  # relative, of the mean

Floats = NDArray[np.float32]


class Result(NamedTuple):
    """What one peer saw: start and end of each run, its error, CPU seconds a run."""

    spans: list[tuple[float, float]]
    error: float  # against the exact mean, relative
    cpu: float


class Figures(NamedTuple):
    """Seconds of each run, the largest error, CPU seconds of all peers a run."""

    times: list[float]
    error: float
    cpu: float


def exchange(
    rank: int, peers: dict[int, Peer], made: Callable[[int], Buffer], into: dict[int, Buffer]
) -> None:
    """Send each peer what is made for it and take what it sends."""
    world = len(peers) + 1

    def give() -> None:
        for at in after(rank, world):
            send(peers[at], made(at))

    def take() -> None:
        for at in before(rank, world):
            receive(peers[at], into[at])

    beside(give, take)


def bounds(count: int, world: int) -> list[int]:
    """Where parts begin and end, in whole blocks."""
    blocks = -(-count // BLOCK)
    return [min(count, blocks * part // world * BLOCK) for part in range(world + 1)]


class Codec:
    """int8 blocks of a part of so many numbers, as dpin writes them: scales, then values."""

    # All float16 up to 32, by their bits: as floats, and as integers of units of 2^-30.
    table: Final = np.arange(HALVES, dtype=np.uint16).view(np.float16).astype(np.float32)
    units: Final = table.astype(np.float64) * (1 << 30)

    def __init__(self, count: int) -> None:
        self.count = count
        self.blocks = -(-count // BLOCK)
        self.scales = np.empty(self.blocks, np.int64)

    def size(self) -> int:
        """Bytes of the encoded part."""
        return 2 * self.blocks + self.count

    def encode(self, vector: Floats, data: Buffer) -> None:
        """Floats into their bytes."""
        quantise_floats(vector, self.scales, self.values(data))
        self._write_scales(data)

    def merge(self, own: Floats, others: Buffer, data: Buffer) -> None:
        """The mean of one's own floats and of the (W - 1, size) bytes of others, into bytes.

        Sums are exact: in whatever order, the same bytes.
        """
        heads = np.ascontiguousarray(others[:, : 2 * self.blocks]).view(np.uint16)
        rows = others[:, 2 * self.blocks :].view(np.int8)
        merge_blocks(own, heads, rows, self.units, (self.scales, self.values(data)))
        self._write_scales(data)

    def floats(self, data: Buffer, vector: Floats) -> None:
        """What bytes say."""
        floats_of(self.heads(data), self.table, self.values(data), vector)

    def heads(self, data: Buffer) -> NDArray[np.uint16]:
        """Its scales, as float16 by their bits."""
        return data[: 2 * self.blocks].view(np.uint16)

    def values(self, data: Buffer) -> NDArray[np.int8]:
        """Its values."""
        return data[2 * self.blocks :].view(np.int8)

    def _write_scales(self, data: Buffer) -> None:
        halves = (self.scales / (1 << 24)).astype(np.float16)
        data[: 2 * self.blocks] = halves.view(np.uint8)


def check_codec(vector: Floats) -> None:
    """The loops write the bytes that a node writes."""
    codec = Codec(len(vector))
    data = np.empty(codec.size(), np.uint8)
    codec.encode(vector, data)
    movement = np.rint(vector.astype(np.float64) * (1 << 30)).astype(np.int64)
    scales, values = np.empty_like(codec.scales), np.empty(len(vector), np.int8)
    quantise_blocks(movement, VALUE_MAX, SCALE_MAX, scales, values)
    assert np.array_equal(scales, codec.scales), "another scale than the node's"
    assert np.array_equal(values, codec.values(data)), "another value than the node's"


class Blocks:
    """Averages in 8 bits on the wire; its buffers last as long as the peer."""

    def __init__(self, rank: int, peers: dict[int, Peer], count: int) -> None:
        self._rank, self._peers = rank, peers
        world = len(peers) + 1
        self._cut = bounds(count, world)
        sizes = [high - low for low, high in pairwise(self._cut)]
        self._codecs = [Codec(size) for size in sizes]
        self._out = {at: np.empty(self._codecs[at].size(), np.uint8) for at in peers}
        self._others = np.empty((world - 1, self._codecs[rank].size()), np.uint8)
        self._sent = np.empty(self._codecs[rank].size(), np.uint8)

    def average(self, vector: Floats) -> None:
        """The mean in place."""
        parts = [vector[low:high] for low, high in pairwise(self._cut)]
        codecs, own = self._codecs, self._codecs[self._rank]

        def encode(at: int) -> Buffer:
            codecs[at].encode(parts[at], self._out[at])
            return self._out[at]

        rows = dict(zip(self._peers, self._others, strict=True))
        exchange(self._rank, self._peers, encode, rows)
        own.merge(parts[self._rank], self._others, self._sent)
        exchange(self._rank, self._peers, lambda _at: self._sent, self._out)
        own.floats(self._sent, parts[self._rank])
        for at in self._peers:
            codecs[at].floats(self._out[at], parts[at])


class Exact:
    """Averages float32; its buffers last as long as the peer.

    A part is summed in one order, which makes its bits: its owner's numbers, then those of the
    ranks below it, downwards and around. That is the order in which they come, so each piece is
    added while the cache has it, and nothing but one piece is kept beside the vector.
    """

    def __init__(self, rank: int, peers: dict[int, Peer], count: int) -> None:
        world = len(peers) + 1
        self._peers = peers
        self._cut = bounds(count, world)
        self._rank, self._after, self._before = rank, after(rank, world), before(rank, world)
        self._come = np.empty(PIECE_BYTES, np.uint8)

    def average(self, vector: Floats) -> None:
        """The mean in place."""
        parts = [vector[low:high] for low, high in pairwise(self._cut)]
        summed: SimpleQueue[slice] = SimpleQueue()  # pieces of one's own part that are ready
        beside(lambda: self._give(parts, summed), lambda: self._take(parts, summed))

    def _give(self, parts: list[Floats], summed: "SimpleQueue[slice]") -> None:
        for at in self._after:
            send(self._peers[at], parts[at].view(np.uint8))
        mine = parts[self._rank].view(np.uint8)
        first, *others = self._after
        for _ in pieces(len(mine)):
            send_piece(self._peers[first], mine[summed.get()])
        for at in others:
            send(self._peers[at], mine)

    def _take(self, parts: list[Floats], summed: "SimpleQueue[slice]") -> None:
        mine, share = parts[self._rank], np.float32(1 / len(parts))
        *others, last = self._before
        for at in others:
            for piece in pieces(mine.nbytes):
                self._add(at, mine, piece)
        for piece in pieces(mine.nbytes):
            total = self._add(last, mine, piece)
            total *= share
            summed.put(piece)
        for at in self._before:
            receive(self._peers[at], parts[at].view(np.uint8))

    def _add(self, at: int, mine: Floats, piece: slice) -> Floats:
        """Add the next piece of a peer's numbers to one's own, which are returned."""
        length = receive_piece(self._peers[at], self._come)
        total = mine[piece.start // 4 : piece.stop // 4]
        total += self._come[:length].view(np.float32)
        return total


WAYS: Final[dict[str, type[Exact] | type[Blocks]]] = {"fp32": Exact, "int8": Blocks}


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


def error_of(vector: Floats, order: Order) -> float:
    """How far a vector is from the mean of what all peers drew, relative."""
    world = len(order.ports)
    sums = sum(drawn(order.way, at, order.numbers).astype(np.float64) for at in range(world))
    exact = np.asarray(sums) / world
    return float(np.linalg.norm(vector - exact) / np.linalg.norm(exact))


def work(rank: int, order: Order, gate: Barrier, found: "Queue[Result]") -> None:
    """One peer's process."""
    way, count, ports = order
    first = drawn(way, rank, count)
    averager = WAYS[way](rank, connected(rank, ports), count)
    spans, spent = [], []
    vector = first
    for _ in range(RUNS + 1):
        vector = first.copy()
        gate.wait()
        began, cpu = time.perf_counter(), time.process_time()
        averager.average(vector)
        spans.append((began, time.perf_counter()))
        spent.append(time.process_time() - cpu)
    error = error_of(vector, order)
    if way == "int8":
        check_codec(first)
    found.put(Result(spans[1:], error, statistics.median(spent[1:])))


def averaged(way: str, world: int, count: int) -> Figures:
    """What it takes; seconds are from the first start to the last end."""
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
    cpu = sum(result.cpu for result in results)
    return Figures(times, max(result.error for result in results), cpu)


def _free_ports(world: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(world)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def hivemind(python: str, way: str, world: int, millions: int) -> Figures:
    """The same by hivemind: its all-reduce alone, without its match-making."""
    name = {"fp32": "none", "int8": "uniform8"}[way]
    done = subprocess.run(
        [python, str(HIVEMIND), name, str(world), str(millions), str(RUNS)],
        capture_output=True,
        text=True,
        check=True,
        timeout=580,
    )
    return Figures(*json.loads(done.stdout.splitlines()[-1]))


def said(found: Figures) -> str:
    """One side's figures."""
    middle, low, high = statistics.median(found.times), min(found.times), max(found.times)
    return (
        f"{middle:.3f} s ({low:.3f} to {high:.3f}), CPU {found.cpu:.3f} s, error {found.error:.2g}"
    )


def compared(way: str, world: int, count: int, python: str) -> tuple[str, str]:
    """One row of the table; ends the script where the mean is wrong."""
    ours = averaged(way, world, count)
    assert ours.error <= ERROR_MAX[way], f"the mean is off by {ours.error}"
    if not python:
        return said(ours), ""
    theirs = hivemind(python, way, world, count // 1_000_000)
    longer = statistics.median(theirs.times) / statistics.median(ours.times)
    more = theirs.cpu / ours.cpu
    return said(ours), f"{said(theirs)}: {longer:.1f} times as long, {more:.1f} times the CPU"


def main() -> None:
    """Average, compare, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--millions", type=int, default=10)
    parser.add_argument("--ways", nargs="*", choices=sorted(WAYS), default=list(WAYS))
    parser.add_argument("--hivemind", default="", help="a Python that has hivemind")
    parser.add_argument("--short", action="store_true", help="two peers, few numbers, for tests")
    options = parser.parse_args()
    worlds = [2] if options.short else options.peers
    count = 100_003 if options.short else options.millions * 1_000_000
    rows = [("load before", load(), "")]
    rows += [
        (f"{world} peers, {way}", *compared(way, world, count, options.hivemind))
        for world in worlds
        for way in options.ways
    ]
    show(f"Averaging {count:,} numbers, sealed", rows)


if __name__ == "__main__":
    main()
