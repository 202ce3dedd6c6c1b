"""The blobs of a node in its owner's hands: put, fetched, pinned; see dpin.node.blobviews."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from dpin.base.blob import BLOB_BYTES_MAX
from dpin.base.errors import Misuse, NotFound
from dpin.base.ids import BlobId, NodeId, read_id
from dpin.base.units import MICROS_PER_MILLI, Instant
from dpin.net.course import Course, Hop, Share
from dpin.net.links import clock
from dpin.node.blobviews import (
    BlobView,
    FetchRequest,
    FetchView,
    HopView,
    PinRequest,
    PutRequest,
    SourceView,
)
from dpin.node.courier import Courier
from dpin.storage.pins import Stored
from dpin.storage.wanted import Fetch, Missing, Purpose

FETCHES_KEPT: Final = 64  # whose course can be looked at
FETCHES_MAX: Final = 32  # under way at once
SOURCES_MAX: Final = 64
_LIST: Final = "dpin blob list"


@dataclass(frozen=True, slots=True)
class Ties:
    """What a storeroom is tied to."""

    peers: Callable[[], Sequence[NodeId]]  # connected
    named: Callable[[str], NodeId]  # raises NotFound
    name: Callable[[NodeId], str]
    room: Callable[[], int | None]  # bytes that no job has a claim on
    pinned: Callable[[int], Awaitable[None]]  # so many bytes in all are pinned now


@dataclass(slots=True)
class Errand:
    """One fetch that somebody asked for."""

    blob: BlobId
    course: Course
    ended_at: Instant | None = None
    stopped: bool = False
    reason: str = ""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Storeroom:
    """See dpin.node.blobviews.Blobs."""

    def __init__(self, courier: Courier, around: Ties) -> None:
        self._courier = courier
        self._store = courier.store
        self._around = around
        self._errands: dict[BlobId, Errand] = {}

    def listed(self) -> list[BlobView]:
        """All that is here."""
        return [self._view(stored) for stored in self._store.pins.listed()]

    async def put(self, request: PutRequest) -> BlobView:
        """Copy a file in."""
        path = Path(request.path)
        if path.is_absolute() and not await trio.Path(path).exists():
            raise NotFound(f"{path}: No such file or directory", fix="name a file")
        if path.is_absolute() and await trio.Path(path).is_dir():
            raise Misuse(f"{path} is a folder", fix="name a file")
        if not path.is_absolute() or not await trio.Path(path).is_file():
            raise Misuse(f"{request.path!r} is not the whole path of a file", fix="name a file")
        blob = await self._store.add_file(path)
        if request.pin:
            await _pin(self._courier, self._around, blob, public=True)
        self._courier.publish(blob)
        return self._view_of(blob)

    async def fetch(self, blob: str, request: FetchRequest) -> FetchView:
        """Begin, or look at what is under way."""
        wanted = _whole_id(blob)
        errand = self._errands.get(wanted)
        if errand is None or errand.ended_at is not None:
            _check_room(self._errands)
            sources = [self._around.named(text) for text in request.sources[:SOURCES_MAX]]
            errand = self._errands[wanted] = Errand(wanted, Course(clock()))
            while len(self._errands) > FETCHES_KEPT:
                ended = (one for one, made in self._errands.items() if made.ended_at is not None)
                del self._errands[next(ended)]
            self._courier.nursery.start_soon(self._run, errand, tuple(sources))
        return self._fetch_view(errand)

    def fetched(self, blob: str) -> FetchView:
        """How far it has come."""
        return self._fetch_view(self._errand(blob))

    def stop(self, blob: str) -> FetchView:
        """End it."""
        errand = self._errand(blob)
        if errand.ended_at is None:
            errand.stopped = True
            errand.scope.cancel()
        return self._fetch_view(errand)

    async def pin(self, blob: str, request: PinRequest) -> BlobView:
        """Keep it, or do not."""
        found = self._found(blob)
        if request.pinned:
            public = self._courier.lending.is_public(found)
            await _pin(self._courier, self._around, found, public=public)
        else:
            await self._store.pins.take(found)
            await self._around.pinned(self._store.pins.size)
        return self._view_of(found)

    # --- fetching ---

    async def _run(self, errand: Errand, sources: tuple[NodeId, ...]) -> None:
        try:
            with errand.scope:
                sources = sources or await self._anybody(errand.blob)
                wanted = Fetch(errand.blob, sources, Purpose.MODEL, BLOB_BYTES_MAX)
                event = await self._courier.traced(wanted, errand.course)
                errand.reason = event.reason if isinstance(event, Missing) else ""
        finally:
            errand.ended_at = clock()

    async def _anybody(self, blob: BlobId) -> tuple[NodeId, ...]:
        """Who says that it has it, then whoever is connected."""
        catalogue = self._courier.catalogue
        known = () if catalogue is None else await catalogue.sources(blob)
        return tuple(dict.fromkeys([*known, *self._around.peers()]))[:SOURCES_MAX]

    def _errand(self, blob: str) -> Errand:
        found = [
            errand for one, errand in self._errands.items() if one.hex().startswith(blob.lower())
        ]
        if len(found) != 1:
            raise NotFound(f"no fetch of {blob[:80]!r} is known", fix="dpin blob get HASH")
        return found[0]

    # --- views ---

    def _found(self, blob: str) -> BlobId:
        wanted = blob.lower()
        found = [one.blob for one in self._store.pins.listed() if one.blob.hex().startswith(wanted)]
        if len(found) != 1 or not wanted:
            many = f"{len(found)} blobs go by {blob[:80]!r}" if found else f"no blob {blob[:80]!r}"
            raise NotFound(f"{many} here", fix=_LIST)
        return found[0]

    def _view_of(self, blob: BlobId) -> BlobView:
        stored = next((one for one in self._store.pins.listed() if one.blob == blob), None)
        if stored is None:
            stored = Stored(blob, 0, 0, 0, pinned=False, public=False)
        return self._view(stored)

    def _view(self, stored: Stored) -> BlobView:
        whole = self._store.has(stored.blob)
        errand = self._errands.get(stored.blob)
        state = "here" if whole else _state(errand)
        return BlobView(
            blob=stored.blob.hex(),
            state=state,
            reason=errand.reason if errand is not None and not whole else "",
            length=stored.length,
            chunks=stored.chunks,
            present=stored.present,
            pinned=stored.pinned,
            public=stored.public,
            path=str(self._store.path(stored.blob)) if whole else "",
        )

    def _fetch_view(self, errand: Errand) -> FetchView:
        course = errand.course
        view = self._view_of(errand.blob)
        if errand.ended_at is None:  # It may be here and not durable yet.
            view.state = "fetching"
        until = errand.ended_at or clock()
        return FetchView(
            blob=view,
            took_ms=(until - course.began) // MICROS_PER_MILLI,
            sources=[self._source(errand, *item) for item in course.shares.items()],
            hops=[_hop(errand, hop, self._around.name) for hop in course.hops],
            left_out=course.left_out,
        )

    def _source(self, errand: Errand, node: NodeId, share: Share) -> SourceView:
        return SourceView(
            node=node.hex(),
            name=self._around.name(node),
            chunks=share.chunks,
            bytes=share.bytes,
            asked_ms=_since(errand, share.asked_at),
            first_ms=_since(errand, share.first_at),
            last_ms=_since(errand, share.last_at),
        )


def _check_room(errands: Mapping[BlobId, Errand]) -> None:
    """Raises Misuse where as many are under way as may be."""
    busy = sum(errand.ended_at is None for errand in errands.values())
    if busy >= FETCHES_MAX:
        raise Misuse(
            f"{busy} blobs are being fetched already",
            fix="wait for one of them, or stop one: dpin blob list",
        )


async def _pin(courier: Courier, around: Ties, blob: BlobId, *, public: bool) -> None:
    """Keep a blob, unless jobs may need its room; Misuse then."""
    store, left = courier.store, around.room()
    length = store.manifest(blob).length
    before = any(one.blob == blob and one.pinned for one in store.pins.listed())
    if left is not None and length > left and not before:
        raise Misuse(
            f"{length} bytes to be pinned, and {max(0, left)} that no job may need",
            fix="raise share.disk, or wait until jobs are over",
        )
    await store.pins.put(blob, public=public)
    await around.pinned(store.pins.size)


def _hop(errand: Errand, hop: Hop, name: Callable[[NodeId], str]) -> HopView:
    return HopView(
        at_ms=_since(errand, hop.at) or 0,
        node=hop.peer.hex() if hop.peer is not None else "",
        name=name(hop.peer) if hop.peer is not None else "",
        what=hop.what,
    )


def _since(errand: Errand, at: Instant | None) -> int | None:
    return None if at is None else (at - errand.course.began) // MICROS_PER_MILLI


def _state(errand: Errand | None) -> str:
    if errand is None:
        return "part"
    if errand.ended_at is None:
        return "fetching"
    return "stopped" if errand.stopped else "failed"


def _whole_id(text: str) -> BlobId:
    found = read_id(text)
    if found is None:
        raise Misuse(f"{text[:80]!r} is not the id of a blob", fix=f"64 hex digits: {_LIST}")
    return BlobId(found)
