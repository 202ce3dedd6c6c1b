"""A node process as `dpin node start` runs it, that also notes when it applied what.

The ledger's benchmarks start four of them. Nothing of the node is changed: this program looks on
where the node posts its news, which is after the log is durable, and writes what it saw at the end.

    python benchmarks/watched_node.py HOME NOTES [--profile FILE]

A line of NOTES is one commit: CLOCK_MONOTONIC in ns, the height, the number of transactions in it,
then the ids of those that were applied with "ok". The last lines are accounts with what they have
free. With `--profile`, cProfile's figures of the whole process go there.
"""

import argparse
import cProfile
import sys
import time
from pathlib import Path
from typing import Final

from typing_extensions import override

from dpin.__main__ import Flags, run_process
from dpin.base.ids import Digest
from dpin.ledger.execute import Executor
from dpin.ledger.history import Remembering
from dpin.ledger.pledges import Pledged
from dpin.ledger.replica import Applied
from dpin.ledger.wishes import OK, Outcome
from dpin.market.chronicle import Deed
from dpin.market.story import Note
from dpin.node import driver, peer
from dpin.node.bulletin import Bulletin

SETTINGS: Final[dict[str, object]] = {
    "share.provide": "false",
    "log.format": "json",
    "ledger.verifiers": "0",
}
NOTES: Final[list[tuple[int, int, int, list[Digest]]]] = []
EXECUTORS: Final[list[Executor]] = []


class Watched(Bulletin):
    """The node's news, with the time of each commit noted."""

    @override
    def take(self, effect: Note | Deed | Outcome | Pledged | Applied) -> None:
        super().take(effect)
        if isinstance(effect, Applied) and effect.commit.transactions:
            done = [receipt.subject for receipt in effect.receipts if receipt.detail == OK]
            commit = effect.commit
            note = (time.monotonic_ns(), commit.height, len(commit.transactions), done)
            NOTES.append(note)


class Kept(Remembering):
    """The node's state, to be looked at when it has ended."""

    @override
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # Handed on as they came.
        EXECUTORS.append(self)


def lines() -> list[str]:
    """What was seen."""
    seen = [
        f"{at} {height} {size} {' '.join(map(bytes.hex, done))}\n"
        for at, height, size, done in NOTES
    ]
    accounts = EXECUTORS[-1].state.accounts
    return [*seen, *(f"{node.hex()} {account.free}\n" for node, account in accounts.items())]


def main() -> int:
    """Run the node; returns its exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("notes", type=Path)
    parser.add_argument("--profile")
    options = parser.parse_args()
    assert vars(driver)["Bulletin"] is Bulletin
    assert vars(peer)["Remembering"] is Remembering
    setattr(driver, "Bulletin", Watched)  # noqa: B010  The node makes its parts by these names.
    setattr(peer, "Remembering", Kept)  # noqa: B010
    flags = Flags(options.home, "", dict(SETTINGS))
    profiler = cProfile.Profile()
    code = profiler.runcall(run_process, flags) if options.profile else run_process(flags)
    options.notes.write_text("".join(lines()))
    if options.profile:
        profiler.dump_stats(options.profile)
    return code


if __name__ == "__main__":
    sys.exit(main())
