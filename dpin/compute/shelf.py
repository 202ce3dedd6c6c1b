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
        self._checked = checked
        self._paths: deque[str] = deque()

    def put(self, folder: str, name: str, *parts: bytes | memoryview) -> str:
        """Write one; answers with its path.

        Where nothing is checked, into the oldest: who still copies that one for somebody finds at
        the end that it changed, or that it is no longer the newest.
        """
        full = len(self._paths) >= (CHECKPOINTS_MAX if self._checked else CHECKPOINTS_MIN)
        old = self._paths.popleft() if full else ""
        if old and self._checked:
            self._files.remove(old)
        anew = old == "" or self._checked
        files, where = self._files, (folder, name)
        path = files.write(*where, *parts) if anew else files.rewrite(old, *where, *parts)
        self._paths.append(path)
        return path
