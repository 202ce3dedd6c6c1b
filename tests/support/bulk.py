"""Blobs and bulk planes for tests: a library in memory, and planes over real hosts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dpin.base.blob import CHUNK_BYTES, check_chunk, manifest_of
from dpin.base.errors import Unavailable
from dpin.base.ids import NodeId
from dpin.net.blobwire import (
    AskBlob,
    AskChunk,
    AskHave,
    AskManifest,
    Have,
    Manifest,
    Question,
    Reply,
    Whole,
    bits_of,
    is_small,
)
from dpin.net.bulk import BulkOptions, BulkPlane, open_bulk
from dpin.net.bulkasked import Land
from dpin.net.bulkflow import Loan
from tests.support.hosts import two_hosts

PLAIN = BulkOptions()


@dataclass
class InMemory:
    """A chunk that is lent."""

    piece: bytes

    def read(self, into: memoryview) -> int:
        into[: len(self.piece)] = self.piece
        return len(self.piece)

    async def settle(self) -> None:
        return None


@dataclass
class Shelf:
    """One blob in memory, given to everybody; `asked` is what was asked of it."""

    data: bytes
    asked: list[Question] = field(default_factory=list)
    spoiled: bool = False

    async def answer(self, peer: NodeId, question: AskManifest | AskBlob | AskHave) -> Reply:
        self.asked.append(question)
        manifest = manifest_of(self.data)
        if isinstance(question, AskBlob) and is_small(manifest):
            return Whole(manifest, b"?" + self.data[1:] if self.spoiled else self.data)
        if isinstance(question, AskManifest | AskBlob):
            return Manifest(manifest)
        return Have(bits_of(range(len(manifest.chunks))))

    def loan(self, peer: NodeId, question: AskChunk) -> Loan:
        self.asked.append(question)
        start = question.index * CHUNK_BYTES
        piece = self.data[start : start + CHUNK_BYTES]
        if not piece:
            raise Unavailable("no such chunk")
        return InMemory(b"?" + piece[1:] if self.spoiled else piece)


class Landing:
    """Where the chunks of a blob land in a test."""

    def __init__(self, data: bytes) -> None:
        self.manifest = manifest_of(data)
        self.got: dict[int, bytes] = {}

    def land(self, index: int) -> Land:
        def land(data: memoryview) -> None:
            check_chunk(self.manifest, index, data)
            self.got[index] = bytes(data)

        return land


@asynccontextmanager
async def two_planes(
    one: BulkOptions = PLAIN, two: BulkOptions = PLAIN
) -> AsyncIterator[tuple[BulkPlane, BulkPlane]]:
    async with (
        two_hosts() as (first, second),
        open_bulk(first, one) as giver,
        open_bulk(second, two) as taker,
    ):
        yield giver, taker
