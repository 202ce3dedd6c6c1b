"""Blobs in and out: fetches what machines want, serves what they allow, counts what moved."""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol, assert_never

import trio

from dpin.base.blob import BlobManifest
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import BlobId, NodeId, short
from dpin.base.machine import Blame, Tick, Wake
from dpin.base.units import MICROS_PER_SECOND
from dpin.net.blobwire import (
    AskChunk,
    BlobQuestion,
    Have,
    Manifest,
    Whole,
)
from dpin.net.bulk import BulkPlane
from dpin.net.bulkasked import Denial
from dpin.net.course import Course
from dpin.net.links import clock
from dpin.net.sharing import IN_FLIGHT_MAX
from dpin.net.transfer import (
    Answered,
    Begin,
    Denied,
    Done,
    Failed,
    GaveUp,
    Known,
    Landed,
    Lied,
    Request,
)
from dpin.net.transfer import Effect as TransferEffect
from dpin.net.transfer import Event as TransferEvent
from dpin.net.transfer import Fetch as Plan
from dpin.node.landing import Landing
from dpin.node.lending import Lending
from dpin.storage.blobs import BlobStore
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
    Need,
    Oversized,
    Purpose,
    StoreEffect,
    StoreEvent,
)

NEWS_MAX: Final = 2 * IN_FLIGHT_MAX  # what peers did, not yet taken by the plan
FETCHES_MAX: Final = 16  # at once; more wait their turn
PUBLIC: Final = frozenset({Purpose.MODEL, Purpose.SHARD})  # worth looking for at strangers
PASSING: Final = frozenset({Purpose.UPDATE, Purpose.CHECK})  # of use for a while
Tell = Callable[[StoreEvent | Blame], Awaitable[None]]


class Catalogue(Protocol):
    """Who else has a blob; the directory of all nodes."""

    def provide(self, blob: BlobId) -> None:
        """Say that this node gives a blob to everybody."""
        ...

    async def sources(self, blob: BlobId) -> tuple[NodeId, ...]:
        """Connected peers that say so."""
        ...


