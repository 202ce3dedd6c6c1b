"""B5: a question and its answer between two nodes, on what stands already; beside hivemind's p2pd.

    python -m benchmarks.questions [--short] [--hivemind PYTHON]

Two processes on loopback, 64 bytes each way, one question after the other. Unsigned: messages over
the control streams of libp2p, whose connection proves the sender. Signed: the same, question and
answer each a `Signed` statement that the other side checks. Bulk socket: a question about a blob
over a socket of the bulk plane, which also proves the sender. All take turns, p2pd too; the ratio
is the median of those of each turn. CPU is that of both processes together, for one question.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import psutil
import trio

from benchmarks.hivemind_rpc import P2pd, p2pd
from benchmarks.local import load, quantile, show
from dpin.base.crypto import SigningKey
from dpin.base.errors import Unavailable
from dpin.base.ids import ChainId, NodeId
from dpin.base.machine import Received
from dpin.net.blobwire import AskBlob, AskChunk, AskHave, AskManifest, Have, Reply
from dpin.net.bulk import BulkOptions, BulkPlane, open_bulk
from dpin.net.bulkflow import Loan
from dpin.net.envelope import open_signed, seal
from dpin.net.host import Host, HostOptions, open_host

CHAIN: Final = ChainId(bytes(32))
TAG: Final = "dpin/benchmark-request/v1"
QUESTION: Final = bytes(range(64))
SIGNED: Final = b"s"
PLAIN: Final = b"p"
TURNS: Final = {"full": 20, "short": 2}
IN_A_TURN: Final = 100
BLOB: Final = bytes(32)
CHUNK: Final = bytes(range(64))
ASKER, ANSWERER = bytes(31) + b"\1", bytes(31) + b"\2"  # seeds


class Few:
    """A chunk of a few bytes."""

    def read(self, into: memoryview) -> int:
        """All of them."""
        into[: len(CHUNK)] = CHUNK
        return len(CHUNK)

    async def settle(self) -> None:
        """Nothing is left to do."""


class Shelf:
    """Answers about any blob."""

    async def answer(self, _peer: NodeId, _question: AskManifest | AskBlob | AskHave) -> Reply:
        """As many bytes as a question has."""
        return Have(QUESTION)

    def loan(self, _peer: NodeId, _question: AskChunk) -> Loan:
        """A few bytes."""
        return Few()


async def both(stack: AsyncExitStack, seed: bytes) -> tuple[Host, BulkPlane]:
    """A host and its bulk plane."""
    host = await stack.enter_async_context(open_host(HostOptions(seed)))
    return host, await stack.enter_async_context(open_bulk(host, BulkOptions()))


async def answer() -> None:
    """The other process: answers until standard input ends."""
    key = SigningKey(ANSWERER)
    async with AsyncExitStack() as stack:
        host, plane = await both(stack, ANSWERER)
        plane.serve(Shelf())
        sys.stdout.write(host.addresses[0] + "\n")
        sys.stdout.flush()
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(_answers, host, key)
        await trio.to_thread.run_sync(sys.stdin.buffer.read)
        nursery.cancel_scope.cancel()


async def _answers(host: Host, key: SigningKey) -> None:
    while True:
        event = await host.events.receive()
        if isinstance(event, Received):
            payload = event.payload
            if payload[:1] == SIGNED:
                body = open_signed(CHAIN, TAG, payload[1:]).body
                payload = SIGNED + seal(key, CHAIN, TAG, body)
            host.send(event.peer, payload)


class Asker:
    """Questions to the other process, of each kind."""

    def __init__(self, host: Host, plane: BulkPlane, peer: NodeId) -> None:
        self._host = host
        self._plane = plane
        self._peer = peer
        self._key = SigningKey(ASKER)

    async def unsigned(self) -> None:
        """Over libp2p."""
        if await self._exchanged(PLAIN + QUESTION) != PLAIN + QUESTION:
            raise SystemExit("another answer than the question")

    async def signed(self) -> None:
        """Over libp2p, both signed and checked."""
        answer = await self._exchanged(SIGNED + seal(self._key, CHAIN, TAG, QUESTION))
        signed = open_signed(CHAIN, TAG, answer[1:])
        if signed.body != QUESTION or signed.signer != self._peer:
            raise SystemExit("another answer than the question")

    async def over_bulk(self) -> None:
        """Over the bulk socket."""
        if await self._plane.ask(self._peer, AskHave(BLOB)) != Have(QUESTION):
            raise SystemExit("another answer than was given")

    async def _exchanged(self, payload: bytes) -> bytes:
        if not self._host.send(self._peer, payload):
            raise Unavailable("the outbox is full")
        while True:
            event = await self._host.events.receive()
            if isinstance(event, Received):
                return event.payload


Turn = Callable[[], Awaitable[list[float]]]  # milliseconds of each of its questions


async def ask(
    address: str, turns: int, peer: P2pd | None, used: Callable[[], float]
) -> dict[str, "Kind"]:
    """All questions, by kind; `used` is the CPU time of the other process."""
    async with AsyncExitStack() as stack:
        host, plane = await both(stack, ASKER)
        node = await host.dial(address)
        asker = Asker(host, plane, node)
        await plane.fetch(node, AskChunk(BLOB, 0), ignore)  # It opens the socket.
        kinds = {
            "unsigned": Kind(partial(waited, asker.unsigned), used),
            "signed": Kind(partial(waited, asker.signed), used),
            "bulk socket": Kind(partial(waited, asker.over_bulk), used),
        }
        if peer is not None:
            asked = partial(peer.round_trips, IN_A_TURN)
            kinds["p2pd"] = Kind(partial(trio.to_thread.run_sync, asked))
        for turn in range(turns + 1):
            for kind in kinds.values():
                await kind.take(counts=turn > 0)  # The first turn warms up.
    return kinds


class Kind:
    """One way to put a question, and how long each took."""

    def __init__(self, turn: Turn, used: Callable[[], float] | None = None) -> None:
        self.turns: list[list[float]] = []
        self._turn = turn
        self._used = used
        self._cpu_seconds = 0.0

    async def take(self, *, counts: bool) -> None:
        """One turn."""
        before = self._cpu()
        waits = await self._turn()
        if counts:
            self.turns.append(waits)
            self._cpu_seconds += self._cpu() - before

    def _cpu(self) -> float:
        return time.process_time() + self._used() if self._used is not None else 0.0

    def row(self, name: str, peer: "Kind | None") -> tuple[str, str]:
        """A line of the table."""
        waits = [wait for waits in self.turns for wait in waits]
        text = f"p50 {quantile(waits, 0.5):.3f}, p99 {quantile(waits, 0.99):.3f} ms"
        if self._used is not None:
            text += f"; CPU {1e3 * self._cpu_seconds / len(waits):.3f} ms"
        if peer is not None and peer is not self:
            ratios = [
                statistics.median(own) / statistics.median(other)
                for own, other in zip(self.turns, peer.turns, strict=True)
            ]
            text += f"; {statistics.median(ratios):.2f} times p2pd"
        return name, text


async def waited(kind: Callable[[], Awaitable[None]]) -> list[float]:
    """Milliseconds of each of one turn's questions."""
    waits = []
    for _ in range(IN_A_TURN):
        begun = time.perf_counter()
        await kind()
        waits.append(1e3 * (time.perf_counter() - begun))
    return waits


def ignore(_data: memoryview) -> None:
    """A chunk that nobody needs."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few seconds; figures mean nothing")
    parser.add_argument("--hivemind", type=Path, help="a Python that has hivemind, for its p2pd")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        trio.run(answer)
        return
    turns = TURNS["short" if options.short else "full"]
    rows = [("load before", load())]
    words = [sys.executable, "-m", "benchmarks.questions", "--answer"]
    with (
        p2pd(options.hivemind) as peer,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdin is not None
        assert other.stdout is not None
        address, there = other.stdout.readline().strip(), psutil.Process(other.pid)
        took = trio.run(ask, address, turns, peer, lambda: sum(there.cpu_times()[:2]))
        other.stdin.close()
    rows += [kind.row(name, took.get("p2pd")) for name, kind in took.items()]
    if options.hivemind is None:
        rows.append(("p2pd", "not measured: name a Python that has hivemind with --hivemind"))
    goals = "unsigned 1.0, signed 1.4, bulk socket 0.8 times p2pd"
    show("B5: question and answer", [*rows, ("goals", goals), ("load after", load())])


if __name__ == "__main__":
    main()
