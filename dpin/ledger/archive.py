"""An archive of a ledger, and checking one: what a third party needs and nothing more.

An archive is a row of records: an opening with the genesis; every block, in an order in which each
follows its ancestors; after the block that decides it, each commit as the writer had it; and a
closing that counts it all. `docs/protocol/archive.md` has the bytes.

Whoever checks an archive believes none of it: the blocks are executed again from genesis, and what
the archive says of commits, receipts and roots must come out the same.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from msgspec import structs

from dpin.base.codec import Wire, decode, encode
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_DIGEST, ChainId, Digest
from dpin.ledger.genesis import Genesis
from dpin.ledger.genesis import read as read_genesis
from dpin.ledger.handover import Handover
from dpin.ledger.reexecution import Difference, Reexecution, Step, Told

ARCHIVE_VERSION: Final = 1
ENTRY_BYTES_MAX: Final = 4 << 20


class Preface(Wire, frozen=True, tag=1):
    """The first record."""

    version: int
    genesis: bytes  # encoded Genesis; its digest is the chain


class ArchivedBlock(Wire, frozen=True, tag=2):
    """A block as its author sent it."""

    block: bytes


class ArchivedEnd(Wire, frozen=True, tag=5):
    """What a quorum signed at the end of an epoch, before the first block of the next."""

    handover: Handover


class Closing(Wire, frozen=True, tag=4):
    """The last record: an archive without one was cut."""

    blocks: int
    height: int
    commit: Digest  # the last; the chain where there is none


Entry = Preface | ArchivedBlock | Told | ArchivedEnd | Closing


@dataclass(frozen=True, slots=True)
class Summary:
    """What a ledger came to, from genesis on."""

    network: str
    chain: ChainId
    epoch: int
    height: int
    commit: Digest
    time_ms: int  # ledger time
    blocks: int
    transactions: int  # in committed blocks
    receipts: int  # leaves of the log, checkpoints too
    log_root: Digest
    state_root: Digest  # the newest; NO_DIGEST before the first
    root_height: int
    certified: int  # height of the newest checkpoint that a quorum signed; 0: none
    accounts: int
    supply: int


def summary_of(run: Reexecution) -> Summary:
    """What it came to; raises Difference where tokens came from nowhere or went there."""
    executor = run.executor
    root_height, root = executor.rooted or (0, NO_DIGEST)
    certificate = run.certificate
    return Summary(
        network=run.genesis.name,
        chain=executor.chain,
        epoch=executor.state.epoch,
        height=run.height,
        commit=run.commit,
        time_ms=executor.state.time,
        blocks=run.blocks,
        transactions=run.transactions,
        receipts=len(executor.receipts),
        log_root=executor.receipts.root,
        state_root=root,
        root_height=root_height,
        certified=certificate.checkpoint.height if certificate is not None else 0,
        accounts=len(executor.state.accounts),
        supply=run.conserved(),
    )


def read_entry(data: bytes) -> Entry:
    """One record; raises Difference for anything else."""
    try:
        entry: Entry = decode(Entry, data, limit=ENTRY_BYTES_MAX)
    except PeerFault as fault:
        raise Difference(f"a record of the archive cannot be read: {fault}") from None
    return entry


def read_preface(data: bytes) -> Genesis:
    """The genesis in the first record; raises Difference."""
    entry = read_entry(data)
    if not isinstance(entry, Preface) or entry.version != ARCHIVE_VERSION:
        raise Difference("this is no archive of a ledger that this version of dpin can read")
    try:
        return read_genesis(entry.genesis)
    except (PeerFault, Misuse) as fault:
        raise Difference(f"the archive's genesis: {fault}") from None


def read_handover(data: bytes) -> Handover:
    """The end of an epoch as a log has it; raises Difference."""
    try:
        return decode(Handover, data, limit=ENTRY_BYTES_MAX)
    except PeerFault as fault:
        raise Difference(f"the end of an epoch cannot be read: {fault}") from None


class Archivist:
    """Writes an archive of the blocks that it is given, each of which it checks."""

    def __init__(self, genesis: Genesis) -> None:
        self.run = Reexecution(genesis)

    def preface(self) -> bytes:
        """The first record."""
        return encode(Preface(ARCHIVE_VERSION, encode(self.run.genesis)))

    def take(self, block: bytes) -> Iterator[bytes]:
        """The records of one more block; raises Difference for one that does not fit."""
        yield encode(ArchivedBlock(block))
        for step in self.run.take(block):
            yield encode(step.told)

    def end(self, handover: bytes) -> bytes:
        """The record of an epoch's end, as a log has it; raises Difference for another end."""
        read = read_handover(handover)
        self.run.handover(read)
        return encode(ArchivedEnd(read))

    def closing(self) -> bytes:
        """The last record."""
        return encode(_closing(self.run))


def _closing(run: Reexecution) -> Closing:
    return Closing(run.blocks, run.height, run.commit)


class Audit:
    """Takes an archive's records in order and executes it again. See the module."""

    def __init__(self, preface: bytes) -> None:
        self.run = Reexecution(read_preface(preface))
        self._closed = False
        self._untold: deque[Told] = deque()

    def take(self, data: bytes) -> Iterator[Step]:
        """Check one more record; the commits it decides. Raises Difference, after which it ends."""
        if self._closed:
            raise Difference("the archive goes on after its last record")
        entry = read_entry(data)
        match entry:
            case Preface():
                raise Difference("the archive begins twice")
            case ArchivedBlock(block):
                self._all_told()
                for step in self.run.take(block):
                    self._untold.append(step.told)
                    yield step
            case Told():
                self._compare(entry)
            case ArchivedEnd(handover):
                self._all_told()
                self.run.handover(handover)
            case Closing():
                self._close(entry)
            case _:
                assert_never(entry)

    def _all_told(self) -> None:
        if self._untold:
            height = self._untold[0].height
            raise Difference(f"commit {height}: the blocks decide it, the archive leaves it out")

    def _compare(self, told: Told) -> None:
        if not self._untold:
            raise Difference(f"commit {told.height}: the archive tells it, no block decides it")
        made = self._untold.popleft()
        if told != made:
            words = differing(told, made, ("as told", "by its blocks"))
            raise Difference(f"commit {made.height}: {words}")

    def _close(self, closing: Closing) -> None:
        self._all_told()
        found = _closing(self.run)
        if closing != found:
            raise Difference(
                f"the archive counts {closing.blocks} blocks and {closing.height} commits; "
                f"there are {found.blocks} and {found.height}"
            )
        self._closed = True

    def finish(self) -> Summary:
        """What it came to; raises Difference for an archive without its end."""
        if not self._closed:
            raise Difference(
                f"the archive was cut: it ends after {self.run.blocks} blocks, at commit "
                f"{self.run.height}, without its last record"
            )
        return summary_of(self.run)


def differing(one: Told, other: Told, names: tuple[str, str]) -> str:
    """Which words of two accounts of a commit are not the same; `names` say whose they are."""
    said = []
    for field in structs.fields(Told):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if left != right:
            said.append(f"{field.name} is {_shown(left)} {names[0]}, {_shown(right)} {names[1]}")
    return ", ".join(said)


def _shown(value: int | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
