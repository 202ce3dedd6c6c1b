"""Window states on disk, within a quota: the oldest units go first, the newest two never.

A unit is checked while the next are trained: who has nothing to show then is not paid.
"""

from collections import deque
from typing import Final

from dpin.compute.door import Files

STATE_BYTES_MAX: Final = 256 << 20
UNITS_MIN: Final = 2  # kept whatever their size; what was settled is discarded before


class Shelf:
    """The state files of one job. What is gone can be derived again from the unit's start."""

    def __init__(self, files: Files, limit: int = STATE_BYTES_MAX) -> None:
        self._files = files
        self._limit = limit
        self._units: deque[list[tuple[str, int]]] = deque()  # (path, bytes)

    def open_unit(self) -> None:
        """What is put from here on belongs to a new unit."""
        self._units.append([])

    def put(self, folder: str, name: str, data: bytes) -> str:
        """Write one state; answers with its path."""
        path = self._files.write(folder, name, data)
        self._units[-1].append((path, len(data)))
        while len(self._units) > UNITS_MIN and self._bytes() > self._limit:
            for old, _ in self._units.popleft():
                self._files.remove(old)
        return path

    def _bytes(self) -> int:
        return sum(size for unit in self._units for _, size in unit)
