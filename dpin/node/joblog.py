"""What has been said about each own job: kept in memory, bounded, and handed to who follows."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from dpin.base.units import MICROS_PER_MILLI, Instant
from dpin.market.story import Note
from dpin.node.status import LogEntry

ENTRIES_MAX: Final = 4_096  # of one job; the oldest go first
JOBS_MAX: Final = 256


@dataclass(slots=True)
class _Entries:
    kept: deque[LogEntry] = field(default_factory=lambda: deque(maxlen=ENTRIES_MAX))
    number: int = 0


class JobLog:
    """Entries by local job id; numbers grow by one and never repeat."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Entries] = {}

    def add(self, note: Note, now: Instant) -> LogEntry:
        """Append one note; returns the entry as it is kept."""
        entries = self._jobs.get(note.local_id)
        if entries is None:
            if len(self._jobs) == JOBS_MAX:
                del self._jobs[next(iter(self._jobs))]
            entries = self._jobs[note.local_id] = _Entries()
        entries.number += 1
        entry = LogEntry(
            number=entries.number,
            time_ms=now // MICROS_PER_MILLI,
            kind=note.kind,
            text=note.text,
            data=dict(note.data),
        )
        entries.kept.append(entry)
        return entry

    def after(self, local_id: str, number: int) -> list[LogEntry]:
        """What was said after entry `number`."""
        entries = self._jobs.get(local_id)
        return [entry for entry in entries.kept if entry.number > number] if entries else []
