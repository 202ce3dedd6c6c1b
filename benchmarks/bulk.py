"""B4: blobs from one node to another, beside bare AES-GCM over TCP and a stream of py-libp2p.

    python -m benchmarks.bulk [--short] [--mib N] [--folder DIR] [--hivemind PYTHON] [--large MIB]

Each side is a process of its own, all on loopback. Bare: trio's TCP, frames of 1 MiB sealed with
AES-256-GCM and opened, nothing else; once as the system has it, once with the congestion control
that the bulk plane chooses on loopback. Least: two plain blocking processes that read the file,
seal, send, receive, open and hash, and do nothing else (bulk_least.py). Noise: one stream of
py-libp2p, as nodes guard it.
Received: the same bytes over the bulk plane, every chunk checked against its digest, none kept;
the giver reads them from its store, and gave them before. Fetched: what a node does, into its store
on the folder's disk, synced at the end. Then four sources against one, and a
fetch whose process is killed half way and started again. All take turns, several times; ratios
are of what was measured in the same turn. CPU time is that of a whole process, from its first chunk
to its last; memory is above what it had when it was ready. Alone: what one thread needs for each
part of the work, in the same minutes. `--large` fetches one long blob into the store, for its
memory, and no more.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from benchmarks.bulk_alone import alone
from benchmarks.bulk_meter import Figures, Orders
from benchmarks.hivemind_rpc import P2pd, p2pd
from benchmarks.local import load, show
from dpin.base.blob import CHUNK_BYTES

MIB: Final = 1 << 20
LENGTHS: Final = {"full": 1024, "short": 8}  # MiB
NOISE_LENGTHS: Final = {"full": 64 * MIB, "short": MIB}
ROUNDS: Final = {"full": 3, "short": 1}
SOURCES: Final = {"full": 4, "short": 2}
HUNDRED: Final = 100_000_000
POLL_SECONDS: Final = 0.01
PATIENCE_SECONDS: Final = 600.0


class Side(NamedTuple):
    """A process that plays a role."""

    process: "subprocess.Popen[str]"
    ready: Figures

    def done(self) -> Figures:
        """What it says last."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        figures = _line(self.process)
        self.process.wait()
        return figures


def _line(process: "subprocess.Popen[str]") -> Figures:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a side ended before it was done")
    return msgspec.json.decode(line, type=Figures)


def begin(role: str, orders: Orders) -> "subprocess.Popen[str]":
    """Start a side."""
    module, _, rest = role.rpartition(":")
    words = [
        sys.executable,
        "-m",
        module or "benchmarks.bulk_side",
        rest,
        msgspec.json.encode(orders).decode(),
    ]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def started(role: str, orders: Orders) -> Side:
    """Start a side that says when it is ready."""
    process = begin(role, orders)
    return Side(process, _line(process))


class Pair(NamedTuple):
    """Both sides of one transfer."""

    length: int
    taker: Figures
    giver: Figures

    @property
    def rate(self) -> float:
        """MB/s, by the taker's clock."""
        return self.length / 1e6 / self.taker.seconds

    def cpu(self, side: Figures) -> float:
        """CPU seconds for 100 MB."""
        return side.cpu_seconds * HUNDRED / self.length


def bare(length: int, *, unpaced: bool) -> Pair:
    """AES-GCM over TCP."""
    taker = started("bare-take", Orders(length=length, unpaced=unpaced))
    port = int(taker.ready.address)
    giver = begin("bare-give", Orders(length=length, port=port, unpaced=unpaced))
    said = taker.done()
    return Pair(length, said, Side(giver, said).done())


def least(length: int, file: Path) -> Pair:
    """What must be done, and nothing else: file, seal, socket, open, hash."""
    taker = started("benchmarks.bulk_least:take", Orders(length=length))
    orders = Orders(length=length, file=str(file), port=int(taker.ready.address))
    giver = begin("benchmarks.bulk_least:give", orders)
    said = taker.done()
    return Pair(length, said, Side(giver, said).done())


def noise(length: int) -> Pair:
    """A stream of py-libp2p."""
    taker = started("noise-take", Orders(length=length))
    giver = begin("noise-give", Orders(length=length, addresses=[taker.ready.address]))
    said = Side(giver, taker.ready).done()
    return Pair(length, taker.done(), said)


