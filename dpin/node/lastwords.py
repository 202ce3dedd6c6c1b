"""What a node's process wrote last, where it runs in the background."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dpin.node.home import Home

TAIL_BYTES: Final = 8_192
_AFTER_MAX: Final = 6  # lines: its fix, and what a library may say at the end
_ERROR: Final = re.compile(r"error\[([a-z-]+)\]: (.*)")


class Ended(NamedTuple):
    """The error with which a run ended."""

    code: str
    message: str
    fix: str


def log_path(home: Home) -> Path:
    """Where a node in the background logs."""
    return home.root / "node.log"


def tail(home: Home) -> list[str]:
    """The last lines of that log; none where there is no such file."""
    try:
        with log_path(home).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []


def _written_ms(home: Home) -> int:
    try:
        return int(log_path(home).stat().st_mtime * 1000)
    except OSError:
        return 0


def how_it_ended(home: Home, since_ms: int = 0) -> Ended | None:
    """The error that the last run ended with; None where it ended well, or otherwise.

    A log not written to since then is of an earlier run: not every node runs in the background.
    """
    if _written_ms(home) < since_ms:
        return None
    return last_error(tail(home))


def last_error(lines: Sequence[str]) -> Ended | None:
    """The error that these lines end with; None where there is none, or a run goes on after it."""
    for at in range(len(lines) - 1, max(-1, len(lines) - 1 - _AFTER_MAX), -1):
        found = _ERROR.fullmatch(lines[at])
        if found is not None:
            after = lines[at + 1] if at + 1 < len(lines) else ""
            return Ended(found[1], found[2], after.partition("fix: ")[2])
        if lines[at].startswith("{"):  # A run goes on here, or ended well.
            return None
    return None
