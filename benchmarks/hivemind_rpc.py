"""What hivemind's go-libp2p daemon (p2pd) does on this machine: round trips, and a stream of bytes.

    python -m benchmarks.hivemind_rpc

Runs under a Python that has hivemind (its wheel brings p2pd); prints one line of JSON. dpin itself
needs neither, so this module imports hivemind only when it is run.
"""

import json
import os
import subprocess
import time
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

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


async def measure() -> PeerFigures:
    """Two daemons on loopback, as they come."""
    p2p = import_module("hivemind.p2p").P2P
    dht, runtime = (
        import_module("hivemind.proto.dht_pb2"),
        import_module("hivemind.proto.runtime_pb2"),
    )
    plain = {
        "nat_port_map": False,
        "auto_nat": False,
        "use_relay": False,
        "host_maddrs": ["/ip4/127.0.0.1/tcp/0"],
    }
    server = await p2p.create(**plain)
    client = await p2p.create(initial_peers=await server.get_visible_maddrs(), **plain)

    async def ping(_request: object, _context: object) -> object:
        return dht.PingResponse(available=True)

    async def count(requests, _context):  # type: ignore[no-untyped-def]  # hivemind's own shapes
        length = 0
        async for request in requests:
            length += len(request.buffer)
        yield runtime.Tensor(buffer=str(length).encode())

    await server.add_protobuf_handler("ping", ping, dht.PingRequest)
    await server.add_protobuf_handler(
        "count", count, runtime.Tensor, stream_input=True, stream_output=True
    )
    micros = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        question = dht.PingRequest()
        await client.call_protobuf_handler(server.peer_id, "ping", question, dht.PingResponse)
        micros.append(1e6 * (time.perf_counter() - begun))
    rates = []
    piece = os.urandom(PIECE_BYTES)

    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(PIECES):
            yield runtime.Tensor(buffer=piece)

    for _ in range(STREAMS):
        begun = time.perf_counter()
        answers = await client.iterate_protobuf_handler(
            server.peer_id, "count", pieces(), runtime.Tensor
        )
        async for answer in answers:
            if int(answer.buffer) != PIECES * PIECE_BYTES:
                raise SystemExit("not all of it came")
        rates.append(PIECES * PIECE_BYTES / 1e6 / (time.perf_counter() - begun))
    await client.shutdown()
    await server.shutdown()
    counted = sorted(micros[WARM_CALLS:])
    middle, late = counted[len(counted) // 2], counted[len(counted) * 99 // 100]
    return PeerFigures(middle, late, sorted(rates)[len(rates) // 2])


if __name__ == "__main__":
    asyncio = import_module("asyncio")
    print(json.dumps(asyncio.run(measure())))  # noqa: T201
