"""A node process as a thief runs it: it signs with the keys of a validator that runs elsewhere.

    python tests/support/thief.py HOME STOLEN

HOME is a stranger's: two processes of one libp2p id would take each other's connections away.
STOLEN is a copy of the validator's home. Nothing of the node is changed but who it says it is when
it makes blocks, nobody is asked for newer ones first (H10), and none that turns up silences it.

A thief that is the first to sign a round silences the owner, who then contradicts nobody in that
epoch and has another key in the next: nothing was signed twice. As a process it is an `Imitator`,
so that what is stolen is signed twice whoever is the faster one.
"""

import argparse
import sys
from typing import Final

from typing_extensions import override

from dpin.__main__ import Flags, run_process
from dpin.base.units import Instant
from dpin.ledger import engine
from dpin.ledger.core import Core
from dpin.ledger.identity import Identity
from dpin.ledger.membership import Membership
from dpin.ledger.proposer import Proposer
from dpin.node.home import locate, read_key
from dpin.node.vault import identity_of

SETTINGS: Final[dict[str, object]] = {
    "share.provide": "false",
    "ledger.archive": "true",
    "log.format": "json",
}
STOLEN: Final[list[Identity]] = []


class Stolen(Membership):
    """A seat that belongs to somebody else, and that nothing keeps from signing."""

    @override
    def __init__(self, identity: Identity) -> None:
        del identity
        super().__init__(STOLEN[0])

    @property
    @override
    def silenced(self) -> None:
        return None

    @property
    @override
    def may_sign(self) -> bool:
        return self.role is not None


class Imitator(Stolen):
    """Signs each round that the owner has signed, and no other."""

    @override
    def enter(self, core: Core) -> None:
        super().enter(core)
        if self.role is not None:
            self.role.proposer = After(core, self.role.proposer)


class After(Proposer):
    """Makes a block of the newest round in which this author has one that it did not make."""

    def __init__(self, core: Core, plain: Proposer) -> None:
        super().__init__(core.rules, core.dag, plain._author)

    @override
    def observe(self, now: Instant) -> None:
        super().observe(now)
        self._reached = self._dag.newest[self._author.index]


def main() -> int:
    """Run the node; returns its exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("stolen")
    options = parser.parse_args()
    stolen = locate(options.stolen, {})
    STOLEN.append(identity_of(stolen, read_key(stolen)))
    assert vars(engine)["Membership"] is Membership
    setattr(engine, "Membership", Imitator)  # noqa: B010  The node makes its parts by this name.
    return run_process(Flags(options.home, "", dict(SETTINGS)))


if __name__ == "__main__":
    sys.exit(main())