class Bench:
    """One file, and the folders it is fetched into."""

    def __init__(self, folder: Path, length: int) -> None:
        self.folder = folder
        self.length = length
        self.file = folder / "file"
        with self.file.open("wb") as file:
            for _ in range(length // MIB):
                file.write(os.urandom(MIB))

    def giver(self, seed: int) -> Side:
        """A node that has the file."""
        orders = Orders(folder=str(self.folder / f"giver-{seed}"), file=str(self.file), seed=seed)
        return started("give", orders)

    def orders(self, givers: Sequence[Side], counter: str = "") -> Orders:
        """What the taker is to fetch, and from whom."""
        return Orders(
            folder=str(self.folder / "taker"),
            seed=99,
            addresses=[giver.ready.address for giver in givers],
            blob=givers[0].ready.blob,
            counter=counter,
        )

    def moved(self, role: str, sources: int = 1) -> Pair:
        """The whole blob, from so many sources."""
        shutil.rmtree(self.folder / "taker", ignore_errors=True)
        givers = [self.giver(seed) for seed in range(1, sources + 1)]
        taker = started(role, self.orders(givers)).done()
        gave = [giver.done() for giver in givers]
        if taker.chunks < self.length // CHUNK_BYTES:
            raise SystemExit(f"{taker.chunks} chunks came, of {self.length // CHUNK_BYTES}")
        return Pair(self.length, taker, gave[0])

    def check(self) -> None:
        """What was fetched last is what was given."""
        data = next((self.folder / "taker").glob("*.data"))
        with data.open("rb") as got, self.file.open("rb") as wanted:
            while piece := wanted.read(MIB):
                if got.read(MIB) != piece:
                    raise SystemExit("what was fetched is not what was given")

    def resumed(self) -> int:
        """Kill the taker half way; how many chunks that had come whole were fetched again."""
        shutil.rmtree(self.folder / "taker", ignore_errors=True)
        counter, chunks = self.folder / "counter", self.length // CHUNK_BYTES
        counter.write_bytes(bytes(8))
        givers = [self.giver(1)]
        orders = self.orders(givers, str(counter))
        killed = started("take", orders).process
        begun = time.monotonic()
        while int.from_bytes(counter.read_bytes()) < chunks // 2:
            if time.monotonic() - begun > PATIENCE_SECONDS:
                raise SystemExit("it did not come half way")
            time.sleep(POLL_SECONDS)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        came = int.from_bytes(counter.read_bytes())
        taker = started("take", orders)
        again = taker.done()
        for giver in givers:
            giver.done()
        self.check()
        if again.chunks + taker.ready.present < chunks:
            raise SystemExit("chunks are missing")
        return came - taker.ready.present


def row(name: str, pairs: Sequence[Pair]) -> tuple[str, str]:
    """One line of the table: the median of each figure."""
    rate = statistics.median(pair.rate for pair in pairs)
    took = statistics.median(pair.cpu(pair.taker) for pair in pairs)
    gave = statistics.median(pair.cpu(pair.giver) for pair in pairs)
    memory = max(pair.taker.peak_bytes for pair in pairs) / MIB
    cpu = f"CPU for 100 MB: receiver {took:.3f}, sender {gave:.3f} s"
    return name, f"{rate:,.0f} MB/s; {cpu}; receiver +{memory:.0f} MiB"


def ratio(over: Sequence[Pair], under: Sequence[Pair]) -> str:
    """The median of the ratios of pairs measured one after the other."""
    return f"{statistics.median(a.rate / b.rate for a, b in zip(over, under, strict=True)):.2f}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few seconds; figures mean nothing")
    parser.add_argument("--mib", type=int, help="the length of the blob")
    parser.add_argument("--folder", type=Path, help="where the stores are: the disk measured")
    parser.add_argument("--hivemind", type=Path, help="a Python that has hivemind, for its p2pd")
    parser.add_argument("--large", type=int, metavar="MIB", help="only one blob of this length")
    options = parser.parse_args()
    size = "short" if options.short else "full"
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if options.large:
            show("B4: one long blob", [row("fetched", [large(Path(name), options.large * MIB)])])
            return
        bench = Bench(Path(name), (options.mib or LENGTHS[size]) * MIB)
        show("B4: blobs from node to node", measured(bench, size, options.hivemind))


