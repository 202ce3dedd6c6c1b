"""One side of the benchmark of bulk transfers, in a process of its own; see `benchmarks.bulk`.

    python -m benchmarks.bulk_side ROLE JSON

Prints one line of JSON when it is ready, and one when it is done; a giver gives until its standard
input is closed.
"""

import mmap
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from benchmarks.bulk_meter import SAMPLE_SECONDS, Figures, Meter, Orders, say
from dpin.base.blob import BLOB_BYTES_MAX, CHUNK_BYTES, BlobManifest, blob_id, check_chunk
from dpin.base.crypto import blake3_digest
from dpin.base.errors import Unavailable
from dpin.base.ids import BlobId, NodeId
from dpin.base.machine import Blame
from dpin.net import guards
from dpin.net.blobwire import (
    AskBlob,
    AskChunk,
    AskHave,
    AskManifest,
    Have,
    Manifest,
    Reply,
    bits_of,
)
from dpin.net.bulk import BulkOptions, BulkPlane, open_bulk
from dpin.net.bulkasked import Land
from dpin.net.bulkflow import Loan
from dpin.net.bulkwire import unpaced_at_home
from dpin.net.host import Host, HostOptions, open_host
from dpin.node.courier import Courier
from dpin.storage.blobs import BlobStore
from dpin.storage.wanted import Fetch, Fetched, Keep, Kept, Purpose, StoreEvent

QUOTA: Final = 1 << 40
FRAME_BYTES: Final = 1 << 20
TAG_BYTES: Final = 16
WINDOW: Final = 8
PROTOCOL: Final = TProtocol("/benchmark/1")
STREAM_WRITE_BYTES: Final = 64 << 10
STREAM_READ_BYTES: Final = 256 << 10
ZEROS: Final = bytes(CHUNK_BYTES)
SMALL_NETWORK: Final = 8  # connections


# --- bare: AES-GCM over trio's TCP -------------------------------------------------------------


async def bare_take(orders: Orders) -> None:
    """Receive so many frames, each opened."""
    aead, done = AESGCM(bytes(32)), trio.Event()

    async def come(stream: trio.SocketStream) -> None:
        if orders.unpaced:
            unpaced_at_home(stream.socket)
        meter, buffer = Meter(), bytearray(FRAME_BYTES + TAG_BYTES)
        room = memoryview(buffer)
        for number in range(orders.length // FRAME_BYTES):
            got = 0
            while got < len(room):
                got += await stream.socket.recv_into(room[got:])
            aead.decrypt(number.to_bytes(12), buffer, None)
        say(meter.read())
        done.set()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, come, listeners)
        say(Figures(address=str(listeners[0].socket.getsockname()[1])))
        await done.wait()
        nursery.cancel_scope.cancel()


