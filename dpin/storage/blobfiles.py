"""The files of the blob store: their names, what is in them, and what a crash left. All block."""

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

from dpin.base.blob import (
    BLOB_BYTES_MAX,
    CHUNK_BYTES,
    BlobManifest,
    check_manifest,
    chunk_length,
)
from dpin.base.codec import decode, encode
from dpin.base.crypto import blake3_digest
from dpin.base.errors import PeerFault, Unavailable
from dpin.base.ids import ID_BYTES, BlobId
from dpin.storage.durable import make_durable, make_names_durable

_NAME: Final = re.compile(r"([0-9a-f]{64})\.(manifest|data|part|pin|new)")
_PUBLIC: Final = b"public\n"
_PRIVATE: Final = b"private\n"


@dataclass(slots=True)
class Held:
    """A blob of which something is on the disk."""

    manifest: BlobManifest
    whole: bool
    present: set[int] | None = None  # good chunks of a part; None before they were looked at
    proved: set[int] = field(default_factory=set)  # chunks hashed not long ago
    proved_stamp: tuple[int, int] = (0, 0)  # what the file looked like then
    proved_since: float = 0.0
    users: int = 0  # downloads under way
    needed: bool = False  # by a job
    writing: Lock = field(default_factory=Lock)  # held while a chunk is written
    pin: bool | None = None  # its owner's, and whether everybody may read it
    durable: bool = True  # false: whole, but in a part that a power cut may take

    @property
    def stays(self) -> bool:
        """Whether it must not be evicted."""
        return self.users > 0 or self.pin is not None or self.needed

    @property
    def size(self) -> int:
        """Bytes that it takes of the quota, those still to come included."""
        return self.manifest.length + ID_BYTES * len(self.manifest.chunks)

    def prove(self, index: int, stamp: tuple[int, int]) -> None:
        """A chunk was hashed and is good, in a file of this time and length."""
        if stamp != self.proved_stamp:
            self.proved, self.proved_stamp = set(), stamp
        self.proved.add(index)

    def has(self, index: int) -> bool:
        """Whether chunk `index` should be on the disk."""
        if self.whole:
            return 0 <= index < len(self.manifest.chunks)
        return self.present is not None and index in self.present


class Folder:
    """Names, and small files. Every call blocks; a name is only made from the 32 bytes of an id."""

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

    def lies(self, blob: BlobId, held: Held) -> Path:
        """The file of what is here of a blob."""
        return self.data(blob) if held.whole and held.durable else self.part(blob)

    def pin(self, blob: BlobId) -> bool | None:
        """None without a pin; one that cannot be read lets nobody else read."""
        path = self._named(blob, "pin")
        return path.read_bytes() == _PUBLIC if path.exists() else None

    def set_pin(self, blob: BlobId, *, public: bool | None) -> None:
        """Write a pin, or with None take it away; durable when this returns."""
        path = self._named(blob, "pin")
        if public is None:
            path.unlink(missing_ok=True)
            make_names_durable(self._folder)
        else:
            self._write_whole(path, blob, _PUBLIC if public else _PRIVATE)

    def _write_whole(self, path: Path, blob: BlobId, content: bytes) -> None:
        """A crash leaves the file as it was before, or as it is to be."""
        new = self._named(blob, "new")
        new.write_bytes(content)
        _secure(new)
        new.replace(path)
        make_names_durable(self._folder)


