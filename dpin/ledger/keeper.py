"""Between a replica and its executor: a whole state, to keep, to find again, or to show."""

from collections.abc import Iterable, Sequence

from dpin.base.ids import Digest
from dpin.ledger.assembly import Restored
from dpin.ledger.execute import Executor
from dpin.ledger.frozen import Frozen
from dpin.ledger.snapshots import Reader, leaves_from, pieces
from dpin.ledger.statemessages import StateAnswer, StateQuestion, answer


class Keeper:
    """The states that an executor had when epochs ended; `closings`: how those before ended."""

    def __init__(self, executor: Executor, closings: Sequence[bytes] = ()) -> None:
        self.closings = closings
        self._executor = executor
        self._reader = Reader()

    def pieces(self) -> Iterable[bytes]:
        """Records of the newest such state, right after it; older receipts are held no more.

        So a node answers the same before and after a start from these records. They are made as
        they are taken, which must be done before the next such state is kept.
        """
        executor = self._executor
        frozen = executor.frozen.states[-1]
        executor.receipts.forget(leaves_from(executor.receipts, frozen.size))
        return pieces(frozen, executor.receipts)

    def read(self, piece: bytes) -> bool:
        """The next of such records; whether it was the last, and the executor is there now.

        Raises PeerFault for a record that does not fit the ones before.
        """
        self._reader.take(piece)
        if not self._reader.done:
            return False
        self.install(self._reader.restored())
        self._reader = Reader()
        return True

    def install(self, restored: Restored) -> None:
        """Have the executor go on from there."""
        self._executor.resume(restored)

    def answer(self, question: StateQuestion) -> StateAnswer:
        """What there is for somebody who joins."""
        frozen = self._executor.frozen.find(question.checkpoint)
        return answer([] if frozen is None else [frozen], question)

    def at(self, name: Digest) -> Frozen | None:
        """The state at a checkpoint, if it is still there."""
        return self._executor.frozen.find(name)
