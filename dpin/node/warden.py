"""Lets a node rest: looks at clock and battery, and keeps its owner's word over restarts."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import structlog
import trio

from dpin.base.errors import Unavailable
from dpin.market.provider import Rest
from dpin.node.hours import DAY, HOUR
from dpin.node.resting import FOR_EVER, Limits, Reading, Word, rest
from dpin.node.seen import Seen
from dpin.node.status import RestView
from dpin.storage.durable import replace_file

LOOK_SECONDS: Final = 5.0
_DIGITS_MAX: Final = 16

log = structlog.get_logger()


def read_machine() -> Reading:
    """The local time, and whether there is a battery that is not charged."""
    now = time.time()
    local, battery = time.localtime(now), psutil.sensors_battery()
    minute = local.tm_wday * DAY + local.tm_hour * HOUR + local.tm_min
    return Reading(int(now * 1000), minute, battery is not None and battery.power_plugged is False)


class Warden:
    """Of one node."""

    def __init__(
        self,
        path: Path,
        limits: Limits,
        seen: Seen,
        tell: Callable[[Rest], Awaitable[None]],
        read: Callable[[], Reading] = read_machine,
    ) -> None:
        """A pause is kept in the file `path`; what holds now is in `seen`."""
        self._path = path
        self._limits = limits
        self._seen = seen
        self._tell = tell
        self._read = read
        self._word = Word(paused_until_ms=_kept(path))

    async def watch(self) -> None:
        """For ever."""
        while True:
            await self.look()
            await trio.sleep(LOOK_SECONDS)

    async def look(self) -> RestView:
        """What holds now; who takes work is told of any change."""
        before, found = self._seen.rest, rest(self._word, self._limits, self._read())
        self._seen.rest = found
        if found.state != before.state:
            log.info("rest", state=found.state or "takes new work", why=found.why)
            await self._tell(Rest(rests=bool(found.state)))
        return found

    async def drain(self) -> RestView:
        """Take nothing new until the next start."""
        self._word.drained = True
        return await self.look()

    async def pause(self, milliseconds: int) -> RestView:
        """Take nothing new for so long, over restarts too; 0: until it is ended."""
        until = self._read().now_ms + milliseconds if milliseconds else FOR_EVER
        try:
            replace_file(self._path, b"%d\n" % until)
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error
        self._word.paused_until_ms = until
        return await self.look()

    async def resume(self) -> RestView:
        """Take work again, as far as the settings let it."""
        self._path.unlink(missing_ok=True)
        self._word = Word()
        return await self.look()


def _kept(path: Path) -> int | None:
    """Until when the last run was to pause; a file that nobody can read is no pause."""
    with suppress(OSError, ValueError):
        return int(path.read_bytes()[:_DIGITS_MAX])
    return None
