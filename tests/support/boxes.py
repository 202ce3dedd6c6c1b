"""Real dpin hosts inside network namespaces, each on a thread that has moved into its own."""

import ctypes
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TypeVar

import trio

from dpin.base.errors import Unavailable
from dpin.base.machine import Received
from dpin.net.address import by_ease, is_loopback, relay_in
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.reach import Way
from tests.support.namespaces import Internet, Kind

ResultT = TypeVar("ResultT")
CLONE_NEWNET = 0x40000000
START_SECONDS = 20.0
LISTEN = ("/ip4/0.0.0.0/tcp/4610", "/ip6/::/tcp/4610")


class Box:
    """One machine with one host on it."""

    def __init__(self, namespace: str, options: HostOptions) -> None:
        self.received: list[bytes] = []
        self._namespace = namespace
        self._options = options
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=namespace)
        self._thread.start()
        assert self._ready.wait(START_SECONDS), "the host did not start"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            move_into(self._namespace)
            trio.run(self._live)
        except BaseException as error:  # noqa: BLE001 (handed to whoever waits)
            self._error = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        async with open_host(self._options) as host, trio.open_nursery() as nursery:
            self.host: Host = host
            nursery.start_soon(self._drain)
            self._ready.set()
            await self._stop.wait()
            nursery.cancel_scope.cancel()

    async def _drain(self) -> None:
        while True:
            event = await self.host.events.receive()
            if isinstance(event, Received):
                self.received.append(event.payload)

    def call(self, function: Callable[..., Awaitable[ResultT]], *arguments: object) -> ResultT:
        """Have the host's thread await something."""
        return trio.from_thread.run(function, *arguments, trio_token=self._token)

    def now(self, function: Callable[..., ResultT], *arguments: object) -> ResultT:
        """Have the host's thread call something."""
        return trio.from_thread.run_sync(function, *arguments, trio_token=self._token)

    def close(self) -> None:
        """End the host."""
        if self._thread.is_alive():
            self.now(self._stop.set)
        self._thread.join(START_SECONDS)

    # --- what tests do with it ---

    def dial(self, other: "Box") -> str:
        """Connect, as a node does; why not, where that fails."""
        addresses = [a for a in by_ease(other.host.addresses) if not is_loopback(a)]
        try:
            self.call(self.host.dial, *addresses)
        except Unavailable as error:
            return str(error)
        return ""

    def says(self, other: "Box", words: bytes) -> bool:
        """Whether a message arrives."""
        self.now(self.host.send, other.host.node_id, words)
        return wait_for(lambda: words in other.received, 10.0)

    def way(self, other: "Box") -> Way | None:
        """How the connection to the other box runs."""
        return self.now(self.host.routes.way, other.host.node_id)


def move_into(namespace: str) -> None:
    """From now on the sockets of this thread belong to the namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(Path("/var/run/netns", namespace), os.O_RDONLY)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


@contextmanager
def box(world: Internet, kind: Kind, number: int) -> Iterator[Box]:
    """A machine of a kind with a host; where it cannot be reached, a dial-back has said so."""
    listen = LISTEN[1:] if kind is Kind.IPV6_ONLY else LISTEN
    made = Box(world.machine(kind), HostOptions(number.to_bytes(32), listen))
    try:
        if kind is Kind.NO_INBOUND:
            made.now(made.host.routes.prove, False)
        yield made
    finally:
        made.close()


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it holds within so many seconds."""
    deadline = monotonic() + seconds
    event = threading.Event()
    while not condition():
        if monotonic() > deadline:
            return False
        event.wait(0.05)
    return True


def meet(one: Box, other: Box, relay: Box, patience: float = 16.0) -> str:
    """How two machines that know one relay connect in the end."""
    for each in (one, other):
        each.dial(relay)
        if each.now(each.host.routes.wants_relay):
            wait_for(lambda: any(map(relay_in, each.host.addresses)), 6.0)  # noqa: B023
    one.dial(other)
    if one.way(other) is Way.RELAYED:
        wait_for(lambda: one.way(other) is not Way.RELAYED, patience)
    way = one.way(other)
    return str(way) if way else "not"
