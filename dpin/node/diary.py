"""What this node does for others, as lines of its log: at most so many a minute."""

from typing import Final

import structlog

from dpin.base.units import Instant, seconds
from dpin.market.chronicle import Deed
from dpin.market.story import name_of_job

LINES_MAX: Final = 120  # in one SPAN; what is more is counted
SPAN: Final = seconds(60)
_LEVELS: Final = {"job-fined": "warning", "job-given-up": "warning", "job-declined": "debug"}

_NUMBERS: Final = {"debug": 10, "info": 20, "warning": 30}

Line = tuple[str, str, dict[str, str | int | None]]  # level, event, what belongs to it

log = structlog.get_logger()


class Diary:
    """Of one node."""

    def __init__(self) -> None:
        self._begun = Instant(0)
        self._written = self._left_out = 0

    def take(self, deed: Deed, now: Instant) -> None:
        """Write it down."""
        for level, event, data in self.lines(deed, now):
            log.log(_NUMBERS[level], event, **data)

    def lines(self, deed: Deed, now: Instant) -> list[Line]:
        """What it comes to: itself, nothing where there is too much, or what was left out too."""
        lines: list[Line] = []
        if now - self._begun >= SPAN or not self._begun:
            if self._left_out:
                lines.append(("warning", "job-lines-left-out", {"lines": self._left_out}))
            self._begun, self._written, self._left_out = now, 0, 0
        if self._written >= LINES_MAX:
            self._left_out += 1
            return lines
        self._written += 1
        data = {"job": name_of_job(deed.job), **deed.data}
        return [*lines, (_LEVELS.get(deed.event, "info"), deed.event, data)]