def large(folder: Path, length: int) -> Pair:
    """A long blob of zeros, from memory into the store."""
    giver = started("zeros", Orders(folder=str(folder / "giver"), length=length))
    orders = Orders(folder=str(folder / "taker"), seed=99, blob=giver.ready.blob)
    orders.addresses = [giver.ready.address]
    taker = started("take", orders).done()
    if taker.chunks != length // CHUNK_BYTES:
        raise SystemExit(f"{taker.chunks} chunks came, of {length // CHUNK_BYTES}")
    return Pair(length, taker, giver.done())


def parts_text(parts: Mapping[str, float]) -> str:
    """What each part of the work costs."""
    return ", ".join(f"{what} {seconds:.3f} s" for what, seconds in parts.items())


def cpu_ratio(over: Sequence[Pair], under: Sequence[Pair], extra: float) -> str:
    """The receivers' CPU, beside that of the others and so much more for 100 MB."""
    ratios = [a.cpu(a.taker) / (b.cpu(b.taker) + extra) for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(ratios):.2f}"


class Turn(NamedTuple):
    """Everything once, one after the other."""

    bare: Pair
    unpaced: Pair
    least: Pair
    received: Pair
    noise: Pair
    fetched: Pair
    many: Pair  # sources
    p2pd: float  # MB/s; 0: not measured


def turn(bench: Bench, size: str, peer: P2pd | None) -> Turn:
    """What is compared is measured one after the other."""
    streamed = peer.stream_rate() if peer is not None else 0.0
    plain = bare(bench.length, unpaced=False)
    unpaced = bare(bench.length, unpaced=True)
    minimum = least(bench.length, bench.file)
    received = bench.moved("receive")
    stream = noise(NOISE_LENGTHS[size])
    fetched = bench.moved("take")
    many = bench.moved("take", SOURCES[size])
    bench.check()
    return Turn(plain, unpaced, minimum, received, stream, fetched, many, streamed)


def compared(turns: Sequence[Turn], hashed: float) -> list[tuple[str, str]]:
    """What is received beside all else; hashing alone takes so many seconds for 100 MB."""
    received, unpaced = [one.received for one in turns], [one.unpaced for one in turns]
    minimal, noises = [one.least for one in turns], [one.noise for one in turns]
    return [
        ("received, times bare", f"{ratio(received, [one.bare for one in turns])} (goal 0.8)"),
        ("received, times bare unpaced", ratio(received, unpaced)),
        ("received, times the least", ratio(received, minimal)),
        ("receiver's CPU, times bare unpaced and a hash", cpu_ratio(received, unpaced, hashed)),
        ("received, times noise", f"{ratio(received, noises)} (goal 6, in threads 13)"),
        ("the least, times noise", ratio(minimal, noises)),
    ]


def measured(bench: Bench, size: str, hivemind: Path | None) -> list[tuple[str, str]]:
    """All rows."""
    rows = [("load before", load()), ("blob", f"{bench.length // MIB:,} MiB")]
    parts, sources = alone(size, bench.folder), SOURCES[size]
    with p2pd(hivemind) as peer:
        turns = [turn(bench, size, peer) for _ in range(ROUNDS[size])]
    many, fetched = [one.many for one in turns], [one.fetched for one in turns]
    rows += [
        ("one thread alone, CPU for 100 MB", parts_text(parts)),
        row("bare AES-GCM over TCP", [one.bare for one in turns]),
        row("bare, unpaced as ours is", [one.unpaced for one in turns]),
        row("least: file, seal, socket, open, hash", [one.least for one in turns]),
        row("py-libp2p, one noise stream", [one.noise for one in turns]),
        row("dpin: received and checked", [one.received for one in turns]),
        row("dpin: fetched into the store", fetched),
        row(f"dpin: fetched from {sources} sources", many),
        *compared(turns, parts["hashed"]),
        (f"{sources} sources, times one", f"{ratio(many, fetched)} (goal 0.9)"),
        ("chunks fetched again after kill -9", f"{bench.resumed()} (goal at most 2)"),
    ]
    if hivemind is None:
        rows.append(("p2pd", "not measured: name a Python that has hivemind with --hivemind"))
    else:
        ratios = [one.received.rate / one.p2pd for one in turns]
        rate = statistics.median(one.p2pd for one in turns)
        rows.append(("p2pd, one stream", f"{rate:,.0f} MB/s"))
        rows.append(("received, times p2pd", f"{statistics.median(ratios):.2f} (goal 5)"))
    return [*rows, ("load after", load())]


if __name__ == "__main__":
    main()
