"""B5: a question and its answer between two nodes, on what stands already; beside hivemind's p2pd.

    python -m benchmarks.questions [--short] [--hivemind PYTHON]

Two processes on loopback, 64 bytes each way, one question after the other. Unsigned: messages over
the control streams of libp2p, whose connection proves the sender. Signed: the same, question and
answer each a `Signed` statement that the other side checks. Bulk socket: a question about a blob
over a socket of the bulk plane, which also proves the sender. The three take turns.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import trio

from benchmarks.hivemind_rpc import measured_by
from benchmarks.local import load, quantile, show
from dpin.base.crypto import SigningKey
from dpin.base.errors import Unavailable
from dpin.base.ids import ChainId, NodeId
from dpin.base.machine import Received
from dpin.net.blobwire import AskChunk, AskHave, AskManifest, Have, Reply
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

    async def answer(self, _peer: NodeId, _question: AskManifest | AskHave) -> Reply:
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


async def ask(address: str, turns: int) -> dict[str, list[float]]:
    """Milliseconds of each question, by kind."""
    async with AsyncExitStack() as stack:
        host, plane = await both(stack, ASKER)
        peer = await host.dial(address)
        asker = Asker(host, plane, peer)
        await plane.fetch(peer, AskChunk(BLOB, 0), ignore)  # It opens the socket.
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "unsigned": asker.unsigned,
            "signed": asker.signed,
            "bulk socket": asker.over_bulk,
        }
        took: dict[str, list[float]] = {name: [] for name in kinds}
        for turn in range(turns + 1):
            for name, kind in kinds.items():
                waits = await waited(kind)
                took[name] += waits if turn else []  # The first turn warms up.
    return took


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
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        took = trio.run(ask, other.stdout.readline().strip(), turns)
        other.stdin.close()
    p2pd = measured_by(options.hivemind)
    peer = p2pd.p50_micros / 1e3 if p2pd else 0.0
    for name, waits in took.items():
        times = f"; {statistics.median(waits) / peer:.2f} times p2pd" if peer else ""
        rows.append(
            (name, f"p50 {quantile(waits, 0.5):.3f}, p99 {quantile(waits, 0.99):.3f} ms{times}")
        )
    if p2pd:
        rows.append(("p2pd", f"p50 {peer:.3f}, p99 {p2pd.p99_micros / 1e3:.3f} ms"))
    else:
        rows.append(("p2pd", "not measured: name a Python that has hivemind with --hivemind"))
    goals = "unsigned 1.0, signed 1.4, bulk socket 0.8 times p2pd"
    show("B5: question and answer", [*rows, ("goals", goals), ("load after", load())])


if __name__ == "__main__":
    main()
