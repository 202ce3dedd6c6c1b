"""From the order to what it does: commits are executed, and checkpoints certified."""

from collections.abc import Sequence
from dataclasses import dataclass

from dpin.ledger.blocks import Vertex
from dpin.ledger.certificates import Certificate
from dpin.ledger.certifier import Made, made
from dpin.ledger.checkpoint import CommitteeRecord
from dpin.ledger.core import Core, Ordered
from dpin.ledger.divergence import Parting
from dpin.ledger.handover import Handover, check_handover
from dpin.ledger.offload import Offload
from dpin.ledger.order import Done, Executor


@dataclass(frozen=True, slots=True)
class Ran:
    """A commit and what came of it."""

    ordered: Ordered
    done: Done
    made: Made | None  # a checkpoint, to be signed


@dataclass(frozen=True, slots=True)
class Closed:
    """The last checkpoint of the present epoch, and who validates the next."""

    made: Made
    record: CommitteeRecord


class Runner:
    """Drives the executor, one commit at a time, up to the end of an epoch.

    It stops for good where others that must be right have come to something else.
    """

    def __init__(self, executor: Executor) -> None:
        self.closed: Closed | None = None
        self.awaited: Handover | None = None  # others say, and prove, that the epoch has ended
        self.diverged: str | None = None  # what differs
        self.parting: Parting | None = None  # and where, if that is known
        self._executor = executor
        self._receipts_at = 0  # height of the newest commit with receipts
        self._certified_at = 0  # height of the newest certified checkpoint
        self._next: Ordered | None = None  # decided; its signatures are being checked
        self._accepted: list[Vertex] = []

    @property
    def has_deadlines(self) -> bool:
        """Whether something fires by itself as ledger time goes on."""
        return self._executor.has_deadlines

    def uncertified(self, core: Core) -> bool:
        """Whether receipts, or the end of the epoch, wait for a certificate."""
        certificate = core.certifier.newest
        if certificate is not None:
            self._certified_at = certificate.checkpoint.height
        if self.closed is not None:  # Nobody hurries where a quorum does not come about.
            return core.dag.highest < self.closed.record.base
        return self._receipts_at > self._certified_at

    def accepted(self) -> Sequence[Vertex]:
        """Blocks that were accepted because something was decided, since this was last asked."""
        found, self._accepted = self._accepted, []
        return found

    def next(self, core: Core, offload: Offload | None) -> Ran | None:
        """Execute the next commit, if one is decided and the epoch goes on.

        It waits while a signature in it is being checked elsewhere.
        """
        found = core.certifier.divergence
        if found is not None and self.diverged is None:
            self.diverged, self.parting = found.report, Parting(found.ours, found.others)
        if self.closed is not None or self.diverged is not None:
            return None
        if self._next is None:
            self._next = core.next_commit(self._executor.mix)
            self._accepted += self._next.accepted if self._next is not None else ()
        ordered = self._next
        if ordered is None or (offload is not None and not offload.ready(ordered.commit)):
            return None
        self._next = None
        return self._run(core, ordered)

    def _run(self, core: Core, ordered: Ordered) -> Ran:
        done = self._executor.apply(ordered.commit)
        if done.receipts:
            self._receipts_at = ordered.commit.height
        own: Made | None = None
        if done.checkpoint is not None:
            own = made(done.checkpoint, self._executor.receipts)
            core.certifier.made(own)
            if done.closing is not None:
                self.closed = Closed(own, done.closing)
        return Ran(ordered, done, own)

    def handover(self, core: Core) -> Handover | None:
        """What takes this node to the next epoch, if it has come to the end of this one."""
        closed, newest = self.closed, core.certifier.newest
        if closed is None:
            return None
        if newest is not None and newest.checkpoint == closed.made.checkpoint:
            return Handover(newest, closed.record)
        if self.awaited is not None and not _agree(closed.made, self.awaited.certificate):
            theirs = self.awaited.certificate
            self.parting = Parting(closed.made, certificate=theirs)
            self.diverged = (
                f"the epoch ended with {closed.made.checkpoint} here, in a log of "
                f"{closed.made.size} leaves with root {closed.made.root.hex()}, but a quorum "
                f"signed {theirs.checkpoint} in one of {theirs.size} with {theirs.root.hex()}"
            )
            return None
        return self.awaited

    def learn(self, core: Core, handover: Handover) -> bool:
        """Others say how the present epoch ended: whether that is news; raises PeerFault."""
        if handover.epoch != core.epoch or self.awaited is not None:
            return False
        check_handover(handover, core.rules.chain, core.rules.committee)
        self.awaited = handover
        return True

    def open(self) -> None:
        """The next epoch begins."""
        self.closed = self.awaited = None


def _agree(own: Made, other: Certificate) -> bool:
    return (own.checkpoint, own.size, own.root) == (other.checkpoint, other.size, other.root)
