"""Who may give which chunk, and how quickly: the books of one fetch about its sources."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dpin.base.ids import NodeId
from dpin.base.units import Instant, Micros, seconds

SOURCES_MAX: Final = 64
WINDOW_MIN: Final = 2
WINDOW_MAX: Final = 8  # chunks asked of one source at once
STRIKES_MAX: Final = 3  # in a row, before a source is dropped
PATIENCE: Final[Micros] = seconds(3)  # with a source, while another one could do its work
TIMES_SLOWER: Final = 8
SCANNED_MAX: Final = 512  # entries of the queue, looking for one that a part has


@dataclass(slots=True)
class Source:
    """One peer that says it has the blob, or a part of it."""

    bits: bytes | None = None  # None: it has not said yet what it has
    whole: bool = False
    asking: bool = False  # for the manifest, or for what it has
    said_at: Instant = Instant(0)
    window: int = WINDOW_MIN
    strikes: int = 0
    pace: int = 0  # microseconds a chunk, lately; 0 before the first
    moved_at: Instant = Instant(0)  # its last chunk, or the last time it was let off
    in_flight: dict[int, Instant] = field(default_factory=dict)  # the longest asked first

    def has(self, index: int) -> bool:
        """Whether it said that it has a chunk."""
        if self.whole:
            return True
        bits = self.bits or b""
        return index // 8 < len(bits) and bool(bits[index // 8] >> index % 8 & 1)

    @property
    def free(self) -> bool:
        """Whether one more chunk may be asked of it."""
        return self.bits is not None and len(self.in_flight) < self.window

    @property
    def rank(self) -> tuple[int, int]:
        """The lower, the better."""
        return self.strikes, len(self.in_flight)

    def landed(self, index: int, now: Instant) -> None:
        """A chunk of it has come: it may be asked for more at once."""
        asked = self.in_flight.pop(index, None)
        if asked is not None:
            took = max(1, now - max(asked, self.moved_at))
            self.pace = (7 * self.pace + took) // 8 if self.pace else took
        self.moved_at = now
        self.strikes = 0
        self.window = min(self.window + 1, WINDOW_MAX)

    def strike(self) -> bool:
        """It failed; whether that was once too often."""
        self.strikes += 1
        self.window = max(1, self.window // 2)
        return self.strikes >= STRIKES_MAX

    def waited(self, now: Instant) -> int:
        """Microseconds without a chunk of those that it was asked for."""
        oldest = next(iter(self.in_flight.values()), now)
        return now - max(oldest, self.moved_at)


class Sources(dict[NodeId, Source]):
    """All sources of one fetch, in the order in which they were found."""

    def found(self, peer: NodeId) -> None:
        """One more; at most SOURCES_MAX."""
        if len(self) < SOURCES_MAX:
            self.setdefault(peer, Source())

    def best_first(self) -> list[NodeId]:
        """By rank; those found first among equals."""
        return sorted(self, key=lambda peer: self[peer].rank)

    def flying(self, index: int) -> int:
        """Of how many a chunk is asked."""
        return sum(index in source.in_flight for source in self.values())

    def stalled(self, now: Instant) -> Iterator[NodeId]:
        """Who lets others wait, where another source could do its work."""
        for peer, source in list(self.items()):
            others = [one.pace for name, one in self.items() if name != peer and one.pace]
            limit = max(PATIENCE, TIMES_SLOWER * min(others, default=0))
            if others and source.in_flight and source.waited(now) > limit:
                yield peer

    def overdue(self, peer: NodeId, now: Instant) -> int | None:
        """A chunk asked of one other source alone, for twice the time that `peer` needs for one."""
        own = self[peer]
        late = [
            (asked, index)
            for name, source in self.items()
            if name != peer
            for index, asked in source.in_flight.items()
            if own.pace and now - asked > 2 * own.pace and own.has(index)
        ]
        return next((index for _, index in sorted(late) if self.flying(index) == 1), None)


class Queue:
    """Chunks to ask for, the rarest first; among equals in a circle from where `start` says."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._waiting: set[int] = set()
        self._order: list[int] = []  # the next one last; what is not waiting is passed over

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, index: int) -> None:
        """Ask for this one again, before all others."""
        if index not in self._waiting:
            self._waiting.add(index)
            self._order.append(index)

    def drop(self, index: int) -> None:
        """It is here."""
        self._waiting.discard(index)

    def sort(self, indices: Iterable[int], count: int, sources: Sources) -> None:
        """Begin anew with these of `count` chunks."""
        parts = [source for source in sources.values() if source.bits and not source.whole]

        def rarest_last(index: int) -> tuple[int, int]:
            held = sum(part.has(index) for part in parts)
            return -held, -((index - self._start) % count)

        self._order = sorted(set(indices), key=rarest_last)
        self._waiting = set(self._order)

    @property
    def waiting(self) -> frozenset[int]:
        """All of them."""
        return frozenset(self._waiting)

    def take(self, source: Source) -> int | None:
        """The next one that a source has; it waits no more."""
        at, scanned = len(self._order) - 1, 0
        while at >= 0 and scanned < SCANNED_MAX:
            index = self._order[at]
            if index not in self._waiting:
                del self._order[at]
            elif source.has(index) and index not in source.in_flight:
                del self._order[at]
                self._waiting.discard(index)
                return index
            at, scanned = at - 1, scanned + 1
        return None
