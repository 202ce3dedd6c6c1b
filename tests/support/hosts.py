"""Real hosts on loopback for the tests of the network shell."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import trio

from dpin.base.machine import PeerUp
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.network import Event, Unreached

EventT = TypeVar("EventT")
PATIENCE_SECONDS = 60.0  # for a busy machine: every wait ends with what it waits for


def seed(number: int) -> bytes:
    return number.to_bytes(32)


async def next_of(host: Host, kind: type[EventT]) -> EventT:
    """The next event of a kind; others are skipped."""
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            event: Event = await host.events.receive()
            if isinstance(event, kind):
                return event


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while not condition():
            await trio.sleep(0.01)


@asynccontextmanager
async def two_hosts() -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts that know each other; both have taken their PeerUp."""
    async with open_host(HostOptions(seed(1))) as one, open_host(HostOptions(seed(2))) as two:
        await dialled(two, one)
        await next_of(one, PeerUp)
        await next_of(two, PeerUp)
        yield one, two


async def dialled(dialler: Host, other: Host) -> None:
    """They are connected; on a busy machine a dial may run out of its time."""
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            with suppress(Unreached):
                await dialler.dial(other.addresses[0])
                return
