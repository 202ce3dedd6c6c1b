"""From the order to what it does: commits are executed, and checkpoints certified."""

from collections.abc import Sequence
from dataclasses import dataclass

from dpin.ledger.blocks import Vertex
from dpin.ledger.certifier import Made, made
from dpin.ledger.core import Core, Ordered
from dpin.ledger.offload import Offload
from dpin.ledger.order import Done, Executor


@dataclass(frozen=True, slots=True)
class Ran:
    """A commit and what came of it."""

    ordered: Ordered
    done: Done
    made: Made | None  # a checkpoint, to be signed


class Runner:
    """Drives the executor, one commit at a time."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._receipts_at = 0  # height of the newest commit with receipts
        self._next: Ordered | None = None  # decided; its signatures are being checked
        self._accepted: list[Vertex] = []

    @property
    def has_deadlines(self) -> bool:
        """Whether something fires by itself as ledger time goes on."""
        return self._executor.has_deadlines

    def uncertified(self, core: Core) -> bool:
        """Whether there are receipts that no certified checkpoint covers yet."""
        certificate = core.certifier.newest
        return self._receipts_at > (certificate.checkpoint.height if certificate else 0)

    def accepted(self) -> Sequence[Vertex]:
        """Blocks that were accepted because something was decided, since this was last asked."""
        found, self._accepted = self._accepted, []
        return found

    def next(self, core: Core, offload: Offload | None) -> Ran | None:
        """Execute the next commit, if one is decided and no signature in it is being checked."""
        if self._next is None:
            self._next = core.next_commit(self._executor.mix)
            self._accepted += self._next.accepted if self._next is not None else ()
        ordered = self._next
        if ordered is None or (offload is not None and not offload.ready(ordered.commit)):
            return None
        self._next = None
        done = self._executor.apply(ordered.commit)
        if done.receipts:
            self._receipts_at = ordered.commit.height
        own: Made | None = None
        if done.checkpoint is not None and done.checkpoint.epoch == core.rules.committee.epoch:
            own = made(done.checkpoint, self._executor.receipts)
            core.certifier.made(own)
        return Ran(ordered, done, own)
