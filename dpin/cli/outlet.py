"""Where a node's log goes: to stdout, as long as anybody reads it. A log never ends a node."""

import errno
import os
from contextlib import suppress
from typing import Final, TextIO

_GONE: Final = frozenset({errno.EPIPE, errno.EIO})  # the reader of a pipe, or the terminal


class Outlet:
    """A file as structlog wants it. A line that cannot be written is lost, and nothing else.

    A full disk may have room again, so it is tried with every line; a reader does not come back.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write it if that can be."""
        try:
            return self._file.write(text)
        except (OSError, ValueError) as problem:
            self._lost(problem)
            return len(text)

    def flush(self) -> None:
        """Bring out what is held."""
        try:
            self._file.flush()
        except (OSError, ValueError) as problem:
            self._lost(problem)

    def _lost(self, problem: OSError | ValueError) -> None:
        """What is held for a reader that is gone goes nowhere, or the exit would trip on it."""
        if isinstance(problem, OSError) and problem.errno in _GONE:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
