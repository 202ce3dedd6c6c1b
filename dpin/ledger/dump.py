"""What a node writes down when it has come to another state than the others: for people to read.

Both states' hashes of buckets lead to the roots that were signed, and the entries of every bucket
to its hash: so a dump shows by itself what it claims, whoever hands it on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId, Digest, NodeId
from dpin.ledger.assembly import read_bucket
from dpin.ledger.book import Kind, Part
from dpin.ledger.certificates import Certificate
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.divergence import Certified, Parting, differing
from dpin.ledger.frozen import PAGE_BYTES, Entry, Frozen
from dpin.ledger.statetree import BUCKETS, root_of_buckets

DUMP_VERSION: Final = 1
NAMED_MAX: Final = 3  # parts that a summary names


class DumpHead(Wire, frozen=True, tag=1):
    """Where two states part: the node's own checkpoint, and what others have signed instead."""

    version: int
    chain: ChainId
    node: NodeId
    checkpoint: Checkpoint  # the node's own
    size: int  # of its receipts log
    root: Digest
    others: tuple[tuple[int, Digest], ...]  # author index, and the checkpoint that it names
    certificate: Certificate | None  # of the one that a quorum has signed
    ours: tuple[Digest, ...]  # hashes of the buckets; none: the state is not held any more
    theirs: tuple[Digest, ...]  # none: nobody has shown them


class DumpBucket(Wire, frozen=True, tag=2):
    """Some of what stands in a bucket, on one side."""

    bucket: int
    theirs: bool
    entries: tuple[Entry, ...]


class DumpEnd(Wire, frozen=True, tag=3):
    """The last record; a dump without one was cut."""

    records: int  # before this one


Dumped = DumpHead | DumpBucket | DumpEnd


def dump(head: DumpHead, own: Frozen | None, certified: Certified | None) -> Iterator[bytes]:
    """The records of a dump, made as they are taken; the ledger must stand still meanwhile.

    Without what others have, all of the node's own state.
    """
    count = 1
    yield encode(head)
    numbers = sorted(certified.buckets) if certified is not None else range(BUCKETS)
    for number in numbers if own is not None else ():
        assert own is not None, "it was looked at above"
        start: int | None = 0
        while start is not None:
            entries, start = own.page(number, start)
            count += 1
            yield encode(DumpBucket(number, theirs=False, entries=entries))
    for number in sorted(certified.buckets) if certified is not None else ():
        assert certified is not None, "it was looked at above"
        for page in _pages(certified.buckets[number]):
            count += 1
            yield encode(DumpBucket(number, theirs=True, entries=page))
    yield encode(DumpEnd(count))


def _pages(entries: Sequence[Entry]) -> Iterator[tuple[Entry, ...]]:
    page: list[Entry] = []
    size = 0
    for entry in entries:
        page.append(entry)
        size += len(entry.value) + len(entry.id)
        if size >= PAGE_BYTES:
            yield tuple(page)
            page, size = [], 0
    if page:
        yield tuple(page)


