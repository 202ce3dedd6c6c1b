"""Fetching a certified state, or some of it: bucket by bucket, from many peers at a time.

What is asked for is named by a certified checkpoint, so nobody has to be believed: the hashes of
all buckets lead to the checkpoint's state root, each bucket to its hash, the peaks of the receipts
log to the root that the committee signed. A peer that sends anything else is blamed and asked no
more; one that is slow is asked less; what it owed is asked of somebody else.

Bounded: so many buckets are under way, each of so many bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.base.logtree import LogTree
from dpin.base.machine import Blame, Send
from dpin.base.units import NEVER, Instant, Micros, after, seconds
from dpin.ledger.certificates import Certificate
from dpin.ledger.checkpoint import Checkpoint, checkpoint_digest
from dpin.ledger.frozen import PAGE_BYTES, Entry
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.statemessages import (
    AskBucket,
    AskState,
    BucketPage,
    NoState,
    StateAnswer,
    StateSummary,
)

UNDER_WAY_MAX: Final = 8  # buckets
PEER_MAX: Final = 2  # of them with one peer
BUCKET_BYTES_MAX: Final = 16 << 20  # of values: 150,000 accounts, so 38 million in all
PATIENCE: Final[Micros] = seconds(5)  # with one page
QUESTIONS_MAX: Final = 32  # to one peer in a WINDOW: half of what it answers
WINDOW: Final[Micros] = seconds(1)
STRIKES_MAX: Final = 3  # pages that never came, before a peer is asked no more

Effect = Send | Blame


@dataclass(slots=True)
class _Source:
    """A peer that may have the state."""

    strikes: int = 0
    asked: int = 0  # questions in the present window
    open: bool = True  # worth asking


@dataclass(slots=True)
class _Fetched:
    """A bucket, or (number -1) the summary, that is under way."""

    number: int
    peer: NodeId
    entries: list[Entry] = field(default_factory=list)
    size: int = 0
    until: Instant | None = None  # when the answer is overdue; None: not asked yet


SUMMARY: Final = -1


R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Collection(Protocol[R_co]):
    """What is made of the buckets of a state."""

    missing: set[int]  # buckets that are still wanted

    def take(self, number: int, entries: Sequence[Entry]) -> None:
        """A whole bucket; raises PeerFault unless it has its hash. Once for each bucket."""
        ...

    def finish(self, receipts: ReceiptLog) -> R_co:
        """All that is wanted is there. Raises PeerFault where it does not fit together."""
        ...


class Join(Generic[R]):
    """Fetches one state. `restored` is there when all that is wanted is; `stuck`: nobody has it.

    `begin` gives what takes the buckets, from the certified checkpoint and the hashes of all of
    them; it raises PeerFault for hashes that do not lead to the checkpoint's state root.
    """

    def __init__(
        self, target: Certificate, begin: Callable[[Checkpoint, Sequence[Digest]], Collection[R]]
    ) -> None:
        self.target = target
        self.name = checkpoint_digest(target.checkpoint)
        self.restored: R | None = None
        self._begin = begin
        self._assembly: Collection[R] | None = None
        self._tree = LogTree()
        self._sources: dict[NodeId, _Source] = {}
        self._wanted: list[int] = [SUMMARY]  # what nobody has been given to send
        self._under_way: dict[int, _Fetched] = {}
        self._window_until = Instant(0)

    @property
    def stuck(self) -> bool:
        """Whether no peer that is known can be asked."""
        return self.restored is None and not any(one.open for one in self._sources.values())

    @property
    def next_at(self) -> Instant:
        """When to step again, at the latest."""
        if self.restored is not None:
            return NEVER
        waits = [one.until for one in self._under_way.values() if one.until is not None]
        paced = len(waits) < len(self._under_way) or self._wanted
        exhausted = any(one.asked >= QUESTIONS_MAX for one in self._sources.values() if one.open)
        return min([*waits, self._window_until if paced and exhausted else NEVER])

    def up(self, peer: NodeId) -> None:
        """A peer is there to be asked."""
        self._sources.setdefault(peer, _Source())

    def down(self, peer: NodeId) -> None:
        """A peer is gone."""
        if self._sources.pop(peer, None) is not None:
            self._take_back(peer)

    def step(self, now: Instant) -> list[Effect]:
        """Give up what is overdue, and ask for what is next."""
        if self.restored is not None:
            return []
        if not self._window_until - WINDOW <= now < self._window_until:
            self._window_until = after(now, WINDOW)
            for source in self._sources.values():
                source.asked = 0
        for fetched in list(self._under_way.values()):
            overdue = fetched.until is not None and fetched.until <= now
            if overdue and fetched.number in self._under_way:  # Its peer is struck once.
                self._strike(fetched.peer)
        self._hand_out()
        return [*self._ask(now)]

    def take(self, peer: NodeId, answer: StateAnswer) -> list[Effect]:
        """An answer has come; `step` follows it. One that was not asked for changes nothing."""
        if answer.checkpoint != self.name or peer not in self._sources:
            return []
        try:
            self._take(peer, answer)
        except PeerFault as fault:
            self._sources[peer].open = False
            self._take_back(peer)
            return [Blame(peer, str(fault))]
        return []

    # --- answers ---

    def _take(self, peer: NodeId, answer: StateAnswer) -> None:
        if isinstance(answer, NoState):
            self._sources[peer].open = False
            self._take_back(peer)
        elif isinstance(answer, StateSummary):
            fetched = self._under_way.get(SUMMARY)
            if fetched is not None and fetched.peer == peer:
                self._summarise(answer)
        else:
            fetched = self._under_way.get(answer.bucket)
            if fetched is not None and fetched.peer == peer and fetched.until is not None:
                self._page(fetched, answer)

    def _summarise(self, summary: StateSummary) -> None:
        size = self.target.size
        if len(summary.peaks) != size.bit_count():
            raise PeerFault("the peaks of a log go with its size")
        tree = LogTree(size, summary.peaks)
        if tree.root() != self.target.root:
            raise PeerFault("these peaks are not of that log")
        self._assembly = self._begin(self.target.checkpoint, summary.hashes)
        self._tree = tree
        del self._under_way[SUMMARY]
        self._wanted = sorted(self._assembly.missing)
        self.restored = _finished(self._assembly, self._tree)

    def _page(self, fetched: _Fetched, page: BucketPage) -> None:
        if page.start != len(fetched.entries):
            return  # Of a question asked before.
        self._sources[fetched.peer].strikes = 0
        size = sum(len(entry.value) + len(entry.id) for entry in page.entries)
        fetched.entries += page.entries
        fetched.size += size
        if page.then is not None:
            if page.then != len(fetched.entries) or not page.entries:
                raise PeerFault("the pages of a bucket follow each other")
            if size < PAGE_BYTES:  # A part at a time, just in time, is how to keep us for ever.
                raise PeerFault("a page of a bucket that goes on is full")
            if fetched.size > BUCKET_BYTES_MAX:
                raise PeerFault("no bucket is as large as that")
            fetched.until = None
            return
        assert self._assembly is not None, "buckets are asked for when their hashes are known"
        self._assembly.take(fetched.number, fetched.entries)
        del self._under_way[fetched.number]
        self.restored = _finished(self._assembly, self._tree)

    # --- questions ---

    def _strike(self, peer: NodeId) -> None:
        """What it owes is asked of others; who strikes out is asked nothing more."""
        source = self._sources[peer]
        source.strikes += 1
        source.open = source.open and source.strikes < STRIKES_MAX
        self._take_back(peer)

    def _take_back(self, peer: NodeId) -> None:
        owed = [number for number, one in self._under_way.items() if one.peer == peer]
        for number in owed:
            del self._under_way[number]
        self._wanted += owed

    def _hand_out(self) -> None:
        """Divide what is wanted among the peers, the most reliable first."""
        while self._wanted and len(self._under_way) < UNDER_WAY_MAX:
            peer = self._free()
            if peer is None:
                return
            number = self._wanted.pop(0)
            self._under_way[number] = _Fetched(number, peer)

    def _free(self) -> NodeId | None:
        """The peer that owes least and has failed least, if any has room."""
        owed = dict.fromkeys(self._sources, 0)
        for one in self._under_way.values():
            owed[one.peer] += 1
        free = [
            peer
            for peer, source in self._sources.items()
            if source.open and owed[peer] < (1 if source.strikes else PEER_MAX)
        ]
        return min(free, key=lambda peer: (self._sources[peer].strikes, owed[peer]), default=None)

    def _ask(self, now: Instant) -> Sequence[Send]:
        sends: list[Send] = []
        for fetched in self._under_way.values():
            source = self._sources[fetched.peer]
            if fetched.until is not None or source.asked >= QUESTIONS_MAX:
                continue
            source.asked += 1
            fetched.until = after(now, PATIENCE)
            question: AskState | AskBucket = AskState(self.name)
            if fetched.number != SUMMARY:
                question = AskBucket(self.name, fetched.number, len(fetched.entries))
            sends.append(Send(fetched.peer, encode(question)))
        return sends


def _finished(assembly: Collection[R], tree: LogTree) -> R | None:
    return None if assembly.missing else assembly.finish(ReceiptLog(tree))
