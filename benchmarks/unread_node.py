"""A node process that orders what nobody reads: consensus alone, with network, disk, signed blocks.

    python -m benchmarks.unread_node HOME NOTES

Its blocks are full of bytes, as many as the node's own limit lets in, and executing a commit passes
over them. All else is done as ever: blocks are signed, sent over libp2p, checked, written, synced,
ordered; checkpoints are made, signed and certified. No setting of a node leads here: this program
puts its own parts in the place of a node's. A line of NOTES is one commit: CLOCK_MONOTONIC in ns,
height, number of transactions, and the digest that is chained over all commits.
"""

import sys
from pathlib import Path
from time import monotonic_ns
from typing import Final

from typing_extensions import override

from benchmarks.alone import Hose, Unread
from benchmarks.watched_node import SETTINGS
from dpin.__main__ import Flags, run_process
from dpin.ledger import engine
from dpin.ledger.history import Remembering
from dpin.ledger.mempool import Mempool
from dpin.ledger.pledges import Pledged
from dpin.ledger.replica import Applied
from dpin.ledger.wishes import Outcome
from dpin.market.chronicle import Deed
from dpin.market.story import Note
from dpin.node import driver, peer
from dpin.node.bulletin import Bulletin

NOTES: Final[list[str]] = []


class Watched(Bulletin):
    """The node's news, with each commit noted; the log is durable by then."""

    @override
    def take(self, effect: Note | Deed | Outcome | Pledged | Applied) -> None:
        super().take(effect)
        if isinstance(effect, Applied):
            commit = effect.commit
            size, order = len(commit.transactions), commit.digest.hex()
            NOTES.append(f"{monotonic_ns()} {commit.height} {size} {order}\n")


class Passing(Unread, Remembering):
    """A node's executor that passes over transactions."""


def main() -> int:
    """Run the node; returns its exit status."""
    home, notes = sys.argv[1:]
    assert vars(driver)["Bulletin"] is Bulletin
    assert vars(peer)["Remembering"] is Remembering
    assert vars(engine)["Mempool"] is Mempool
    setattr(driver, "Bulletin", Watched)  # noqa: B010  The node makes its parts by these names.
    setattr(peer, "Remembering", Passing)  # noqa: B010
    setattr(engine, "Mempool", lambda *_: Hose())  # noqa: B010
    code = run_process(Flags(home, "", dict(SETTINGS)))
    Path(notes).write_text("".join(NOTES))
    return code


if __name__ == "__main__":
    sys.exit(main())
