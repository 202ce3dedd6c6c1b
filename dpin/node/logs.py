"""The two logs of a node: what it needs to go on, and how all epochs ended."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

import structlog

from dpin.base.errors import Misuse, PeerFault
from dpin.node.home import Home
from dpin.storage.log import Log

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Logs:
    """Both, open, and what they held. What is preserved is durable before a new log replaces it."""

    current: Log
    closings: Log
    records: Sequence[bytes]
    preserved: Sequence[bytes]

    async def sync(self, *, both: bool) -> None:
        """Return when all that was appended to the current log, or to both, is durable."""
        if both:
            await self.closings.sync()
        await self.current.sync()


async def open_logs(stack: AsyncExitStack, home: Home, *, archive: bool) -> Logs:
    """Open both until the stack ends. Raises Unavailable as `Log.open` does."""
    found: list[tuple[Log, Sequence[bytes]]] = []
    for folder, kept in ((home.ledger_log, archive), (home.closings, False)):
        opened, replay = await Log.open(folder, archive=kept)
        stack.push_async_callback(opened.close)
        if replay.dropped_bytes:
            log.warning("log-tail-cut", log=folder.name, bytes=replay.dropped_bytes)
        found.append((opened, replay.records))
    [(current, records), (closings, preserved)] = found
    return Logs(current, closings, records, preserved)


def understood(home: Home, read: Callable[[], T]) -> T:
    """What is in the log was written by this node: where it cannot be read, by another version."""
    try:
        return read()
    except PeerFault as fault:
        raise Misuse(
            f"the log {home.ledger_log} is of another version of dpin: {fault}",
            fix="start the version that wrote it, nothing was changed; a node that is no validator "
            "may move that folder away, and fetches the ledger anew",
        ) from fault
