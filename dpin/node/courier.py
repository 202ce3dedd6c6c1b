"""Blobs in and out: fetches what machines want, serves what they allow, counts what moved."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, assert_never

import trio

from dpin.base.blob import BlobManifest
from dpin.base.codec import encode
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import BlobId, NodeId, short
from dpin.base.machine import Blame
from dpin.base.units import Instant
from dpin.net.network import Network
from dpin.net.transfer import (
    IN_FLIGHT_MAX,
    Answered,
    AskChunk,
    AskManifest,
    Begin,
    Chunk,
    Done,
    Failed,
    GaveUp,
    Known,
    Manifest,
    Refused,
    Reply,
    Request,
    read_question,
)
from dpin.net.transfer import Effect as TransferEffect
from dpin.net.transfer import Event as TransferEvent
from dpin.net.transfer import Fetch as Plan
from dpin.net.transfer import Keep as KeepChunk
from dpin.storage.blobs import BlobStore, Download
from dpin.storage.wanted import (
    SMALL_BYTES_MAX,
    Allow,
    Discard,
    Fetch,
    Fetched,
    Keep,
    KeepData,
    Kept,
    Missing,
    Purpose,
    StoreEffect,
    StoreEvent,
)

PATIENCE_SECONDS: Final = 20.0  # for one chunk
FETCHES_MAX: Final = 16  # at once; more wait their turn
Tell = Callable[[StoreEvent | Blame], Awaitable[None]]


class Courier:
    """The blob store's door to the network. All work is done in tasks of the nursery."""

    def __init__(
        self, nursery: trio.Nursery, network: Network, store: BlobStore, tell: Tell
    ) -> None:
        self._nursery = nursery
        self._network = network
        self._store = store
        self._tell = tell
        self._readers: dict[BlobId, frozenset[NodeId] | None] = {}
        self._purposes: dict[BlobId, Purpose] = {}
        self._fetching: set[BlobId] = set()
        self._turns = trio.CapacityLimiter(FETCHES_MAX)
        self.bytes_in = dict.fromkeys(Purpose, 0)
        self.bytes_out = dict.fromkeys(Purpose, 0)
        network.serve(self._serve)

    def perform(self, effect: StoreEffect) -> None:
        """Do what a machine asks; what comes of it is told later."""
        match effect:
            case Fetch(blob):
                self._purposes[blob] = effect.purpose
                if blob not in self._fetching:
                    self._fetching.add(blob)
                    self._nursery.start_soon(self._fetch, effect)
            case Keep():
                self._nursery.start_soon(self._keep, effect)
            case KeepData():
                self._nursery.start_soon(self._keep_data, effect)
            case Allow(blob, readers):
                self._allow(blob, readers)
            case Discard(paths):
                self._nursery.start_soon(_discard, paths)
            case _:
                assert_never(effect)

    def _allow(self, blob: BlobId, readers: frozenset[NodeId] | None) -> None:
        """Let more peers read; what everybody may read stays so."""
        before = self._readers.get(blob, frozenset())
        self._readers[blob] = None if readers is None or before is None else before | readers

    # --- in ---

    async def _fetch(self, wanted: Fetch) -> None:
        try:
            async with self._turns:
                event = await self._fetched(wanted)
        finally:
            self._fetching.discard(wanted.blob)
        await self._tell(event)

    async def _fetched(self, wanted: Fetch) -> StoreEvent:
        blob = wanted.blob
        try:
            if not self._store.has(blob):
                await self._download(wanted)
            self._allow(blob, frozenset() if wanted.purpose == Purpose.CHECK else None)
            path = self._store.path(blob)
            data = b""
            if self._store.manifest(blob).length <= SMALL_BYTES_MAX:
                data = await trio.Path(path).read_bytes()
            return Fetched(blob, str(path), data)
        except (Unavailable, PeerFault, OSError) as error:
            return Missing(blob, str(error))

    async def _download(self, wanted: Fetch) -> None:
        """First the manifest, then the chunks that are not on the disk yet."""
        sources = [peer for peer in wanted.sources if peer != self._me]
        manifest = await self._run(Plan(wanted.blob, sources), wanted, None)
        assert manifest is not None, "the first plan ends with the manifest"
        with await self._store.begin(manifest) as download:
            plan = Plan(wanted.blob, sources, manifest, download.present)
            await self._run(plan, wanted, download)
            await download.finish()

    async def _run(
        self, plan: Plan, wanted: Fetch, download: Download | None
    ) -> BlobManifest | None:
        """Questions out, answers in, until the plan is done; raises Unavailable if it gives up.

        Without a download it ends with the manifest.
        """
        news, events = trio.open_memory_channel[TransferEvent](IN_FLIGHT_MAX + 1)
        await news.send(Begin())
        async with trio.open_nursery() as asking:
            ask = partial(asking.start_soon, self._ask, wanted.purpose, news)
            run = _Run(ask, self._tell, download)
            while not run.ended:
                for effect in plan.step(await events.receive(), Instant(0)):
                    await run.take(effect)
            asking.cancel_scope.cancel()
        if run.reason:
            raise Unavailable(f"blob {short(wanted.blob)}: {run.reason}")
        return run.manifest

    @property
    def _me(self) -> NodeId:
        return self._network.node_id

    async def _ask(
        self, purpose: Purpose, news: trio.MemorySendChannel[TransferEvent], request: Request
    ) -> None:
        try:
            payload = await self._network.request(
                request.peer, encode(request.question), PATIENCE_SECONDS
            )
        except (Unavailable, PeerFault) as error:
            await news.send(Failed(request.peer, request.question, str(error)))
            return
        self.bytes_in[purpose] += len(payload)
        await news.send(Answered(request.peer, request.question, payload))

    # --- out ---

    async def _serve(self, peer: NodeId, data: bytes) -> bytes:
        question = read_question(data)
        blob = BlobId(question.blob)
        readers = self._readers.get(blob, frozenset())
        reply: Reply
        if readers is not None and peer not in readers:
            reply = Refused("not here, or not for you")
        else:
            reply = await self._reply(question)
        payload = encode(reply)
        self.bytes_out[self._purposes.get(blob, Purpose.MODEL)] += len(payload)
        return payload

    async def _reply(self, question: AskManifest | AskChunk) -> Reply:
        blob = BlobId(question.blob)
        try:
            match question:
                case AskManifest():
                    return Manifest(self._store.manifest(blob))
                case AskChunk(index=index):
                    if not 0 <= index < len(self._store.manifest(blob).chunks):
                        return Refused("no such chunk")
                    return Chunk(await self._store.read_chunk(blob, index))
        except Unavailable as error:
            return Refused(str(error))

    # --- keeping ---

    async def _keep(self, wanted: Keep) -> None:
        try:
            blob = await self._store.add_file(Path(wanted.path))
        except Unavailable as error:
            await self._tell(Missing(BlobId(b""), f"{wanted.path}: {error}"))
            return
        self._purposes[blob] = wanted.purpose
        self._allow(blob, wanted.readers)
        await self._tell(Kept(wanted.path, blob))

    async def _keep_data(self, wanted: KeepData) -> None:
        with suppress(Unavailable):  # Whoever needs it will not find it, and says so.
            blob = await self._store.add_bytes(wanted.data)
            self._purposes[blob] = wanted.purpose
            self._allow(blob, None)


@dataclass(slots=True)
class _Run:
    """How far one plan has come, and where its chunks go."""

    ask: Callable[[Request], None]
    tell: Tell
    download: Download | None
    manifest: BlobManifest | None = None
    ended: bool = False
    reason: str = ""

    async def take(self, effect: TransferEffect) -> None:
        """One effect; after the end only blame counts."""
        match effect:
            case Request() if not self.ended:
                self.ask(effect)
            case Blame():
                await self.tell(effect)
            case Known(manifest) if self.download is None and not self.ended:
                self.manifest, self.ended = manifest, True
            case KeepChunk(index, data) if self.download is not None and not self.ended:
                try:
                    await self.download.write_chunk(index, data)
                except Unavailable as error:
                    self.reason, self.ended = str(error), True
            case Done():
                self.ended = True
            case GaveUp(reason):
                self.reason, self.ended = reason, True
            case _:
                pass


async def _discard(paths: tuple[str, ...]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            await trio.Path(path).unlink()
