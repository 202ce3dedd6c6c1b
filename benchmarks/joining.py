"""Joining a ledger of a million accounts over the network: three hosts of another process have it.

    python -m benchmarks.joining [--short]

As `benchmarks.join`, but every question and answer goes over libp2p on loopback, in the envelopes
of nodes, between two processes that share this machine. The joiner paces its questions by the
clock. What is measured is from its first dial until an executor can go on with the state.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from secrets import token_bytes

import psutil
import trio

from benchmarks.join import (
    ACCOUNTS,
    GOAL_SECONDS,
    PEERS,
    answered,
    frozen_of,
    populated,
    read_answer,
)
from benchmarks.local import load, show
from dpin.base.codec import decode, encode
from dpin.base.crypto import SEED_BYTES
from dpin.base.ids import ChainId
from dpin.base.machine import Received, Send
from dpin.base.units import MICROS_PER_SECOND, Instant
from dpin.ledger.assembly import Assembly, Restored
from dpin.ledger.certificates import Certificate
from dpin.ledger.execute import Executor
from dpin.ledger.frozen import Frozen
from dpin.ledger.join import Join
from dpin.net.envelope import Service, open_envelope, wrap
from dpin.net.host import Host, HostOptions, open_host


async def opened(stack: AsyncExitStack) -> Host:
    """A host of its own key."""
    return await stack.enter_async_context(open_host(HostOptions(token_bytes(SEED_BYTES))))


# --- who has the state ----------------------------------------------------------------------------


async def serve(accounts: int) -> None:
    """Say where, and what is certified; then answer until the input ends."""
    executor, state = populated(accounts)
    frozen, certificate = frozen_of(state)
    async with AsyncExitStack() as stack:
        hosts = [await opened(stack) for _ in range(PEERS)]
        nursery = await stack.enter_async_context(trio.open_nursery())
        for host in hosts:
            nursery.start_soon(_answer_all, host, executor.chain, frozen)
        told = [*(host.addresses[0] for host in hosts), encode(certificate).hex()]
        sys.stdout.write("".join(f"{line}\n" for line in told))
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


async def _answer_all(host: Host, chain: ChainId, frozen: Frozen) -> None:
    async for event in host.events:
        if isinstance(event, Received):
            body = answered(frozen, open_envelope(chain, event.payload).body)
            if not host.send(event.peer, wrap(chain, Service.LEDGER, body)):
                raise SystemExit("a joiner asks for more than it takes")


@contextmanager
def peers(words: Sequence[str]) -> Iterator[tuple[int, list[str], Certificate]]:
    """The other process: its id, where its hosts are, what is certified."""
    command = [sys.executable, "-m", "benchmarks.joining", "--peers", *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None, "it has pipes"
        *addresses, certified = [other.stdout.readline().strip() for _ in range(PEERS + 1)]
        try:
            yield other.pid, addresses, decode(Certificate, bytes.fromhex(certified))
        finally:
            assert other.stdin is not None, "it has pipes"
            other.stdin.close()


# --- who joins ------------------------------------------------------------------------------------


async def joined(addresses: Sequence[str], certificate: Certificate, executor: Executor) -> None:
    """Get the state, and go on with it."""
    async with AsyncExitStack() as stack:
        host = await opened(stack)
        join = Join(certificate, Assembly)
        for address in addresses:
            join.up(await host.dial(address))
        while join.restored is None:
            now = Instant(round(trio.current_time() * MICROS_PER_SECOND))
            _ask(host, executor.chain, join.step(now))
            with trio.move_on_after(max(0, join.next_at - now) / MICROS_PER_SECOND):
                _hear(host, join, executor.chain, await host.events.receive())
        executor.resume(join.restored)


def _ask(host: Host, chain: ChainId, effects: Sequence[object]) -> None:
    for effect in effects:
        if not isinstance(effect, Send):
            raise SystemExit("nobody here lies")
        if not host.send(effect.peer, wrap(chain, Service.LEDGER, effect.payload)):
            raise SystemExit("a peer takes no more questions")


def _hear(host: Host, join: Join[Restored], chain: ChainId, event: object) -> None:
    if isinstance(event, Received):
        message = read_answer(open_envelope(chain, event.payload).body)
        _ask(host, chain, join.take(event.peer, message))


def cpu_seconds(pid: int) -> float:
    """Of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def main() -> None:
    """Join once and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="few accounts; figures mean nothing")
    parser.add_argument("--peers", action="store_true", help="be those who have the state")
    options = parser.parse_args()
    accounts = ACCOUNTS["short" if options.short else "full"]
    if options.peers:
        trio.run(serve, accounts)
        return
    executor, _ = populated(0)
    with peers(["--short"] if options.short else []) as (other, addresses, certificate):
        before, theirs, mine = load(), cpu_seconds(other), time.process_time()
        began = time.perf_counter()
        trio.run(joined, addresses, certificate, executor)
        took = time.perf_counter() - began
        mine, theirs = time.process_time() - mine, cpu_seconds(other) - theirs
    if executor.rooted is None or executor.rooted[1] != certificate.checkpoint.state_root:
        raise SystemExit("what was joined is not what was left")
    rows = [
        ("load before", before, ""),
        ("joined, by the clock", f"{took:.1f} s", f"{GOAL_SECONDS} s"),
        ("- CPU of the joiner", f"{mine:.1f} s", ""),
        ("- CPU of its peers, in one process", f"{theirs:.1f} s", ""),
    ]
    show(f"Joining {accounts:,} accounts over libp2p from {PEERS} hosts", rows)


if __name__ == "__main__":
    main()
