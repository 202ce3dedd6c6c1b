"""Content-addressed files: models, shards, updates. Checked when they come and when they are read.

A blob is two files named by the hexadecimal id: `ID.manifest`, and `ID.data` when it is whole or
`ID.part` while chunks are missing, or where nobody waited for the disk; and `ID.pin` where its
owner wants it to stay. Which chunks of a part are there is never written down: they are hashed
again when a download goes on, so a crash can leave no wrong answer.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trio

from dpin.base.blob import (
    CHUNK_BYTES,
    BlobManifest,
    blob_id,
    check_chunk,
    check_manifest,
    chunk_length,
    manifest_of,
)
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import BlobId, short
from dpin.storage.blobfiles import (
    Files,
    Held,
    manifest_of_file,
    read_chunk,
    read_into,
    small_file,
    write_whole,
)
from dpin.storage.needs import Needs
from dpin.storage.ondisk import on_disk, refusal
from dpin.storage.pins import Pins

BLOBS_MAX: Final = 1 << 16  # what is known of each lies in memory
HASHED_AT_ONCE: Final = 64 << 10  # bytes, in the loop: a thread would cost more
PROOF_SECONDS: Final = 600.0  # a chunk that was hashed is given out unhashed for so long


class BlobStore:
    """The blobs of one node, within a quota; the longest unused make room for new ones."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        """Open or create the store in `folder`; the oldest files count as the longest unused.

        Reads names and manifests only. Raises Unavailable where the disk refuses.
        """
        self._files = Files(folder)
        self._quota_bytes = quota_bytes
        self._changing = trio.Lock()  # held while a blob is made, finished, evicted or found bad
        try:
            self._held = self._files.found()  # the longest unused first
        except OSError as error:
            raise refusal(error) from error
        self.pins = Pins(self._files, self._held, self._changing)
        self.needs = Needs(self._held)

    async def add_file(self, path: Path) -> BlobId:
        """Copy a file in; Unavailable where it cannot be read, changes, or has no room."""
        small = await on_disk(partial(small_file, path))
        if small is not None:
            return await self.add_bytes(small)
        manifest = await on_disk(partial(manifest_of_file, path))
        with await self.begin(manifest) as download:
            for index in download.missing():
                data = await on_disk(partial(read_chunk, path, manifest, index))
                try:
                    await download.write_chunk(index, data)
                except PeerFault as error:
                    raise Unavailable(f"{path} changed while it was read") from error
            await download.finish()
        return download.blob

    async def add_bytes(self, data: bytes, *, durable: bool = True) -> BlobId:
        """Keep `data` as a blob; where not `durable`, as `Download.hold` does.

        What makes one chunk, and nothing is here of, takes one stay in a thread.
        """
        little = len(data) <= HASHED_AT_ONCE
        manifest = manifest_of(data) if little else await on_disk(partial(manifest_of, data))
        if len(manifest.chunks) == 1 and await self._written(manifest, data, durable=durable):
            return blob_id(manifest)
        with await self.begin(manifest) as download:
            for index in download.missing():
                start = index * CHUNK_BYTES
                await download.write_chunk(index, data[start : start + CHUNK_BYTES])
            await (download.finish() if durable else download.hold())
        return download.blob

    def has(self, blob: BlobId) -> bool:
        """Whether the whole blob is here."""
        held = self._held.get(blob)
        return held is not None and held.whole

    def __contains__(self, blob: BlobId) -> bool:
        """Whether anything of the blob is here."""
        return blob in self._held

    @property
    def count(self) -> int:
        """Blobs of which anything is here."""
        return len(self._held)

    def manifest(self, blob: BlobId) -> BlobManifest:
        """The checked manifest of a blob that is here, whole or in part."""
        return self._used(blob).manifest

    def path(self, blob: BlobId) -> Path:
        """Where the whole blob lies, to be read only, until room is made for another."""
        held = self._used(blob)
        if not held.whole:
            raise Unavailable(f"blob {short(blob)} is not whole yet")
        return self._files.lies(blob, held)

    def reader(self, blob: BlobId) -> "Reader":
        """For the chunks that are here; raises Unavailable where none is."""
        return Reader(self._files, self._degrade, blob, self._used(blob))

    async def begin(self, manifest: BlobManifest) -> "Download":
        """Make room for a blob, or go on with what is here of it; use the result in `with`.

        PeerFault where the manifest breaks the limits, Unavailable where the quota has no room.
        """
        blob = blob_id(manifest)
        check_manifest(blob, manifest)
        async with self._changing:
            held = self._held.get(blob)
            if held is None:
                held = Held(manifest, whole=False, present=set(), needed=blob in self.needs)
                await self._make_room(held.size, self.needs.spared(blob))
                try:
                    await on_disk(partial(self._files.create, blob, manifest))
                except Unavailable:
                    await on_disk(partial(self._files.remove, blob))
                    raise
                self._held[blob] = held
            elif not held.whole and held.present is None:
                held.present = await on_disk(partial(self._files.good_chunks, blob, manifest))
            held.users += 1
        return Download(self._files, self._changing, blob, held)

    async def _written(self, manifest: BlobManifest, data: bytes, *, durable: bool) -> bool:
        """Write all of a blob of one chunk, unless anything is here of it."""
        blob = blob_id(manifest)
        async with self._changing:
            if blob in self._held:
                return False
            held = Held(manifest, whole=True, durable=durable)
            await self._make_room(held.size, self.needs.spared(blob))
            write = partial(write_whole, self._files, blob, manifest, data, durable=durable)
            try:
                held.prove(0, await on_disk(write))
            except Unavailable:
                await on_disk(partial(self._files.remove, blob))
                raise
            held.proved_since, held.needed = trio.current_time(), blob in self.needs
            self._held[blob] = held
        return True

    def _used(self, blob: BlobId) -> Held:
        held = self._held.pop(blob, None)
        if held is None:
            raise Unavailable(f"blob {short(blob)} is not here")
        self._held[blob] = held
        return held

    async def _make_room(self, size: int, spared: int) -> None:
        """Evict the longest unused until one of `size` fits; nothing where that cannot be."""
        kept = spared + sum(held.size for held in self._held.values() if held.stays)
        if kept + size > self._quota_bytes:
            raise Unavailable(
                f"disk quota of {self._quota_bytes} bytes: a blob of {size} does not fit "
                f"beside {kept} in use or kept for jobs: raise share.disk"
            )
        taken = sum(held.size for held in self._held.values())
        while taken + size > self._quota_bytes or len(self._held) >= BLOBS_MAX:
            unused = next((blob for blob, held in self._held.items() if not held.stays), None)
            if unused is None:
                raise Unavailable("disk quota: what could have made room is in use by now")
            taken -= self._held.pop(unused).size
            with trio.CancelScope(shield=True):  # Gone from the list is gone from the disk.
                await on_disk(partial(self._files.remove, unused))

    async def _degrade(self, blob: BlobId, held: Held) -> None:
        """Look at every chunk of a blob that gave a bad one, and keep the good as a part."""
        with trio.CancelScope(shield=True):
            async with self._changing:
                if self._held.get(blob) is not held:
                    return  # Evicted under the reader.
                good = await on_disk(partial(self._files.good_chunks, blob, held.manifest))
                if held.whole and len(good) < len(held.manifest.chunks):
                    await on_disk(partial(self._files.reopen, blob))
                    held.whole = False
                held.present = good


class Reader:
    """The chunks of a blob that is here, whole or in part."""

    def __init__(
        self,
        files: Files,
        degrade: Callable[[BlobId, Held], Awaitable[None]],
        blob: BlobId,
        held: Held,
    ) -> None:
        """Made by `BlobStore.reader`."""
        self._files = files
        self._degrade = degrade
        self._blob = blob
        self._held = held

    def here(self) -> list[int]:
        """Which chunks there are."""
        return [n for n in range(len(self._held.manifest.chunks)) if self._held.has(n)]

    async def read(self, index: int) -> bytes:
        """One chunk, hashed as it is read; see `loan`."""
        room = memoryview(bytearray(CHUNK_BYTES))
        self._held.proved.discard(index)
        loan = self.loan(index)
        try:
            return bytes(room[: await on_disk(partial(loan.read, room))])
        finally:
            await loan.settle()

    def loan(self, index: int) -> "Loan":
        """One chunk, to be read in any thread. Raises Unavailable where it is not here."""
        held, blob = self._held, self._blob
        if not held.has(index):
            raise Unavailable(f"chunk {index} of blob {short(blob)} is not here")
        path = self._files.lies(blob, held)
        if trio.current_time() - held.proved_since > PROOF_SECONDS:
            held.proved, held.proved_since = set(), trio.current_time()
        return Loan(held, index, path, partial(self._degrade, blob, held))


class Loan:
    """One chunk of a blob that is here."""

    def __init__(
        self, held: Held, index: int, path: Path, degrade: Callable[[], Awaitable[None]]
    ) -> None:
        """Made by `Reader.loan`."""
        self._held = held
        self._index = index
        self._path = path
        self._degrade = degrade
        self._damaged = False

    def read(self, into: memoryview) -> int:
        """Read it into the start of `into`; its length. Blocks, in any thread.

        It is hashed, unless it was within PROOF_SECONDS and the file is as it was. Raises
        Unavailable where it is damaged, or the disk refuses.
        """
        held, index = self._held, self._index
        room = into[: chunk_length(held.manifest, index)]
        try:
            stamp = read_into(self._path, index, room)
            if stamp != held.proved_stamp or index not in held.proved:
                check_chunk(held.manifest, index, room)
                held.prove(index, stamp)
        except (FileNotFoundError, PeerFault) as error:
            self._damaged = True
            raise Unavailable(f"{self._path.stem} is damaged on this disk") from error
        except OSError as error:
            raise refusal(error) from error
        return len(room)

    async def settle(self) -> None:
        """To be called after it was read: a blob with a damaged chunk becomes a part again."""
        if self._damaged:
            await self._degrade()


class Download:
    """A blob that is coming in. What has come is kept when the `with` ends or the node dies."""

    def __init__(self, files: Files, changing: trio.Lock, blob: BlobId, held: Held) -> None:
        """Made by `BlobStore.begin`."""
        self.blob = blob
        self._files = files
        self._changing = changing
        self._held = held

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.users -= 1

    @property
    def present(self) -> frozenset[int]:
        """The chunks that are here and good."""
        return frozenset(n for n in range(len(self._held.manifest.chunks)) if self._held.has(n))

    def missing(self) -> list[int]:
        """The chunks still to come, in order."""
        return [n for n in range(len(self._held.manifest.chunks)) if not self._held.has(n)]

    async def write_chunk(self, index: int, data: bytes) -> None:
        """Take one chunk; PeerFault where it is not the one, Unavailable where the disk is full."""
        await on_disk(partial(self.land, index, memoryview(data)))
        self.landed(index)

    def land(self, index: int, data: memoryview) -> None:
        """Check a chunk and put it in its place; blocks, and may be called in any thread.

        Call `landed` after it. Raises PeerFault where it is not the one, OSError from the disk.
        """
        check_chunk(self._held.manifest, index, data)
        if not self._held.has(index):
            with self._held.writing:  # The kernel lets one write at a time too; others would spin.
                self._files.write_chunk(self.blob, index, data)

    def landed(self, index: int) -> None:
        """The chunk is in its place."""
        if self._held.present is not None:
            self._held.present.add(index)

    async def finish(self) -> Path:
        """Make the blob whole and durable, and say where it lies.

        Raises Unavailable while chunks are missing.
        """
        async with self._changing:
            if self._complete():
                stamp = await on_disk(partial(self._files.finish, self.blob))
                self._whole(stamp)
            elif not self._held.durable:
                await on_disk(partial(self._files.settle, self.blob))
            self._held.durable = True
        return self._files.data(self.blob)

    async def hold(self) -> Path:
        """Make the blob whole for as long as the machine runs: nobody waits for the disk.

        After a power cut, or another start, it is a part, which is looked at before it is used.
        Raises Unavailable while chunks are missing.
        """
        async with self._changing:
            if self._complete():
                stamp = await on_disk(partial(self._files.stamp, self.blob))
                self._whole(stamp)
                self._held.durable = False
        return self._files.lies(self.blob, self._held)

    def _complete(self) -> bool:
        """Whether it is not whole yet, and could be; raises Unavailable where it could not."""
        if self.missing():
            raise Unavailable(f"blob {short(self.blob)} lacks {len(self.missing())} chunks")
        return not self._held.whole

    def _whole(self, stamp: tuple[int, int]) -> None:
        for index in self._held.present or ():
            self._held.prove(index, stamp)
        self._held.proved_since = trio.current_time()
        self._held.whole, self._held.present = True, None
