"""Content-addressed files: models, shards, updates. Checked when they come and when they are read.

A blob is two files named by the hexadecimal id: `ID.manifest`, and `ID.data` when it is whole or
`ID.part` while chunks are missing. Which chunks of a part are there is never written down: they are
hashed again when a download goes on, so a crash can leave no wrong answer.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import trio

from dpin.base.blob import (
    BLOB_BYTES_MAX,
    CHUNK_BYTES,
    BlobManifest,
    blob_id,
    check_chunk,
    check_manifest,
    chunk_length,
    manifest_of,
)
from dpin.base.codec import decode, encode
from dpin.base.crypto import blake3_digest
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import ID_BYTES, BlobId, short

_NAME: Final = re.compile(r"([0-9a-f]{64})\.(manifest|data|part|new)")

T = TypeVar("T")


async def _on_disk(work: Callable[[], T]) -> T:
    """Do blocking work in a thread; what the disk refuses becomes Unavailable."""
    try:
        return await trio.to_thread.run_sync(work)
    except OSError as error:
        raise _refusal(error) from error


def _refusal(error: OSError) -> Unavailable:
    where = f" ({error.filename})" if error.filename else ""
    return Unavailable(f"the disk refused: {error.strerror or error}{where}")


@dataclass(slots=True)
class _Held:
    """A blob of which something is on the disk."""

    manifest: BlobManifest
    whole: bool
    present: set[int] | None = None  # good chunks of a part; None before they were looked at
    users: int = 0  # pins, and downloads under way; above 0 it is never evicted

    @property
    def size(self) -> int:
        """Bytes that it takes of the quota, those still to come included."""
        return self.manifest.length + ID_BYTES * len(self.manifest.chunks)

    def has(self, index: int) -> bool:
        """Whether chunk `index` should be on the disk."""
        if self.whole:
            return 0 <= index < len(self.manifest.chunks)
        return self.present is not None and index in self.present


class BlobStore:
    """The blobs of one node, within a quota; the longest unused make room for new ones."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        """Open or create the store in `folder`; the oldest files count as the longest unused.

        Reads names and manifests only. Raises Unavailable where the disk refuses.
        """
        self._files = _Files(folder)
        self._quota_bytes = quota_bytes
        self._changing = trio.Lock()  # held while a blob is made, finished, evicted or found bad
        try:
            self._held = self._files.found()  # the longest unused first
        except OSError as error:
            raise _refusal(error) from error

    async def add_file(self, path: Path) -> BlobId:
        """Copy a file in; Unavailable where it cannot be read, changes, or has no room."""
        manifest = await _on_disk(partial(_manifest_of_file, path))
        with await self.begin(manifest) as download:
            for index in download.missing():
                data = await _on_disk(partial(_read_chunk, path, manifest, index))
                try:
                    await download.write_chunk(index, data)
                except PeerFault as error:
                    raise Unavailable(f"{path} changed while it was read") from error
            await download.finish()
        return download.blob

    async def add_bytes(self, data: bytes) -> BlobId:
        """Keep `data` as a blob."""
        manifest = await _on_disk(partial(manifest_of, data))
        with await self.begin(manifest) as download:
            for index in download.missing():
                start = index * CHUNK_BYTES
                await download.write_chunk(index, data[start : start + CHUNK_BYTES])
            await download.finish()
        return download.blob

    def has(self, blob: BlobId) -> bool:
        """Whether the whole blob is here."""
        held = self._held.get(blob)
        return held is not None and held.whole

    def manifest(self, blob: BlobId) -> BlobManifest:
        """The checked manifest of a blob that is here, whole or in part."""
        return self._used(blob).manifest

    def path(self, blob: BlobId) -> Path:
        """Where the whole blob lies, to be read only. Pin it for as long as the path is used."""
        if not self._used(blob).whole:
            raise Unavailable(f"blob {short(blob)} is not whole yet")
        return self._files.data(blob)

    async def read_chunk(self, blob: BlobId, index: int) -> bytes:
        """One chunk, checked as it is read; a damaged one makes the blob a part again."""
        held = self._used(blob)
        if not held.has(index):
            raise Unavailable(f"chunk {index} of blob {short(blob)} is not here")
        path = self._files.data(blob) if held.whole else self._files.part(blob)
        try:
            data = await _on_disk(partial(_read_chunk, path, held.manifest, index))
            await _on_disk(partial(check_chunk, held.manifest, index, data))
        except PeerFault as error:
            await self._degrade(blob, held)
            raise Unavailable(f"blob {short(blob)} is damaged on this disk") from error
        return data

    def pin(self, blob: BlobId) -> None:
        """Keep a blob from eviction; one `unpin` for each. Pins end with the process."""
        self._used(blob).users += 1

    def unpin(self, blob: BlobId) -> None:
        """Take one pin away."""
        held = self._held[blob]
        assert held.users > 0, "a pin is taken away once"
        held.users -= 1

    async def begin(self, manifest: BlobManifest) -> "Download":
        """Make room for a blob, or go on with what is here of it; use the result in `with`.

        PeerFault where the manifest breaks the limits, Unavailable where the quota has no room.
        """
        blob = blob_id(manifest)
        check_manifest(blob, manifest)
        async with self._changing:
            held = self._held.get(blob)
            if held is None:
                held = _Held(manifest, whole=False, present=set())
                await self._make_room(held.size)
                await _on_disk(partial(self._files.create, blob, manifest))
                self._held[blob] = held
            elif not held.whole and held.present is None:
                held.present = await _on_disk(partial(self._files.good_chunks, blob, manifest))
            held.users += 1
        return Download(self._files, self._changing, blob, held)

    def _used(self, blob: BlobId) -> _Held:
        held = self._held.pop(blob, None)
        if held is None:
            raise Unavailable(f"blob {short(blob)} is not here")
        self._held[blob] = held
        return held

    async def _make_room(self, size: int) -> None:
        """Evict the longest unused until `size` fits; evicts nothing where that cannot be."""
        kept = sum(held.size for held in self._held.values() if held.users)
        if kept + size > self._quota_bytes:
            raise Unavailable(
                f"disk quota of {self._quota_bytes} bytes: a blob of {size} does not fit "
                f"beside {kept} in use"
            )
        while sum(held.size for held in self._held.values()) + size > self._quota_bytes:
            unused = next((blob for blob, held in self._held.items() if not held.users), None)
            if unused is None:
                raise Unavailable("disk quota: what could have made room is in use by now")
            del self._held[unused]
            with trio.CancelScope(shield=True):  # Gone from the list is gone from the disk.
                await _on_disk(partial(self._files.remove, unused))

    async def _degrade(self, blob: BlobId, held: _Held) -> None:
        """Look at every chunk of a blob that gave a bad one, and keep the good as a part."""
        with trio.CancelScope(shield=True):
            async with self._changing:
                if self._held.get(blob) is not held:
                    return  # Evicted under the reader.
                good = await _on_disk(partial(self._files.good_chunks, blob, held.manifest))
                if held.whole and len(good) < len(held.manifest.chunks):
                    await _on_disk(partial(self._files.reopen, blob))
                    held.whole = False
                held.present = good


class Download:
    """A blob that is coming in. What has come is kept when the `with` ends or the node dies."""

    def __init__(self, files: "_Files", changing: trio.Lock, blob: BlobId, held: _Held) -> None:
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
        held = self._held
        await _on_disk(partial(check_chunk, held.manifest, index, data))
        if not held.has(index):
            await _on_disk(partial(self._files.write_chunk, self.blob, index, data))
            if held.present is not None:
                held.present.add(index)

    async def finish(self) -> Path:
        """Make the blob whole and durable, and say where it lies.

        Raises Unavailable while chunks are missing.
        """
        async with self._changing:
            if self.missing():
                raise Unavailable(f"blob {short(self.blob)} lacks {len(self.missing())} chunks")
            if not self._held.whole:
                await _on_disk(partial(self._files.finish, self.blob))
                self._held.whole, self._held.present = True, None
        return self._files.data(self.blob)


class _Files:
    """The folder. Every call blocks; a name is only ever made from the 32 bytes of an id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _named(self, blob: BlobId, suffix: str) -> Path:
        assert len(blob) == ID_BYTES, "only checked ids become names"
        return self._folder / f"{blob.hex()}.{suffix}"

    def data(self, blob: BlobId) -> Path:
        """The file of a whole blob."""
        return self._named(blob, "data")

    def part(self, blob: BlobId) -> Path:
        """The file of a blob with chunks missing; the gaps read as zeros."""
        return self._named(blob, "part")

    def found(self) -> dict[BlobId, _Held]:
        """What lies here, the oldest first; what an interrupted change left over is removed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        names = {
            found[1] for path in self._folder.iterdir() if (found := _NAME.fullmatch(path.name))
        }
        held: list[tuple[int, BlobId, _Held]] = []
        for name in sorted(names):
            blob = BlobId(bytes.fromhex(name))
            manifest = self._manifest(blob)
            if manifest is None:
                self.remove(blob)
                continue
            whole = _length(self.data(blob)) == manifest.length
            if not whole:
                self.reopen(blob)
            file = self.data(blob) if whole else self.part(blob)
            held.append((file.stat().st_mtime_ns, blob, _Held(manifest, whole)))
        return {blob: one for _age, blob, one in sorted(held, key=lambda item: item[:2])}

    def _manifest(self, blob: BlobId) -> BlobManifest | None:
        try:
            manifest = decode(BlobManifest, self._named(blob, "manifest").read_bytes())
            check_manifest(blob, manifest)
        except (FileNotFoundError, PeerFault):
            return None
        return manifest

    def create(self, blob: BlobId, manifest: BlobManifest) -> None:
        """Begin an empty part. The manifest comes last: without it the rest is left-overs."""
        self.part(blob).touch(mode=0o600)
        new = self._named(blob, "new")
        with new.open("wb") as file:
            file.write(encode(manifest))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._named(blob, "manifest"))
        self._sync_names()

    def write_chunk(self, blob: BlobId, index: int, data: bytes) -> None:
        """Put a checked chunk in its place; durable only after `finish`."""
        with self.part(blob).open("r+b", buffering=0) as file:
            file.seek(index * CHUNK_BYTES)
            written = 0
            while written < len(data):
                written += file.write(data[written:])

    def good_chunks(self, blob: BlobId, manifest: BlobManifest) -> set[int]:
        """Hash what is here of a blob, and say which chunks are good."""
        path = self.data(blob) if self.data(blob).exists() else self.part(blob)
        return {
            index
            for index, digest in enumerate(manifest.chunks)
            if blake3_digest(_read_chunk(path, manifest, index)) == digest
        }

    def finish(self, blob: BlobId) -> None:
        """Turn a part of which all chunks are good into the whole."""
        with self.part(blob).open("rb") as file:
            os.fsync(file.fileno())
        self.part(blob).replace(self.data(blob))
        self._sync_names()

    def reopen(self, blob: BlobId) -> None:
        """Turn the whole into a part again; an empty one where the file is gone."""
        if self.data(blob).exists():
            self.data(blob).replace(self.part(blob))
        self.part(blob).touch(mode=0o600)

    def remove(self, blob: BlobId) -> None:
        """Take every file of a blob away."""
        for suffix in ("manifest", "data", "part", "new"):
            self._named(blob, suffix).unlink(missing_ok=True)

    def _sync_names(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _read_chunk(path: Path, manifest: BlobManifest, index: int) -> bytes:
    """What the file has in the place of a chunk; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(index * CHUNK_BYTES)
            return file.read(chunk_length(manifest, index))
    except FileNotFoundError:
        return b""


def _manifest_of_file(path: Path) -> BlobManifest:
    """Describe a file a chunk at a time."""
    length = 0
    chunks: list[bytes] = []
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            length += len(data)
            chunks.append(blake3_digest(data))
            if length > BLOB_BYTES_MAX:
                raise Unavailable(f"{path} is larger than a blob may be: {BLOB_BYTES_MAX} bytes")
    return BlobManifest(length, tuple(chunks))
