"""A simulated log on a simulated disk: what was synced stays, the rest is up to the dice.

The bytes are those of `storage/frames.py`. A crash cuts the log at any byte behind what was synced,
so records tear. Rot changes one bit of what was synced: the log then refuses to open, as in
production. Going back to an old copy loses synced records without a trace. A log that was begun
anew leaves the old one in place until a sync is done; a crash just then leaves either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _File:
    """Bytes, and how many of them surely survive."""

    data: bytearray = field(default_factory=bytearray)
    synced: int = 0
    syncs: list[tuple[Instant, int]] = field(default_factory=list)  # under way: when, how far

    def finish(self, now: Instant) -> None:
        while self.syncs and self.syncs[0][0] <= now:
            self.synced = self.syncs.pop(0)[1]


class Disk:
    """One node's append-only log."""

    def __init__(self, habits: DiskHabits, chance: Chance) -> None:
        self.habits = habits
        self.sync_fails = False  # the next sync ends the node, as in production
        self._chance = chance
        self._file = _File()
        self._old: _File | None = None  # what `roll` has not replaced for good yet

    def append(self, record: bytes) -> None:
        """Write a record; it may be lost until a sync that covers it is done."""
        data = self._file.data
        data += encode_record(Record(KIND, record), len(data))

    def roll(self, records: Sequence[bytes]) -> None:
        """Begin anew with these records; a sync makes that final."""
        self._old = self._old or self._file
        self._file = _File()
        for record in records:
            self.append(record)

    def sync(self, now: Instant) -> Instant:
        """Start to make all that was appended durable; returns when it will be. Syncs queue."""
        self._finish(now)
        habits = self.habits
        under_way = [*(self._old.syncs if self._old else ()), *self._file.syncs]
        start = under_way[-1][0] if under_way else now
        spread = habits.sync_max - habits.sync_min + 1
        done = after(start, Micros(habits.sync_min + self._chance.below(spread)))
        self._file.syncs.append((done, len(self._file.data)))
        return done

    def crash(self, now: Instant) -> None:
        """Power fails: keep what was synced and a random part of the rest."""
        self._finish(now)
        self._choose()
        file = self._file
        file.syncs.clear()
        kept = file.synced + self._chance.below(len(file.data) - file.synced + 1)
        del file.data[kept:]
        if self._chance.below(MILLION) < self.habits.rot_ppm:
            self.rot()

    def rot(self) -> None:
        """A bit that was synced flips, of a node that does not run."""
        file = self._file
        if file.synced:
            file.data[self._chance.below(file.synced)] ^= 1 << self._chance.below(8)

    def go_back(self, records: int) -> None:
        """Somebody puts an old copy of the log in its place, one of so many records."""
        kept = (self.recover() or ())[:records]
        self._file = _File()
        for record in kept:
            self.append(record)
        self._file.synced = len(self._file.data)

    def recover(self) -> Sequence[bytes] | None:
        """The records that a node finds when it starts; None where the log refuses to open."""
        file = self._file
        found = scan(bytes(file.data))
        if found.problem is Problem.ROTTEN:
            return None
        del file.data[found.good_length :]
        file.synced = len(file.data)
        return tuple(record.body for record in found.records)

    def _finish(self, now: Instant) -> None:
        self._file.finish(now)
        if self._old is not None:
            self._old.finish(now)
        if self._file.synced:
            self._old = None

    def _choose(self) -> None:
        """A crash while the log began anew: the new one if a sync was nearly done, or the old."""
        if self._old is None:
            return
        if self._file.syncs and self._chance.below(2):
            self._file.synced = self._file.syncs[0][1]
        else:
            self._file = self._old
        self._old = None
