"""Who may read which blob of this node, and what they got; see dpin.net.bulk.Library."""

from functools import partial
from typing import Final

from dpin.base.blob import BlobManifest
from dpin.base.errors import Unavailable
from dpin.base.ids import BlobId, NodeId
from dpin.net.blobwire import (
    AskBlob,
    AskChunk,
    AskHave,
    AskManifest,
    Have,
    Manifest,
    Refused,
    Reply,
    Whole,
    bits_of,
    is_small,
)
from dpin.net.bulkflow import Loan
from dpin.node.landing import Counted
from dpin.storage.blobs import BlobStore
from dpin.storage.ondisk import on_disk
from dpin.storage.wanted import Purpose

SPARE: Final = 1_024  # blobs that are here no more, of which something is remembered


class Lending:
    """Gives blobs to those who may have them. What is pinned for everybody, everybody may."""

    def __init__(self, store: BlobStore) -> None:
        self.bytes_out = dict.fromkeys(Purpose, 0)
        self.purposes: dict[BlobId, Purpose] = {}
        self._store = store
        self._readers: dict[BlobId, frozenset[NodeId] | None] = dict.fromkeys(store.pins.public())

    def allow(self, blob: BlobId, readers: frozenset[NodeId] | None) -> None:
        """Let more peers read; what everybody may read stays so."""
        before = self._readers.get(blob, frozenset())
        self._readers[blob] = None if readers is None or before is None else before | readers
        if len(self._readers) > SPARE + 2 * self._store.count:
            self._forget()

    def lend(self, blob: BlobId, purpose: Purpose, readers: frozenset[NodeId] | None) -> None:
        """What a blob that is here, in part at least, is for, and who may read it."""
        self.purposes[blob] = purpose
        self.allow(blob, readers)

    def _forget(self) -> None:
        """Blobs that made room for others are nobody's; who fetches one again says it again."""
        self._readers = {one: who for one, who in self._readers.items() if one in self._store}
        self.purposes = {one: what for one, what in self.purposes.items() if one in self._store}

    def is_public(self, blob: BlobId) -> bool:
        """Whether everybody may read it."""
        return self._readers.get(blob, frozenset()) is None

    async def answer(self, peer: NodeId, question: AskManifest | AskBlob | AskHave) -> Reply:
        """What a blob consists of, with all of it where that is little; or what is here of it."""
        blob = BlobId(question.blob)
        try:
            self._check_reader(peer, blob)
            if isinstance(question, AskHave):
                return Have(bits_of(self._store.reader(blob).here()))
            manifest = self._store.manifest(blob)
            if isinstance(question, AskBlob) and is_small(manifest):
                return await self._whole(peer, blob, manifest)
            return Manifest(manifest)
        except Unavailable as error:
            return Refused(str(error))

    async def _whole(self, peer: NodeId, blob: BlobId, manifest: BlobManifest) -> Reply:
        """A small blob and its manifest; the manifest alone where the blob is still coming in."""
        if not self._store.has(blob):
            return Manifest(manifest)
        loan = self.loan(peer, AskChunk(blob, 0))
        room = bytearray(manifest.length)
        try:
            await on_disk(partial(loan.read, memoryview(room)))
        finally:
            await loan.settle()
        return Whole(manifest, bytes(room))

    def loan(self, peer: NodeId, question: AskChunk) -> Loan:
        """A chunk."""
        blob = BlobId(question.blob)
        self._check_reader(peer, blob)
        loan = self._store.reader(blob).loan(question.index)
        return Counted(loan, self.bytes_out, self.purposes.get(blob, Purpose.MODEL))

    def _check_reader(self, peer: NodeId, blob: BlobId) -> None:
        readers = self._readers.get(blob, frozenset())
        if readers is not None and peer not in readers:
            raise Unavailable("not here, or not for you")
