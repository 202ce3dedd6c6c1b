"""From the order to what it does: commits are executed, and checkpoints certified."""

from dataclasses import dataclass

from dpin.ledger.certifier import Made, made
from dpin.ledger.core import Core, Ordered
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

    @property
    def has_deadlines(self) -> bool:
        """Whether something fires by itself as ledger time goes on."""
        return self._executor.has_deadlines

    def uncertified(self, core: Core) -> bool:
        """Whether there are receipts that no certified checkpoint covers yet."""
        certificate = core.certifier.newest
        return self._receipts_at > (certificate.checkpoint.height if certificate else 0)

    def next(self, core: Core) -> Ran | None:
        """Execute the next commit, if one is decided."""
        ordered = core.next_commit(self._executor.mix)
        if ordered is None:
            return None
        done = self._executor.apply(ordered.commit)
        if done.receipts:
            self._receipts_at = ordered.commit.height
        own: Made | None = None
        if done.checkpoint is not None and done.checkpoint.epoch == core.rules.committee.epoch:
            own = made(done.checkpoint, self._executor.receipts)
            core.certifier.made(own)
        return Ran(ordered, done, own)
