"""What hivemind's go-libp2p daemon (p2pd) does on this machine: round trips, and streams of bytes.

    python -m benchmarks.hivemind_rpc

Runs under a Python that has hivemind (its wheel brings p2pd): each line on standard input has it
take one turn, of the kind that the line names, and print a line of JSON. dpin itself needs neither,
so this module imports hivemind only when it is run.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

PIECES: Final = 128
PIECE_BYTES: Final = 1 << 19


class P2pd:
    """Two daemons, ready to take turns with others."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def _turn(self, what: str) -> list[float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        figures: list[float] = json.loads(self._process.stdout.readline())
        return figures

    def round_trips(self, count: int) -> list[float]:
        """Milliseconds of each of so many questions, one after the other."""
        return self._turn(f"ask {count}")

    def stream_rate(self) -> float:
        """MB/s of one stream."""
        return self._turn("stream 1")[0]


@contextmanager
def p2pd(python: Path | None) -> Iterator[P2pd | None]:
    """Run this file under that Python; None where there is none."""
    if python is None:
        yield None
        return
    words = [str(python), __file__]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as side:
        peers = P2pd(side)
        peers.round_trips(1)  # It is up, and warm.
        yield peers
        assert side.stdin is not None
        side.stdin.close()


class Tensor(Protocol):
    """hivemind's message with bytes in it."""

    buffer: bytes


async def daemons() -> tuple[object, object]:
    """Two of them on loopback, as they come; the first one serves."""
    make = import_module("hivemind.p2p").P2P.create
    plain = {"nat_port_map": False, "auto_nat": False, "use_relay": False}
    here = ["/ip4/127.0.0.1/tcp/0"]
    server = await make(host_maddrs=here, **plain)
    known = await server.get_visible_maddrs()
    return server, await make(host_maddrs=here, initial_peers=known, **plain)


class Turns:
    """What the two daemons do when they are told to."""

    def __init__(self, server: object, client: object) -> None:
        self._server = server
        self._client = client

    async def serve(self) -> None:
        """Be ready to answer."""
        dht = import_module("hivemind.proto.dht_pb2")
        tensors = import_module("hivemind.proto.runtime_pb2")

        async def answer(_request: object, _context: object) -> object:
            return dht.PingResponse(available=True)

        async def count(pieces: AsyncIterator[Tensor], _context: object) -> AsyncIterator[object]:
            length = 0
            async for one in pieces:
                length += len(one.buffer)
            yield tensors.Tensor(buffer=str(length).encode())

        add = self._server.add_protobuf_handler  # type: ignore[attr-defined]
        await add("ping", answer, dht.PingRequest)
        await add("count", count, tensors.Tensor, stream_input=True, stream_output=True)

    async def take(self, what: str, count: int) -> list[float]:
        """So many turns of a kind."""
        if what == "ask":
            return [await self._asked() for _ in range(count)]
        return [await self._streamed() for _ in range(count)]

    async def _asked(self) -> float:
        """Milliseconds of one question."""
        wire = import_module("hivemind.proto.dht_pb2")
        ask = self._client.call_protobuf_handler  # type: ignore[attr-defined]
        peer = self._server.peer_id  # type: ignore[attr-defined]
        begun = time.perf_counter()
        await ask(peer, "ping", wire.PingRequest(), wire.PingResponse)
        return 1e3 * (time.perf_counter() - begun)

    async def _streamed(self) -> float:
        """MB/s of one stream."""
        wire = import_module("hivemind.proto.runtime_pb2")
        piece = os.urandom(PIECE_BYTES)

        async def pieces() -> AsyncIterator[object]:
            for _ in range(PIECES):
                yield wire.Tensor(buffer=piece)

        begun = time.perf_counter()
        ask = self._client.iterate_protobuf_handler  # type: ignore[attr-defined]
        peer = self._server.peer_id  # type: ignore[attr-defined]
        async for answer in await ask(peer, "count", pieces(), wire.Tensor):
            if int(answer.buffer) != PIECES * PIECE_BYTES:
                raise SystemExit("not all of it came")
        return PIECES * PIECE_BYTES / 1e6 / (time.perf_counter() - begun)


async def measure() -> None:
    """Turns, as standard input says."""
    server, client = await daemons()
    turns = Turns(server, client)
    await turns.serve()
    for line in sys.stdin:
        what, count = line.split()
        sys.stdout.write(json.dumps(await turns.take(what, int(count))) + "\n")
        sys.stdout.flush()
    for daemon in (client, server):
        await daemon.shutdown()  # type: ignore[attr-defined]


if __name__ == "__main__":
    import_module("asyncio").run(measure())
