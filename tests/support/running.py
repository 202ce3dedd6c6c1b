"""Whole nodes in this process: real libp2p, real disks, no API and no processes of their own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from dpin.ledger.genesis import Genesis
from dpin.net import lasting as net_lasting
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.lasting import LastingHost
from dpin.node.control import Control
from dpin.node.desk import Desk
from dpin.node.driver import NodeOptions, run_node
from dpin.node.home import home_in, prepare, write_network
from dpin.node.invite import Invite
from dpin.node.settings import LedgerSection, NetworkSection, Settings, ShareSection
from tests.support.cluster import network

LISTEN = "/ip4/127.0.0.1/tcp/0"


def seed_of(number: int) -> bytes:
    """Of the node with this number in `tests.support.cluster`; 0 is the first founder."""
    return sha256(f"cluster {number}".encode()).digest()


def lasting(node: Desk) -> LastingHost:
    """The network shell of a running node."""
    host = node._around.host
    assert isinstance(host, LastingHost)
    return host


async def _raise() -> None:
    raise ArithmeticError("a task inside of libp2p failed")


def kill(network: LastingHost) -> None:
    """End the host of now as a bug in libp2p would: from inside of its own nursery."""
    network.host._inside.nursery.start_soon(_raise)


def held_back(monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Networks that have ended are opened again from this event on."""
    gate = trio.Event()

    @asynccontextmanager
    async def opened(options: HostOptions) -> AsyncIterator[Host]:
        await gate.wait()
        async with open_host(options) as host:
            yield host

    monkeypatch.setattr(net_lasting, "open_host", opened)
    return gate


@asynccontextmanager
async def occupied(port: int) -> AsyncIterator[None]:
    """A port of loopback that another program uses, as soon as it is free."""
    with trio.socket.socket() as other:
        other.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
        with trio.fail_after(60):
            while True:
                try:
                    await other.bind(("127.0.0.1", port))
                except OSError:
                    await trio.sleep(0.01)
                else:
                    break
        other.listen(1)
        yield


def settings(*bootstrap: str, listen: str = LISTEN) -> Settings:
    """A node that only takes part: it takes no jobs, and starts no processes."""
    return Settings(
        network=NetworkSection(listen=(listen,), bootstrap=bootstrap),
        share=ShareSection(provide=False),
        ledger=LedgerSection(verifiers=0),
    )


@asynccontextmanager
async def running_node(
    folder: Path, number: int = 0, genesis: Genesis | None = None, choices: Settings | None = None
) -> AsyncIterator[Desk]:
    """One node; without a genesis, the only validator of a network of its own."""
    home = home_in(folder, folder / "config.toml")
    prepare(home)
    write_network(home, Invite(genesis or network(1)[0], ()))
    opened: list[Control] = []
    up = trio.Event()

    async def ready(control: Control) -> None:
        opened.append(control)
        up.set()
        await trio.lowlevel.checkpoint()

    options = NodeOptions(home, choices or settings(), seed_of(number), "", "test")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_node, options, ready)
        await up.wait()
        [desk] = opened
        assert isinstance(desk, Desk)
        yield desk
        await desk.stop()


@asynccontextmanager
async def running_nodes(folder: Path, count: int) -> AsyncIterator[Sequence[Desk]]:
    """Nodes of one network, the first its only validator, whom the others dial."""
    genesis, _ = network(1)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_node(folder / "0", 0, genesis))
        others = [
            await stack.enter_async_context(
                running_node(folder / str(n), n, genesis, settings(*first.node().addresses))
            )
            for n in range(1, count)
        ]
        yield [first, *others]
