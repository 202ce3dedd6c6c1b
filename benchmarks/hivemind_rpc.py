"""What hivemind's go-libp2p daemon (p2pd) does on this machine: round trips, and a stream of bytes.

    python -m benchmarks.hivemind_rpc

Runs under a Python that has hivemind (its wheel brings p2pd); prints one line of JSON. dpin itself
needs neither, so this module imports hivemind only when it is run.
"""

import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple, Protocol

CALLS: Final = 1_500
WARM_CALLS: Final = 100
PIECES: Final = 128
PIECE_BYTES: Final = 1 << 19
STREAMS: Final = 3
PATIENCE_SECONDS: Final = 300


class PeerFigures(NamedTuple):
    """Of p2pd."""

    p50_micros: float
    p99_micros: float
    stream_rate: float  # MB/s


def measured_by(python: Path | None) -> PeerFigures | None:
    """Run this file under that Python; None where there is none."""
    if python is None:
        return None
    done = subprocess.run(
        [str(python), __file__],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    return PeerFigures(*json.loads(done.stdout.splitlines()[-1]))


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


async def round_trips(server: object, client: object) -> list[float]:
    """Microseconds of each of many questions, one after the other, sorted."""
    wire = import_module("hivemind.proto.dht_pb2")

    async def answer(_request: object, _context: object) -> object:
        return wire.PingResponse(available=True)

    await server.add_protobuf_handler("ping", answer, wire.PingRequest)  # type: ignore[attr-defined]
    ask = client.call_protobuf_handler  # type: ignore[attr-defined]
    micros = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        await ask(server.peer_id, "ping", wire.PingRequest(), wire.PingResponse)  # type: ignore[attr-defined]
        micros.append(1e6 * (time.perf_counter() - begun))
    return sorted(micros[WARM_CALLS:])


async def stream_rates(server: object, client: object) -> list[float]:
    """MB/s of streams of bytes, sorted."""
    wire = import_module("hivemind.proto.runtime_pb2")
    piece = os.urandom(PIECE_BYTES)

    async def count(pieces: AsyncIterator[Tensor], _context: object) -> AsyncIterator[object]:
        length = 0
        async for one in pieces:
            length += len(one.buffer)
        yield wire.Tensor(buffer=str(length).encode())

    async def pieces() -> AsyncIterator[object]:
        for _ in range(PIECES):
            yield wire.Tensor(buffer=piece)

    add = server.add_protobuf_handler  # type: ignore[attr-defined]
    await add("count", count, wire.Tensor, stream_input=True, stream_output=True)
    rates = []
    for _ in range(STREAMS):
        begun = time.perf_counter()
        peer = server.peer_id  # type: ignore[attr-defined]
        ask = client.iterate_protobuf_handler  # type: ignore[attr-defined]
        async for answer in await ask(peer, "count", pieces(), wire.Tensor):
            if int(answer.buffer) != PIECES * PIECE_BYTES:
                raise SystemExit("not all of it came")
        rates.append(PIECES * PIECE_BYTES / 1e6 / (time.perf_counter() - begun))
    return sorted(rates)


async def measure() -> PeerFigures:
    """Both."""
    server, client = await daemons()
    micros = await round_trips(server, client)
    rates = await stream_rates(server, client)
    for daemon in (client, server):
        await daemon.shutdown()  # type: ignore[attr-defined]
    count = len(micros)
    return PeerFigures(micros[count // 2], micros[count * 99 // 100], rates[len(rates) // 2])


if __name__ == "__main__":
    asyncio = import_module("asyncio")
    print(json.dumps(asyncio.run(measure())))  # noqa: T201
