"""Notices what nobody tells: that time has jumped."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_SECOND, Instant, seconds
from dpin.net.discovery import Woke
from dpin.net.network import Network

WATCH_SECONDS: Final = 2.0
JUMP: Final = seconds(20)  # later than expected: the machine slept, or its clock was set

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Watch:
    """One node's."""

    host: Network
    now: Callable[[], Instant]
    check: Callable[[Sequence[NodeId]], Awaitable[None]]  # lets go of peers that do not answer
    turned: Callable[[Woke], None]

    async def run(self) -> None:
        """For ever."""
        last = self.now()
        while True:
            await trio.sleep(WATCH_SECONDS)
            now = self.now()
            if not 0 <= now - last <= JUMP:
                log.info("woke", seconds=(now - last) // MICROS_PER_SECOND)
                self.turned(Woke())
                await self.check(self.host.peers())
                now = self.now()
            last = now
