"""A node process as `dpin node start` runs it, that also notes when it applied what.

The ledger's benchmark starts four of them. Nothing of the node is changed: this program looks on
where the node posts its news, which is after the log is durable, and writes what it saw at the end.

    python benchmarks/watched_node.py HOME NOTES [PROFILE]

A line of NOTES is one commit: CLOCK_MONOTONIC in ns, then the ids of the transactions that were
applied with "ok". With PROFILE, cProfile's figures of the whole process go there.
"""

import cProfile
import sys
import time
from pathlib import Path
from typing import Final

from typing_extensions import override

from dpin.__main__ import Flags, run_process
from dpin.base.ids import Digest
from dpin.ledger.replica import Applied
from dpin.ledger.wishes import OK, Outcome
from dpin.market.story import Note
from dpin.node import driver
from dpin.node.bulletin import Bulletin

SETTINGS: Final[dict[str, object]] = {"share.provide": "false", "log.format": "json"}
NOTES: Final[list[tuple[int, list[Digest]]]] = []


class Watched(Bulletin):
    """The node's news, with the time of each commit noted."""

    @override
    def take(self, effect: Note | Outcome | Applied) -> None:
        super().take(effect)
        if isinstance(effect, Applied) and effect.receipts:
            done = [receipt.subject for receipt in effect.receipts if receipt.detail == OK]
            NOTES.append((time.monotonic_ns(), done))


def main() -> int:
    """Run the node; returns its exit status."""
    home, notes, *profile = sys.argv[1:]
    setattr(driver, "Bulletin", Watched)  # noqa: B010  The node makes its bulletin by this name.
    flags = Flags(home, "", dict(SETTINGS))
    profiler = cProfile.Profile()
    code = profiler.runcall(run_process, flags) if profile else run_process(flags)
    lines = (f"{at} {' '.join(name.hex() for name in names)}\n" for at, names in NOTES)
    Path(notes).write_text("".join(lines))
    if profile:
        profiler.dump_stats(profile[0])
    return code


if __name__ == "__main__":
    sys.exit(main())
