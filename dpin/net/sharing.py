"""The chunks of one fetch, shared out among its sources."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from dpin.base.ids import NodeId
from dpin.base.units import Instant
from dpin.net.sources import Queue, Source, Sources

IN_FLIGHT_MAX: Final = 32
FEW: Final = 2  # chunks: every source is taken to have all of so small a blob


class Work:
    """What is here, what is asked for, and what waits."""

    def __init__(self, sources: Sources, count: int, have: Collection[int], start: int) -> None:
        """`count` chunks, of which those of `have` are here."""
        self.have = set(have)
        self._sources = sources
        self._count = count
        self._queue = Queue(start)

    def begin(self, missing: Sequence[int]) -> None:
        """All of these are to be asked for."""
        self._queue.sort(missing, self._count, self._sources)
        if 0 < self._count <= FEW:
            for source in self._sources.values():  # Asking first what they have would cost more.
                source.bits, source.whole = b"", True

    def said(self, source: Source, bits: bytes, now: Instant) -> bool:
        """A source told what it has; whether that is news. What is rare may have changed."""
        news = bits != source.bits
        source.bits, source.said_at = bits, now
        source.whole = False
        source.whole = all(source.has(index) for index in range(self._count))
        if not source.whole:
            self._queue.sort(self._queue.waiting, self._count, self._sources)
        return news

    def landed(self, peer: NodeId, index: int, now: Instant) -> None:
        """A chunk is here."""
        self.have.add(index)
        self._queue.drop(index)
        source = self._sources.get(peer)
        if source is not None:
            source.landed(index, now)

    def failed(self, source: Source, index: int) -> None:
        """A source did not give a chunk."""
        source.in_flight.pop(index, None)
        self._again(index)

    def drop(self, peer: NodeId) -> None:
        """Ask nothing more of a peer; what it was asked for waits for another."""
        source = self._sources.pop(peer, None)
        if source is not None:
            for index in source.in_flight:
                self._again(index)

    def _again(self, index: int) -> None:
        if index not in self.have and not self._sources.flying(index):
            self._queue.put(index)

    def replace_slow(self, now: Instant) -> Sequence[NodeId]:
        """What a stalled source was asked for may be asked of others; its answers still count.

        Who these are; some are dropped.
        """
        stalled = list(self._sources.stalled(now))
        for peer in stalled:
            source = self._sources[peer]
            source.moved_at = now
            for index in source.in_flight:
                if index not in self.have:
                    self._queue.put(index)
            if source.strike():
                self.drop(peer)
        return stalled

    def hand_out(self, now: Instant) -> Iterator[tuple[NodeId, int]]:
        """One chunk of each source in turn, until their windows or the total are full."""
        flying = sum(len(source.in_flight) for source in self._sources.values())
        asked = True
        while asked and flying < IN_FLIGHT_MAX:
            asked = False
            for peer in self._sources.best_first():
                index = self._next_of(peer, now) if flying < IN_FLIGHT_MAX else None
                if index is not None:
                    asked, flying = True, flying + 1
                    self._sources[peer].in_flight[index] = now
                    yield peer, index

    def _next_of(self, peer: NodeId, now: Instant) -> int | None:
        source = self._sources[peer]
        if not source.free:
            return None
        index = self._queue.take(source)
        if index is None and not self._queue:
            index = self._sources.overdue(peer, now)
        return index
