"""A simulated log on a simulated disk: what was synced stays, the rest is up to the dice.

The bytes are those of `storage/frames.py`. A crash cuts the log at any byte behind what was synced,
so records tear. Rot changes one bit of what was synced: the log then refuses to open, as in
production. Going back to an old copy loses synced records without a trace.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.chance import Chance
from dpin.base.units import MILLION, Instant, Micros, after
from dpin.storage.frames import Problem, Record, encode_record, scan

KIND: Final = 1


@dataclass(frozen=True, slots=True)
class DiskHabits:
    """How a disk behaves. `rot_ppm`: the chance, at each crash, that a synced bit flips."""

    sync_min: Micros
    sync_max: Micros
    rot_ppm: int = 0


FAST: Final = DiskHabits(Micros(100), Micros(2_000))
SLOW: Final = DiskHabits(Micros(5_000), Micros(60_000))


class Disk:
    """One node's append-only log."""

    def __init__(self, habits: DiskHabits, chance: Chance) -> None:
        self.habits = habits
        self._chance = chance
        self._data = bytearray()
        self._synced = 0  # bytes that surely survive
        self._syncs: list[tuple[Instant, int]] = []  # under way: when done, how far it reaches

    def append(self, record: bytes) -> None:
        """Write a record; it may be lost until a sync that covers it is done."""
        self._data += encode_record(Record(KIND, record), len(self._data))

    def sync(self, now: Instant) -> Instant:
        """Start to make all that was appended durable; returns when it will be. Syncs queue."""
        self._finish(now)
        habits = self.habits
        start = self._syncs[-1][0] if self._syncs else now
        spread = habits.sync_max - habits.sync_min + 1
        done = after(start, Micros(habits.sync_min + self._chance.below(spread)))
        self._syncs.append((done, len(self._data)))
        return done

    def crash(self, now: Instant) -> None:
        """Power fails: keep what was synced and a random part of the rest."""
        self._finish(now)
        self._syncs.clear()
        kept = self._synced + self._chance.below(len(self._data) - self._synced + 1)
        del self._data[kept:]
        if self._synced and self._chance.below(MILLION) < self.habits.rot_ppm:
            self._data[self._chance.below(self._synced)] ^= 1 << self._chance.below(8)

    def go_back(self, records: int) -> None:
        """Somebody puts an old copy of the log in its place, one of so many records."""
        kept = (self.recover() or ())[:records]
        self._data.clear()
        for record in kept:
            self.append(record)
        self._synced = len(self._data)

    def recover(self) -> Sequence[bytes] | None:
        """The records that a node finds when it starts; None where the log refuses to open."""
        found = scan(bytes(self._data))
        if found.problem is Problem.ROTTEN:
            return None
        del self._data[found.good_length :]
        self._synced = len(self._data)
        return tuple(record.body for record in found.records)

    def _finish(self, now: Instant) -> None:
        while self._syncs and self._syncs[0][0] <= now:
            self._synced = self._syncs.pop(0)[1]