class Courier:
    """The blob store's door to the network. All work is done in tasks of the nursery."""

    def __init__(
        self, nursery: trio.Nursery, plane: BulkPlane, store: BlobStore, tell: Tell
    ) -> None:
        self.nursery = nursery
        self.store = store
        self.lending = Lending(store)
        self._plane = plane
        self._tell = tell
        self._courses: dict[BlobId, Course] = {}  # of fetches that are traced
        self._fetching: set[BlobId] = set()
        self._turns = trio.CapacityLimiter(FETCHES_MAX)
        self._catalogue: Catalogue | None = None
        self.bytes_in = dict.fromkeys(Purpose, 0)
        self.bytes_out = self.lending.bytes_out
        plane.serve(self.lending)

    def perform(self, effect: StoreEffect) -> None:
        """Do what a machine asks; what comes of it is told later."""
        match effect:
            case Fetch(blob):
                if blob not in self._fetching:
                    self._fetching.add(blob)
                    self.nursery.start_soon(self._fetch, effect)
            case Keep():
                self.nursery.start_soon(self._keep, effect)
            case KeepData():
                self.nursery.start_soon(self._keep_data, effect)
            case Allow(blob, readers):
                self.lending.allow(blob, readers)
            case Need():
                self.store.needs.take(effect)
            case Discard(paths):
                self.nursery.start_soon(_discard, paths)
            case _:
                assert_never(effect)

    @property
    def catalogue(self) -> Catalogue | None:
        """The directory of all nodes, once there is one."""
        return self._catalogue

    @catalogue.setter
    def catalogue(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        for blob in self.store.pins.public():
            catalogue.provide(blob)

    def publish(self, blob: BlobId) -> None:
        """Give a blob to everybody, and say so."""
        self.lending.allow(blob, None)
        _provide(self.catalogue, blob, Purpose.MODEL, public=True)

    async def traced(self, wanted: Fetch, course: Course) -> StoreEvent:
        """Fetch now, beside what machines want, and note how it goes."""
        self._courses[wanted.blob] = course
        try:
            with self._plane.watched(lambda peer, what: course.step(clock(), peer, what)):
                return await self._fetched(wanted)
        finally:
            self._courses.pop(wanted.blob, None)

    # --- in ---

    async def _fetch(self, wanted: Fetch) -> None:
        try:
            async with self._turns:
                event = await self._fetched(wanted)
        finally:
            self._fetching.discard(wanted.blob)
        await self._tell(event)

    async def _fetched(self, wanted: Fetch) -> StoreEvent:
        blob, small = wanted.blob, None
        try:
            if self.store.has(blob):
                _lend(self.lending, wanted)
            else:
                small = await self._download_from_any(wanted)
                _provide(self.catalogue, blob, wanted.purpose, public=self.lending.is_public(blob))
            return await _found(self.store, wanted, small)
        except _OversizedError as large:
            return Oversized(blob, large.length)
        except (Unavailable, PeerFault, OSError) as error:
            return Missing(blob, str(error))

    async def _download_from_any(self, wanted: Fetch) -> bytes | None:
        """Those whom the machine named may be gone: then from whoever else has it."""
        try:
            return await self._download(wanted)
        except Unavailable:
            if self.catalogue is None or wanted.purpose not in PUBLIC:
                raise
            others = set(await self.catalogue.sources(wanted.blob)) - set(wanted.sources)
            if not others:
                raise
            return await self._download(replace(wanted, sources=tuple(sorted(others))))

    async def _download(self, wanted: Fetch) -> bytes | None:
        """First the manifest, which brings what is small, then the chunks that are not here yet.

        Returns what is small.
        """
        me = self._plane.node_id
        sources = [peer for peer in wanted.sources if peer != me]
        known = await self._run(Plan(wanted.blob, sources), wanted, None)
        assert known is not None, "the first plan ends with the manifest"
        manifest = known.manifest
        _bounded(manifest, wanted)
        # What others keep can be had again: no round waits until this disk has it.
        passes = wanted.purpose in PASSING
        if known.data is not None:
            await self.store.add_bytes(known.data, durable=not passes)
            _lend(self.lending, wanted)
            self.bytes_in[wanted.purpose] += len(known.data)
            return known.data
        with await self.store.begin(manifest) as download:
            _lend(self.lending, wanted)
            start = int.from_bytes(me[:4])
            plan = Plan(wanted.blob, sources, manifest, download.present, start)
            await self._run(plan, wanted, Landing(manifest, download))
            await (download.hold() if passes else download.finish())
        return None

    async def _run(self, plan: Plan, wanted: Fetch, landing: "Landing | None") -> Known | None:
        """Questions out, answers in, until the plan is done; raises Unavailable if it gives up.

        Without a landing it ends with the manifest.
        """
        news, events = trio.open_memory_channel[TransferEvent](NEWS_MAX)
        await news.send(Begin())
        course = self._courses.get(wanted.blob)
        async with trio.open_nursery() as asking:
            ask = partial(asking.start_soon, self._ask, (wanted.purpose, landing), news)
            run = _Run(ask, self._tell)
            while not run.ended:
                event: TransferEvent = Tick()
                with trio.move_on_at(run.wake_at):
                    event = await events.receive()
                if landing is not None and landing.refusal:
                    run.reason, run.ended = landing.refusal, True
                for effect in _stepped(plan, event, course):
                    await run.take(effect)
            asking.cancel_scope.cancel()
        if run.reason:
            raise Unavailable(f"blob {short(wanted.blob)}: {run.reason}")
        return run.known

    async def _ask(
        self,
        into: "tuple[Purpose, Landing | None]",
        news: trio.MemorySendChannel[TransferEvent],
        request: Request,
    ) -> None:
        peer, question = request.peer, request.question
        event: TransferEvent
        try:
            event = await self._answered(into, peer, question)
        except Denial as error:
            event = Denied(peer, question, str(error))
        except PeerFault as fault:
            event = Lied(peer, question, str(fault))
        except Unavailable as error:
            event = Failed(peer, question, str(error))
        await news.send(event)

    async def _answered(
        self, into: "tuple[Purpose, Landing | None]", peer: NodeId, question: BlobQuestion
    ) -> TransferEvent:
        purpose, landing = into
        if not isinstance(question, AskChunk):
            reply = await self._plane.ask(peer, question)
            if isinstance(reply, Manifest | Whole | Have):
                return Answered(peer, question, reply)
            raise PeerFault("answered another question than the one that was put")
        assert landing is not None, "chunks are asked for by the manifest"
        await self._plane.fetch(
            peer, question, landing.land(question.index), first_of_many=landing.many
        )
        self.bytes_in[purpose] += landing.landed(question.index)
        return Landed(peer, question.index)

    # --- keeping ---

    async def _keep(self, wanted: Keep) -> None:
        try:
            blob = await self.store.add_file(Path(wanted.path))
        except Unavailable as error:
            await self._tell(Missing(BlobId(b""), f"{wanted.path}: {error}"))
            return
        self.lending.lend(blob, wanted.purpose, wanted.readers)
        _provide(self.catalogue, blob, wanted.purpose, public=self.lending.is_public(blob))
        length = self.store.manifest(blob).length
        await self._tell(Kept(wanted.path, blob, length))

    async def _keep_data(self, wanted: KeepData) -> None:
        with suppress(Unavailable):  # Whoever needs it will not find it, and says so.
            blob = await self.store.add_bytes(wanted.data)
            self.lending.lend(blob, wanted.purpose, None)


@dataclass(slots=True)
class _Run:
    """How far one plan has come."""

    ask: Callable[[Request], None]
    tell: Tell
    known: Known | None = None
    wake_at: float = math.inf
    ended: bool = False
    reason: str = ""

    async def take(self, effect: TransferEffect) -> None:
        """One effect; after the end only blame counts."""
        match effect:
            case Request() if not self.ended:
                self.ask(effect)
            case Blame():
                await self.tell(effect)
            case Known() if not self.ended:
                self.known, self.ended = effect, True
            case Wake(at):
                self.wake_at = at / MICROS_PER_SECOND
            case Done():
                self.ended = True
            case GaveUp(reason):
                self.reason, self.ended = reason, True
            case _:
                pass


def _stepped(plan: Plan, event: TransferEvent, course: Course | None) -> Sequence[TransferEffect]:
    """One step of a plan, with a note of it where that is wanted."""
    now = clock()
    effects = plan.step(event, now)
    if course is not None:
        course.took(event, now)
        for effect in effects:
            course.gave(effect, now)
    return effects


class _OversizedError(Exception):
    """A checked manifest says that the blob has more bytes than whoever wants it allows."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length


def _bounded(manifest: BlobManifest, wanted: Fetch) -> int:
    """The length of the blob; raises _OversizedError."""
    if manifest.length > wanted.bytes_max:
        raise _OversizedError(manifest.length)
    return manifest.length


def _lend(lending: Lending, wanted: Fetch) -> None:
    """Whoever fetches it too may have the parts that are here, unless they are for a check."""
    readers: frozenset[NodeId] = frozenset()
    check = wanted.purpose == Purpose.CHECK
    lending.lend(wanted.blob, wanted.purpose, readers if check else None)


async def _found(store: BlobStore, wanted: Fetch, small: bytes | None) -> Fetched:
    """What is here now, perhaps in memory; raises Unavailable, OSError, and _OversizedError."""
    length = _bounded(store.manifest(wanted.blob), wanted)
    path = store.path(wanted.blob)
    data = b"" if small is None or length > SMALL_BYTES_MAX else small
    if small is None and length <= SMALL_BYTES_MAX:
        data = await trio.Path(path).read_bytes()
    return Fetched(wanted.blob, str(path), data, length)


async def _discard(paths: tuple[str, ...]) -> None:
    for path in paths:
        with suppress(OSError):  # Gone already, or in nobody's way but the disk's.
            await trio.Path(path).unlink()


def _provide(
    catalogue: Catalogue | None,
    blob: BlobId,
    purpose: Purpose,
    *,
    public: bool,
) -> None:
    """Tell of a blob that everybody may read, where that is of use."""
    if catalogue is not None and purpose in PUBLIC and public:
        catalogue.provide(blob)
