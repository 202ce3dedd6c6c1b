"""What befalls a node's ledger that its owner should know: in log and status, and on disk."""

from collections import deque
from pathlib import Path
from typing import Final, assert_never

import structlog
import trio

from dpin.ledger.inquest import Dump
from dpin.ledger.replica import Diverged, Resumed, Silenced
from dpin.node.rolling import REST_SECONDS_PER_BYTE
from dpin.storage.frames import Record, encode_record

DUMP_KIND: Final = 3  # of the records of a dump; those of an archive have 2
PARTIAL: Final = "-own"  # in the name of a dump that shows but one side

log = structlog.get_logger()

Mishap = Resumed | Silenced | Diverged | Dump


class Mishaps:
    """Of one node. `warnings` are what its status shows."""

    def __init__(self, nursery: trio.Nursery, folder: Path, warnings: deque[str]) -> None:
        """Dumps go into `folder`."""
        self._nursery = nursery
        self._folder = folder
        self._warnings = warnings

    def take(self, mishap: Mishap) -> None:
        """Say it."""
        match mishap:
            case Resumed(height, joined):
                log.info("ledger-resumed", height=height, joined=joined)
            case Silenced(reason):
                log.error("signing-stopped", reason=reason)
                self.alarm(f"this validator signs no more: {reason}")
            case Diverged(report):
                log.error("ledger-diverged", report=report)
                self.alarm(f"this node's ledger is not that of others: {report}")
            case Dump():
                self._nursery.start_soon(self._write_down, mishap)
            case _:
                assert_never(mishap)

    def alarm(self, words: str) -> None:
        """Something that its owner should see in `dpin status`, once."""
        if words not in self._warnings:
            self._warnings.append(words)

    async def _write_down(self, dump: Dump) -> None:
        """Piece by piece; a dump that is there and shows as much stays as it is."""
        name = Path(dump.name)
        path = self._folder / (name if dump.whole else f"{name.stem}{PARTIAL}{name.suffix}")
        if not path.exists() and not (self._folder / name).exists():
            try:
                await _write(path, dump)
            except OSError as problem:
                log.warning("dump-failed", path=str(path), reason=problem.strerror)
                self.alarm(f"what differs could not be written to {path}: {problem.strerror}")
                return
            log.error("ledger-differs", summary=dump.summary, dump=str(path))
        self.alarm(f"{dump.summary}; look: dpin ledger diff {path}")


async def _write(path: Path, dump: Dump) -> None:
    part, offset = path.with_name(f"{path.name}.part"), 0
    with part.open("wb") as file:
        for body in dump.records:
            data = encode_record(Record(DUMP_KIND, body), offset)
            offset += len(data)
            file.write(data)
            await trio.sleep(len(data) * REST_SECONDS_PER_BYTE)
    part.rename(path)
