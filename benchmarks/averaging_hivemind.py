"""hivemind's averager on loopback, for averaging.py: run by a Python that has hivemind.

    PYTHON averaging_hivemind.py none|uniform8 PEERS MILLIONS RUNS

Prints [[seconds, ...], error, CPU seconds]: from the moment all peers may begin to the last result.
"""

import json
import statistics
import sys
import time

import psutil
import torch
from hivemind import DHT
from hivemind.averaging import DecentralizedAverager
from hivemind.averaging.control import AveragingStage
from hivemind.compression import Float16Compression, NoCompression, Uniform8BitQuantization
from hivemind.utils import get_dht_time

CODECS = {
    "none": NoCompression,
    "float16": Float16Compression,
    "uniform8": Uniform8BitQuantization,
}
ALONE = {
    "nat_port_map": False,
    "auto_nat": False,
    "use_relay": False,
    "host_maddrs": ["/ip4/127.0.0.1/tcp/0"],
}


def swarm(world: int) -> list[DHT]:
    """So many nodes that know each other."""
    first = DHT(start=True, **ALONE)
    known = [str(address) for address in first.get_visible_maddrs()]
    return [first, *(DHT(initial_peers=known, start=True, **ALONE) for _ in range(world - 1))]


def averager(node: DHT, vector: torch.Tensor, name: str, world: int) -> DecentralizedAverager:
    """One peer of a group that waits for all of them."""
    return DecentralizedAverager(
        [vector],
        node,
        prefix=name,
        start=True,
        target_group_size=world,
        min_group_size=world,
        min_matchmaking_time=3.0,
        request_timeout=1.0,
        compression=CODECS[name](),
        allreduce_timeout=600,
    )


def seconds_of(peers: list[DecentralizedAverager]) -> tuple[float, float]:
    """One averaging step, from the moment all are ready; and its CPU seconds."""
    steps = [
        peer.step(
            wait=False,
            require_trigger=True,
            gather=at,
            timeout=300,
            scheduled_time=get_dht_time() + 3.0,
        )
        for at, peer in enumerate(peers)
    ]
    while any(step.stage != AveragingStage.AWAITING_TRIGGER for step in steps):
        time.sleep(0.005)
    began, spent = time.perf_counter(), cpu_seconds()
    for step in steps:
        step.allow_allreduce()
    for step in steps:
        step.result(timeout=300)
    return time.perf_counter() - began, cpu_seconds() - spent


def cpu_seconds() -> float:
    """Of this process and of all below it, p2pd among them, so far."""
    own = psutil.Process()
    times = [part.cpu_times() for part in (own, *own.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def error_of(peer: DecentralizedAverager, exact: torch.Tensor) -> float:
    """How far a peer's vector is from the mean, relative."""
    with peer.get_tensors() as held:
        return float((held[0] - exact).norm() / exact.norm())


def main() -> None:
    """Average, check, print."""
    name, world, millions, runs = sys.argv[1], *map(int, sys.argv[2:5])
    nodes = swarm(world)
    vectors = [torch.randn(millions * 1_000_000) * 0.01 for _ in nodes]
    exact = torch.stack(vectors).mean(0)
    peers = [averager(*pair, name, world) for pair in zip(nodes, vectors, strict=True)]
    pairs = [seconds_of(peers)]
    error = max(error_of(peer, exact) for peer in peers)
    pairs += [seconds_of(peers) for _ in range(runs - 1)]
    times = [seconds for seconds, _ in pairs]
    cpu = statistics.median(spent for _, spent in pairs)
    sys.stdout.write(json.dumps([times, error, cpu]) + "\n")
    sys.stdout.flush()
    for part in (*peers, *nodes):
        part.shutdown()


if __name__ == "__main__":
    main()