class Files(Folder):
    """What blobs consist of. Every call blocks."""

    def found(self) -> dict[BlobId, Held]:
        """What lies here, the oldest first; what an interrupted change left over is removed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        names = {
            found[1] for path in self._folder.iterdir() if (found := _NAME.fullmatch(path.name))
        }
        held: list[tuple[int, BlobId, Held]] = []
        for name in sorted(names):
            blob = BlobId(bytes.fromhex(name))
            manifest = self._manifest(blob)
            if manifest is None:
                self.remove(blob)
                continue
            whole = _length(self.data(blob)) == manifest.length
            self._named(blob, "new").unlink(missing_ok=True)
            if whole:
                self._forget_twin(blob)
            else:
                self.reopen(blob)
            file = self.data(blob) if whole else self.part(blob)
            one = Held(manifest, whole, pin=self.pin(blob))
            held.append((file.stat().st_mtime_ns, blob, one))
        return {blob: one for _age, blob, one in sorted(held, key=lambda item: item[:2])}

    def _manifest(self, blob: BlobId) -> BlobManifest | None:
        try:
            manifest = decode(BlobManifest, self._named(blob, "manifest").read_bytes())
            check_manifest(blob, manifest)
        except (FileNotFoundError, PeerFault):
            return None
        return manifest

    def create(self, blob: BlobId, manifest: BlobManifest) -> None:
        """Begin an empty part. The manifest comes last: without it the rest is left-overs.

        The part has its room on the disk from the start: a full disk refuses at once, and pages
        of a file that grows cost several times as much to write. Nothing is synced: a power cut may
        take what is young, and a torn manifest with all that it describes.
        """
        with open(self.part(blob), "wb", opener=_private) as part:
            if manifest.length and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(part.fileno(), 0, manifest.length)
        new = self._named(blob, "new")
        new.write_bytes(encode(manifest))
        new.replace(self._named(blob, "manifest"))

    def write_chunk(self, blob: BlobId, index: int, data: bytes | memoryview) -> None:
        """Put a checked chunk in its place; durable only after `finish`."""
        view, written = memoryview(data), 0
        file = os.open(self.part(blob), os.O_WRONLY | os.O_CLOEXEC)
        try:
            while written < len(view):
                written += os.pwrite(file, view[written:], index * CHUNK_BYTES + written)
        finally:
            os.close(file)

    def good_chunks(self, blob: BlobId, manifest: BlobManifest) -> set[int]:
        """Hash what is here of a blob, and say which chunks are good."""
        path = self.data(blob) if self.data(blob).exists() else self.part(blob)
        return {
            index
            for index, digest in enumerate(manifest.chunks)
            if blake3_digest(read_chunk(path, manifest, index)) == digest
        }

    def stamp(self, blob: BlobId) -> tuple[int, int]:
        """Time and length of a part."""
        found = self.part(blob).stat()
        return found.st_mtime_ns, found.st_size

    def finish(self, blob: BlobId) -> tuple[int, int]:
        """Turn a part of which all chunks are good into the whole; its time and length."""
        self.secure(blob)
        stamp = self.stamp(blob)
        self.part(blob).replace(self.data(blob))
        make_names_durable(self._folder)
        return stamp

    def settle(self, blob: BlobId) -> None:
        """Make a part that is used as the whole durable. Whoever reads it goes on reading it."""
        self.secure(blob)
        self.data(blob).unlink(missing_ok=True)
        try:
            os.link(self.part(blob), self.data(blob))
        except OSError:  # Whatever it is called: on exFAT and some mounts a file has one name.
            self._copy(blob)
        make_names_durable(self._folder)

    def _copy(self, blob: BlobId) -> None:
        """Make the whole beside its part; it lies there twice until the next start."""
        new = self._named(blob, "new")
        with self.part(blob).open("rb") as part, open(new, "wb", opener=_private) as whole:
            shutil.copyfileobj(part, whole, CHUNK_BYTES)
        _secure(new)
        new.replace(self.data(blob))

    def _forget_twin(self, blob: BlobId) -> None:
        """At a start nobody reads the part of a whole; as another name of it it takes no room."""
        part = self.part(blob)
        if part.exists() and not part.samefile(self.data(blob)):
            part.unlink()

    def secure(self, blob: BlobId) -> None:
        """Return when the device has the manifest and the part, their names apart."""
        for path in (self._named(blob, "manifest"), self.part(blob)):
            if path.exists():
                _secure(path)

    def reopen(self, blob: BlobId) -> None:
        """Turn the whole into a part again; an empty one where the file is gone."""
        if self.data(blob).exists():
            self.data(blob).replace(self.part(blob))
        self.part(blob).touch(mode=0o600)

    def remove(self, blob: BlobId) -> None:
        """Take every file of a blob away."""
        for suffix in ("manifest", "data", "part", "pin", "new"):
            self._named(blob, suffix).unlink(missing_ok=True)


def read_into(path: Path, index: int, room: memoryview) -> tuple[int, int]:
    """Fill the room from where a chunk lies; what the file looked like: its time and length."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        got = 0
        while got < len(room):
            some = os.preadv(file, [room[got:]], index * CHUNK_BYTES + got)
            if not some:
                break
            got += some
        found = os.fstat(file)
    finally:
        os.close(file)
    if got < len(room):
        raise PeerFault(f"chunk {index} is cut short on this disk")
    return found.st_mtime_ns, found.st_size


def _secure(path: Path) -> None:
    with path.open("rb") as file:
        make_durable(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def read_chunk(path: Path, manifest: BlobManifest, index: int) -> bytes:
    """What the file has in the place of a chunk; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(index * CHUNK_BYTES)
            return file.read(chunk_length(manifest, index))
    except FileNotFoundError:
        return b""


def write_whole(
    files: Files, blob: BlobId, manifest: BlobManifest, data: bytes, *, durable: bool
) -> tuple[int, int]:
    """Write all of a blob of one chunk; its time and length."""
    files.create(blob, manifest)
    files.write_chunk(blob, 0, data)
    return files.finish(blob) if durable else files.stamp(blob)


def small_file(path: Path) -> bytes | None:
    """All of a file that makes no more than one chunk; None for another one."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > CHUNK_BYTES:
            return None
        data = file.read(CHUNK_BYTES + 1)
    return data if len(data) <= CHUNK_BYTES else None


def manifest_of_file(path: Path) -> BlobManifest:
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