@dataclass(frozen=True, slots=True)
class PartDiffers:
    """A part of the state as the node had it and as it was certified; None: it is not there."""

    part: Part
    ours: bytes | None
    theirs: bytes | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a dump shows."""

    head: DumpHead
    buckets: list[int]  # that differ
    parts: list[PartDiffers]  # in the buckets that were written down, by kind, id and round
    unsound: list[int]  # own buckets that do not have the hashes that the node itself signed
    held: dict[int, tuple[Entry, ...]]  # the node's own buckets that were written down


def compare(
    head: DumpHead, ours: dict[int, tuple[Entry, ...]], theirs: dict[int, tuple[Entry, ...]]
) -> Findings:
    """What differs between the buckets that are there of both sides."""
    parts: list[PartDiffers] = []
    for number in sorted(theirs):
        mine = {_part(entry): entry.value for entry in ours.get(number, ())}
        yours = {_part(entry): entry.value for entry in theirs[number]}
        pairs = ((part, mine.get(part), yours.get(part)) for part in mine.keys() | yours.keys())
        parts += [PartDiffers(*pair) for pair in pairs if pair[1] != pair[2]]
    hashes = {number: read_bucket(number, ours[number])[1].hash for number in sorted(ours)}
    unsound = [number for number, found in hashes.items() if found != head.ours[number]]
    buckets = differing(head.ours, head.theirs) if head.ours and head.theirs else []
    return Findings(head, buckets, sorted(parts, key=lambda one: one.part), unsound, ours)


def _part(entry: Entry) -> Part:
    return Kind(entry.kind), entry.id, entry.round


class DumpReader:
    """Takes the records of a dump in order, and believes no more than they show.

    Raises PeerFault for what is no whole dump, or shows as certified what is not.
    """

    def __init__(self) -> None:
        self._head: DumpHead | None = None
        self._count = 0
        self._ended = False
        self._ours: dict[int, tuple[Entry, ...]] = {}
        self._theirs: dict[int, tuple[Entry, ...]] = {}

    def take(self, data: bytes) -> None:
        """The next record."""
        record: Dumped = decode(Dumped, data)
        if self._ended or isinstance(record, DumpHead) != (self._head is None):
            raise PeerFault("a dump has one head, first, and one end, last")
        if isinstance(record, DumpHead):
            self._begin(record)
        elif isinstance(record, DumpBucket):
            side = self._theirs if record.theirs else self._ours
            side[record.bucket] = (*side.get(record.bucket, ()), *record.entries)
        else:
            self._ended = record.records == self._count
        self._count += 1

    def _begin(self, head: DumpHead) -> None:
        if head.version != DUMP_VERSION:
            raise PeerFault(f"the dump is of version {head.version}")
        if {len(head.ours), len(head.theirs)} - {0, BUCKETS}:
            raise PeerFault("a state has 256 buckets")
        if head.ours and root_of_buckets(head.ours) != head.checkpoint.state_root:
            raise PeerFault("the hashes of the node's own buckets do not lead to its root")
        if head.theirs:
            known = head.certificate
            if known is None or root_of_buckets(head.theirs) != known.checkpoint.state_root:
                raise PeerFault("the hashes of the certified buckets do not lead to their root")
        self._head = head

    def finish(self) -> Findings:
        """What it shows."""
        if self._head is None or not self._ended:
            raise PeerFault("the dump was cut: it has no end")
        for number in sorted(self._theirs):
            found = read_bucket(number, self._theirs[number])[1].hash
            if not self._head.theirs or found != self._head.theirs[number]:
                raise PeerFault(f"bucket {number} of the dump is not what was certified")
        return compare(self._head, self._ours, self._theirs)


def head_of(
    chain: ChainId, node: NodeId, parting: Parting, own: Frozen | None, found: Certified | None
) -> DumpHead:
    """What a dump begins with."""
    ours = parting.ours
    return DumpHead(
        DUMP_VERSION,
        chain,
        node,
        ours.checkpoint,
        ours.size,
        ours.root,
        parting.others,
        parting.certificate,
        () if own is None else own.hashes,
        () if found is None else found.hashes,
    )


def summary(findings: Findings) -> str:
    """What differs, in one line for people."""
    head = findings.head
    if not head.theirs:
        return "no peer has shown its state: this node's own is written down whole"
    named = ", ".join(_named(one.part) for one in findings.parts[:NAMED_MAX])
    more = len(findings.parts) - NAMED_MAX
    if not findings.buckets:
        return f"the states are the same; {_beside(head)}"
    return f"{len(findings.buckets)} of {BUCKETS} buckets of the state differ: {named}" + (
        f" and {more} more" if more > 0 else ""
    )


def _beside(head: DumpHead) -> str:
    """Where two checkpoints of one state root differ."""
    assert head.certificate is not None, "their state is known by it"
    theirs = head.certificate
    if head.checkpoint != theirs.checkpoint:
        return "the checkpoints are not: " + ", ".join(_fields(head.checkpoint, theirs.checkpoint))
    return f"the receipts logs are not: {head.size} leaves here, {theirs.size} certified"


def _fields(one: Checkpoint, other: Checkpoint) -> list[str]:
    names = one.__struct_fields__
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def _named(part: Part) -> str:
    kind, identity, round_ = part
    place = f" {identity.hex()}" if identity else ""
    number = f" {round_}" if kind in {Kind.UNIT, Kind.ROUND, Kind.COMMITTEE} else ""
    return f"{kind.name.lower()}{place}{number}"