async def bare_give(orders: Orders) -> None:
    """Send so many frames."""
    aead, data = AESGCM(bytes(32)), os.urandom(FRAME_BYTES)
    async with await trio.open_tcp_stream("127.0.0.1", orders.port) as stream:
        if orders.unpaced:
            unpaced_at_home(stream.socket)
        meter = Meter()
        for number in range(orders.length // FRAME_BYTES):
            await stream.send_all(aead.encrypt(number.to_bytes(12), data, None))
        say(meter.read())
        await stream.receive_some(1)


# --- py-libp2p: one noise stream ---------------------------------------------------------------


def noise_host() -> IHost:
    """A host as nodes have it: without the guards, py-libp2p stops under load."""
    guards.apply_once()
    return guards.secure_host(os.urandom(32), SMALL_NETWORK)


async def noise_take(orders: Orders) -> None:
    """Receive so many bytes on a stream."""
    host, done = noise_host(), trio.Event()

    async def come(stream: INetStream) -> None:
        meter, got = Meter(), 0
        while got < orders.length:
            piece = await stream.read(STREAM_READ_BYTES)
            assert piece, "the stream ended early"
            got += len(piece)
        say(meter.read())
        await stream.write(b"k")
        done.set()

    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        host.set_stream_handler(PROTOCOL, come)
        say(Figures(address=str(host.get_addrs()[0])))
        await done.wait()
        await trio.sleep(0.2)
        await host.close()


async def noise_give(orders: Orders) -> None:
    """Send so many bytes on a stream."""
    host, data = noise_host(), os.urandom(STREAM_WRITE_BYTES)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        info = info_from_p2p_addr(Multiaddr(orders.addresses[0]))
        await host.connect(info)
        stream = await host.new_stream(info.peer_id, [PROTOCOL])
        meter = Meter()
        for _ in range(orders.length // STREAM_WRITE_BYTES):
            await stream.write(data)
        await stream.read(1)
        say(meter.read())
        await host.close()


# --- dpin --------------------------------------------------------------------------------------


@dataclass
class Place:
    """A host, its bulk plane, a store and a courier, as in a node."""

    host: Host
    plane: BulkPlane
    store: BlobStore
    courier: Courier
    told: trio.MemoryReceiveChannel[StoreEvent | Blame]


@asynccontextmanager
async def place(orders: Orders) -> AsyncIterator[Place]:
    """All of these, over loopback."""
    put, take = trio.open_memory_channel[StoreEvent | Blame](64)
    store = BlobStore(Path(orders.folder), QUOTA)
    options = HostOptions(orders.seed.to_bytes(32))
    async with (
        open_host(options) as host,
        open_bulk(host, BulkOptions()) as plane,
        trio.open_nursery() as nursery,
    ):
        if orders.counter:
            count_chunks(plane, Path(orders.counter))
        yield Place(host, plane, store, Courier(nursery, plane, store, put.send), take)
        nursery.cancel_scope.cancel()


def count_chunks(plane: BulkPlane, path: Path) -> None:
    """Count, in a file that outlives this process, each chunk that came whole."""
    plain = plane.fetch
    with path.open("r+b") as file:
        counter = mmap.mmap(file.fileno(), 8)

    async def fetch(peer: "object", question: AskChunk, land: Land, **more: bool) -> None:
        def counted(data: memoryview) -> None:
            counter[:8] = (int.from_bytes(counter[:8]) + 1).to_bytes(8)
            land(data)

        await plain(peer, question, counted, **more)  # type: ignore[arg-type]

    setattr(plane, "fetch", fetch)  # noqa: B010  A method of this one plane.


async def give(orders: Orders) -> None:
    """Keep a file, and give it to everybody until standard input ends."""
    async with place(orders) as here:
        here.courier.perform(Keep(orders.file, Purpose.MODEL, None))
        kept = await here.told.receive()
        assert isinstance(kept, Kept), kept
        await prove(here.store, kept.blob)
        meter = Meter()
        say(Figures(address=here.host.addresses[0], blob=kept.blob.hex()))
        giving = Giving()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(giving.watch, meter, here.courier.bytes_out)
            await trio.to_thread.run_sync(sys.stdin.buffer.read)
            nursery.cancel_scope.cancel()
        figures = meter.read()
        figures.cpu_seconds = giving.used or figures.cpu_seconds
        figures.chunks = here.courier.bytes_out[Purpose.MODEL] // CHUNK_BYTES
        say(figures)


async def prove(store: BlobStore, blob: BlobId) -> None:
    """Read it all once: a node that gave it before gives it unhashed for a while."""
    reader, room = store.reader(blob), memoryview(bytearray(CHUNK_BYTES))
    for index in reader.here():
        await trio.to_thread.run_sync(reader.loan(index).read, room)


class Giving:
    """CPU time from the first chunk to the last: neither the meeting of the two nor a node at rest.

    The taker counts from its first chunk on as well.
    """

    def __init__(self) -> None:
        self.used = 0.0

    async def watch(self, meter: Meter, given: Mapping[Purpose, int]) -> None:
        """Look again and again."""
        before, since = 0, 0.0
        while True:
            await trio.sleep(SAMPLE_SECONDS)
            if not before:
                since = meter.used()
            if before < given[Purpose.MODEL]:
                before, self.used = given[Purpose.MODEL], meter.used() - since


class ZeroChunk:
    """A chunk of zeros."""

    def read(self, into: memoryview) -> int:
        """All of it."""
        into[:CHUNK_BYTES] = ZEROS
        return CHUNK_BYTES

    async def settle(self) -> None:
        """Nothing is left to do."""


class Zeros:
    """A blob of zeros, of any length, that lies nowhere."""

    def __init__(self, length: int) -> None:
        count = length // CHUNK_BYTES
        self.manifest = BlobManifest(length, (blake3_digest(ZEROS),) * count)

    async def answer(self, _peer: NodeId, question: AskManifest | AskBlob | AskHave) -> Reply:
        """What it consists of: all is here."""
        if isinstance(question, AskManifest | AskBlob):
            return Manifest(self.manifest)
        return Have(bits_of(range(len(self.manifest.chunks))))

    def loan(self, _peer: NodeId, _question: AskChunk) -> Loan:
        """One chunk is as the other."""
        return ZeroChunk()


async def zeros(orders: Orders) -> None:
    """Give a long blob to everybody until standard input ends."""
    async with place(orders) as here:
        library = Zeros(orders.length)
        here.plane.serve(library)
        meter = Meter()
        blob = blob_id(library.manifest)
        say(Figures(address=here.host.addresses[0], blob=blob.hex()))
        await trio.to_thread.run_sync(sys.stdin.buffer.read)
        say(meter.read())


async def take(orders: Orders) -> None:
    """Fetch a blob into the store."""
    async with place(orders) as here:
        sources = tuple([await here.host.dial(address) for address in orders.addresses])
        blob = BlobId(bytes.fromhex(orders.blob))
        present = 0
        try:
            manifest = here.store.manifest(blob)
            with await here.store.begin(manifest) as download:
                present = len(download.present)
        except Unavailable:
            pass
        say(Figures(present=present))
        meter = Meter()
        here.courier.perform(Fetch(blob, sources, Purpose.MODEL, BLOB_BYTES_MAX))
        event = await here.told.receive()
        figures = meter.read()
        assert isinstance(event, Fetched), event
        figures.chunks = here.courier.bytes_in[Purpose.MODEL] // CHUNK_BYTES
        assert not figures.chunks or here.plane.chunks_direct, here.plane.errors
        say(figures)


async def receive(orders: Orders) -> None:
    """Fetch a blob and check its chunks, but keep none: what the bulk plane itself can do."""
    async with place(orders) as here:
        source = await here.host.dial(orders.addresses[0])
        blob = BlobId(bytes.fromhex(orders.blob))
        reply = await here.plane.ask(source, AskManifest(blob))
        assert isinstance(reply, Manifest)
        manifest = reply.manifest
        await here.plane.fetch(source, AskChunk(blob, 0), partial(check_chunk, manifest, 0))
        say(Figures())
        meter, indices = Meter(), iter(range(len(manifest.chunks)))

        async def fetch() -> None:
            for index in indices:
                land = partial(check_chunk, manifest, index)
                await here.plane.fetch(source, AskChunk(blob, index), land)

        async with trio.open_nursery() as nursery:
            for _ in range(WINDOW):
                nursery.start_soon(fetch)
        figures = meter.read()
        figures.chunks = len(manifest.chunks)
        say(figures)


ROLES: Final[dict[str, Callable[[Orders], Awaitable[None]]]] = {
    "bare-take": bare_take,
    "bare-give": bare_give,
    "noise-take": noise_take,
    "noise-give": noise_give,
    "give": give,
    "zeros": zeros,
    "take": take,
    "receive": receive,
}

if __name__ == "__main__":
    trio.run(ROLES[sys.argv[1]], msgspec.json.decode(sys.argv[2], type=Orders))
