"""What a job leaves on the disk while it runs: window states, and the states between rounds.

Window states have a quota: the oldest units go first, the newest two never. A unit is checked while
the next are trained: who has nothing to show then is not paid.
"""

from collections import deque
from typing import Final

from dpin.compute.door import Files

STATE_BYTES_MAX: Final = 256 << 20
UNITS_MIN: Final = 2  # kept whatever their size; what was settled is discarded before
CHECKPOINTS_MIN: Final = 2  # the newest, and one that somebody may be reading
CHECKPOINTS_MAX: Final = 16  # kept where units are checked: verifiers know of no more either


class Shelf:
    """Window states of one job. What is gone can be derived again from the unit's start."""

    def __init__(self, files: Files, limit: int = STATE_BYTES_MAX) -> None:
        self._files = files
        self._limit = limit
        self._units: deque[list[tuple[str, int]]] = deque()  # (path, bytes)

    def open_unit(self) -> None:
        """What is put from here on belongs to a new unit."""
        self._units.append([])

    def put(self, folder: str, name: str, *parts: bytes | memoryview) -> str:
        """Write one state; answers with its path."""
        path = self._files.write(folder, name, *parts)
        self._units[-1].append((path, sum(map(len, parts))))
        while len(self._units) > UNITS_MIN and self._bytes() > self._limit:
            for old, _ in self._units.popleft():
                self._files.remove(old)
        return path

    def _bytes(self) -> int:
        return sum(size for unit in self._units for _, size in unit)


class Checkpoints:
    """The global states of one job that this worker has written; the oldest go."""

    def __init__(self, files: Files, *, checked: bool) -> None:
        self._files = files
        self._kept = CHECKPOINTS_MAX if checked else CHECKPOINTS_MIN
        self._paths: deque[str] = deque()

    def put(self, folder: str, name: str, *parts: bytes | memoryview) -> str:
        """Write one; answers with its path."""
        while len(self._paths) >= self._kept:
            self._files.remove(self._paths.popleft())
        self._paths.append(self._files.write(folder, name, *parts))
        return self._paths[-1]
