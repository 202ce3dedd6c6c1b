"""Everything that will happen by itself, and when: deadlines ordered by (tick, subject)."""

from enum import IntEnum
from heapq import heappop, heappush
from typing import Final

from dpin.base.ids import Digest, JobId, Round
from dpin.base.units import Tick

COMPACT_BELOW: Final = 64  # a heap this small is never worth clearing out


class Subject(IntEnum):
    """What a deadline belongs to."""

    JOB = 1  # seats without an award
    LEASE = 2  # an award without ready
    ROUND = 3  # the phase of a job's current round
    UNIT = 4  # the state of a unit


Due = tuple[Subject, bytes, int]  # subject, its id, and the round where it is a unit


def job_due(job: JobId) -> Due:
    """The deadline of a job's open seats."""
    return (Subject.JOB, job, 0)


def lease_due(lease: Digest) -> Due:
    """The deadline of an award."""
    return (Subject.LEASE, lease, 0)


def round_due(job: JobId) -> Due:
    """The deadline of a job's current round."""
    return (Subject.ROUND, job, 0)


def unit_due(lease: Digest, round_: Round) -> Due:
    """The deadline of a unit's state."""
    return (Subject.UNIT, lease, round_)


class Agenda:
    """At most one deadline a subject; a moved or dropped one leaves a stale entry in the heap."""

    def __init__(self) -> None:
        self._at: dict[Due, Tick] = {}
        self._heap: list[tuple[Tick, Due]] = []
        self._before: dict[Due, Tick | None] | None = None  # of what was set since `begin`

    def __len__(self) -> int:
        return len(self._at)

    def set(self, due: Due, tick: Tick) -> None:
        """Let this fall due at `tick`, instead of whenever it was."""
        if self._at.get(due) == tick:
            return
        self._note(due)
        self._at[due] = tick
        heappush(self._heap, (tick, due))
        if len(self._heap) > COMPACT_BELOW + 2 * len(self._at):
            self._heap = sorted((at, item) for item, at in self._at.items())

    def drop(self, due: Due) -> None:
        """Let this never fall due."""
        self._note(due)
        self._at.pop(due, None)

    def begin(self) -> None:
        """Remember what is set from here on, so that it can be taken back."""
        self._before = {}

    def end(self) -> None:
        """What was set since `begin` stands."""
        self._before = None

    def revert(self) -> None:
        """Take back what was set since `begin`."""
        before, self._before = self._before or {}, None
        for due, tick in before.items():
            if tick is None:
                self._at.pop(due, None)
            else:
                self.set(due, tick)

    def _note(self, due: Due) -> None:
        if self._before is not None and due not in self._before:
            self._before[due] = self._at.get(due)

    def pop(self, now: Tick) -> Due | None:
        """Take the first subject that is due at `now`."""
        while self._heap and self._heap[0][0] <= now:
            tick, due = heappop(self._heap)
            if self._at.get(due) == tick:
                del self._at[due]
                return due
        return None

    @property
    def first(self) -> Tick | None:
        """When the next subject falls due."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None
