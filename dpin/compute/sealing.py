"""The files of a sealed job: written for one key, and opened in the worker's memory alone."""

from collections.abc import Iterator
from dataclasses import replace

from dpin.base.crypto import SigningKey, blake3_digest
from dpin.base.errors import Misuse
from dpin.base.sealed import RANDOM_BYTES, is_sealed, opened_bytes, sealed_bytes
from dpin.compute.door import Door, Files
from dpin.compute.safety import PrivacySpec

_RANDOM: str = "dpin/sealed/file/v1"


def sealed_file(seed: bytes, name: str, data: bytes) -> bytes:
    """A file for the job's key. What is random about it depends on all of it: made twice, the same.

    So no key is ever used for two contents, and a job prepared again has the blobs it had.
    """
    key = SigningKey(seed)
    about = name.encode() + b"\0" + blake3_digest(data)
    return sealed_bytes([key.node_id], key.derived(_RANDOM, about, RANDOM_BYTES), data)


class SealedFiles:
    """The disk, through which a job's key passes: what is sealed is opened when it is read.

    Where `sealing`, what is written is sealed; else it is written as ever.
    """

    def __init__(self, files: Files, seed: bytes, *, sealing: bool) -> None:
        self._files = files
        self._seed = seed
        self._sealing = sealing

    def read(self, path: str) -> bytes:
        """See `Files`; raises Misuse or PeerFault where the key does not open it."""
        data = self._files.read(path)
        return opened_bytes(self._seed, data) if is_sealed(data) else data

    def write(self, folder: str, name: str, *parts: bytes | memoryview) -> str:
        """See `Files`."""
        if not self._sealing:
            return self._files.write(folder, name, *parts)
        return self._files.write(folder, name, sealed_file(self._seed, name, b"".join(parts)))

    def rewrite(self, old: str, folder: str, name: str, *parts: bytes | memoryview) -> str:
        """See `Files`."""
        self._files.remove(old)
        return self.write(folder, name, *parts)

    def remove(self, path: str) -> None:
        """See `Files`."""
        self._files.remove(path)

    def corpus(self, path: str, suffixes: tuple[str, ...], bytes_max: int) -> bytes:
        """See `Files`."""
        return self._files.corpus(path, suffixes, bytes_max)

    def tree(self, path: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        """See `Files`."""
        return self._files.tree(path, suffixes)


def sealing(door: Door, seed: bytes) -> Door:
    """The door for preparing a job; no seed: nothing is sealed."""
    return replace(door, files=SealedFiles(door.files, seed, sealing=True)) if seed else door


def opening(door: Door, seed: bytes, privacy: PrivacySpec) -> Door:
    """The door for a job that is opened; raises Misuse where its data are sealed for another."""
    if not privacy.sealed:
        return door
    if not seed or SigningKey(seed).node_id != privacy.reader:
        raise Misuse("the job's data are sealed, and this is not the key that opens them")
    return replace(door, files=SealedFiles(door.files, seed, sealing=False))
