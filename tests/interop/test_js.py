"""A stock js-libp2p node and dpin: dial, identify, ping, gossip both ways, ask for the status."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from dpin.base.ids import BlobId
from dpin.net.address import node_in, peer_text
from dpin.net.ask import PROTOCOL
from dpin.net.host import HostOptions, open_host
from dpin.net.network import Gossip
from dpin.node.desk import Desk
from dpin.node.whereabouts import Whereabouts
from tests.support.hosts import next_of, seed
from tests.support.running import running_node, running_nodes

HERE = Path(__file__).parent
SECONDS = 60
TOPIC = "news"

Values = dict[str, object]


@pytest.fixture(scope="session")
def modules() -> Path:
    """The packages of package-lock.json; installed once, from npm's cache where it has them."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node or npm: js-libp2p cannot run")
    marker = HERE / "node_modules" / ".package-lock.json"
    if not marker.exists() or marker.stat().st_mtime < (HERE / "package-lock.json").stat().st_mtime:
        words = ["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
        done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            pytest.skip(f"npm ci failed, so js-libp2p cannot run: {done.stderr.strip()[-300:]}")
        marker.touch()
    return HERE / "node_modules"


class Stranger:
    """A js-libp2p node in a process of its own."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._rest = b""
        self.id = ""
        self.addresses: list[str] = []

    async def hello(self) -> None:
        """Its first line."""
        said = await self._line()
        self.id, self.addresses = str(said["id"]), [str(one) for one in _list(said["addresses"])]

    async def do(self, command: str, **values: object) -> Values:
        """One command; fails with what the node says went wrong."""
        assert self._process.stdin is not None
        line = json.dumps({"do": command, **values}).encode() + b"\n"
        await self._process.stdin.send_all(line)
        said = await self._line()
        assert "ok" in said, said.get("error")
        answer = said["ok"]
        assert isinstance(answer, dict)
        return answer

    async def _line(self) -> Values:
        assert self._process.stdout is not None
        with trio.fail_after(SECONDS):
            while b"\n" not in self._rest:
                more = await self._process.stdout.receive_some(1 << 16)
                assert more, "the js node has ended"
                self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        said: Values = json.loads(line)
        return said


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


@asynccontextmanager
async def stranger(chain: str = "") -> AsyncIterator[Stranger]:
    """With the id of a network, a part of its Kad-DHT."""
    words = ["node", "--import", "./polyfill.mjs", "node.mjs", chain]
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process,
            words,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            capture_stdout=False,
            check=False,
        )
        process: trio.Process = await nursery.start(run)
        node = Stranger(process)
        await node.hello()
        yield node
        await node.do("stop")
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("modules")
async def test_a_stock_libp2p_node_dials_identifies_pings_and_asks(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node, stranger() as js:
        dialled = await js.do("dial", address=node.node().addresses[0])
        assert str(dialled["peer"]) in node.node().addresses[0]
        known = await js.do("identified")
        assert {"/dpin/ask/1", "/dpin/control/1", "/meshsub/1.1.0"} <= set(
            _list(known["protocols"])
        )
        pinged = await js.do("ping")
        assert isinstance(pinged["ms"], int | float)
        status = _list((await js.do("ask", question=[3]))["answer"])
        view = node.node()
        assert status[:5] == [4, PROTOCOL, view.chain, view.network, view.name]
        assert status[11] is True


@pytest.mark.usefixtures("modules")
async def test_announcements_go_both_ways() -> None:
    async with open_host(HostOptions(seed(1))) as host, stranger() as js:
        await host.subscribe(TOPIC)
        await js.do("dial", address=host.addresses[0])
        await js.do("subscribe", topic=TOPIC)
        with trio.fail_after(SECONDS):
            while not (await js.do("subscribers", topic=TOPIC))["peers"]:
                await trio.sleep(0.1)
            while not _list((await js.do("heard"))["heard"]):
                await host.publish(TOPIC, b"from dpin")
                await trio.sleep(0.5)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_publish, js)
                event = await next_of(host, Gossip)
                nursery.cancel_scope.cancel()
        first = _list((await js.do("heard"))["heard"])[0]
    assert isinstance(first, dict)
    assert (first["topic"], first["data"]) == (TOPIC, b"from dpin".hex())
    assert (event.topic, event.payload) == (TOPIC, b"from js")
    assert peer_text(event.peer) == js.id


def whereabouts(node: Desk) -> Whereabouts:
    catalogue = node._around.courier.catalogue
    assert isinstance(catalogue, Whereabouts)
    return catalogue


async def seen_by(js: Stranger, peers: int) -> None:
    """Until so many nodes are in its routing table."""
    with trio.fail_after(SECONDS):
        while (await js.do("known"))["peers"] != peers:
            await trio.sleep(0.2)


@pytest.mark.usefixtures("modules")
async def test_a_stock_kad_dht_and_dpin_nodes_find_what_each_other_keep(tmp_path: Path) -> None:
    ours, its = BlobId(bytes([1]) * 32), BlobId(bytes([2]) * 32)
    async with running_nodes(tmp_path, 2) as (first, second):
        view = first.node()
        async with stranger(str(view.chain)) as js:
            await js.do("dial", address=view.addresses[0])
            await seen_by(js, 2)  # The second one was named by the first.
            whereabouts(second).provide(ours)
            with trio.fail_after(SECONDS):  # By itself it does so 90 s after its start.
                while await whereabouts(second).care.put_addresses() < len((first, js)):
                    await trio.sleep(0.5)
            await _js_puts(js, its, [first, second])
            await _js_finds(js, ours, [first, second])


async def _js_puts(js: Stranger, blob: BlobId, nodes: Sequence[Desk]) -> None:
    """What js puts and provides is kept by all nodes, and found at each."""
    put = await js.do("putAddress")
    assert (put["kept"], put["errors"]) == (len(nodes), [])
    assert (await js.do("provide", blob=blob.hex()))["kept"] == len(nodes)
    js_node = node_in(js.addresses[0])
    assert js_node is not None

    async def look(node: Desk) -> None:
        assert await whereabouts(node).addresses(js_node) == tuple(js.addresses)
        assert await whereabouts(node).sources(blob) == (js_node,)

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(look, node)


async def _js_finds(js: Stranger, blob: BlobId, nodes: Sequence[Desk]) -> None:
    """What nodes say of themselves is found by js; the last of them has the blob."""
    for node in nodes:
        addresses = node.node().addresses
        told = await js.do("getAddress", of=addresses[0].rpartition("/")[2])
        assert told["addresses"] == list(addresses)
    where = nodes[-1].node().addresses[0]
    direct, _, identity = where.partition("/p2p/")
    found = await js.do("findProviders", blob=blob.hex())
    assert found["providers"] == {identity: [direct]}
    assert (await js.do("findPeer", id=identity))["addresses"] == [direct]


async def _publish(js: Stranger) -> None:
    """Once is enough as soon as the mesh stands."""
    with trio.CancelScope(shield=True):
        for _ in range(3):
            await js.do("publish", topic=TOPIC, data=b"from js".hex())
            await trio.sleep(0.5)
