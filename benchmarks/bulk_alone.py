"""What one thread needs for each part of the work of a bulk transfer; see `benchmarks.bulk`."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dpin.base.blob import CHUNK_BYTES
from dpin.base.crypto import blake3_digest

CHUNKS: Final = {"full": 128, "short": 4}
TAG_BYTES: Final = 16
HUNDRED: Final = 100_000_000


def alone(size: str, folder: Path | None) -> dict[str, float]:
    """CPU seconds for 100 MB, by what is done: opened, hashed, written."""
    cipher, nonce = AESGCM(bytes(32)), bytes(12)
    frame = memoryview(bytearray(os.urandom(CHUNK_BYTES) + bytes(TAG_BYTES)))
    body, count = frame[:-TAG_BYTES], CHUNKS[size]

    def seal(_: int) -> None:
        cipher.encrypt_into(nonce, body, b"", frame)

    def seal_and_open(_: int) -> None:
        cipher.encrypt_into(nonce, body, b"", frame)
        cipher.decrypt_into(nonce, frame, b"", body)

    def digest(_: int) -> None:
        blake3_digest(body)

    sealed = _each(seal, count)
    with _file(folder, count) as descriptor:

        def write(index: int) -> None:
            os.pwrite(descriptor, body, index * CHUNK_BYTES)

        return {
            "opened": _each(seal_and_open, count) - sealed,
            "hashed": _each(digest, count),
            "written": _each(write, count),
        }


@contextmanager
def _file(folder: Path | None, count: int) -> Iterator[int]:
    """A file that has its room, as the store makes it."""
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, count * CHUNK_BYTES)
        yield file.fileno()


def _each(work: Callable[[int], None], count: int) -> float:
    work(0)
    began = time.thread_time()
    for index in range(count):
        work(index)
    return (time.thread_time() - began) * HUNDRED / (count * CHUNK_BYTES)
