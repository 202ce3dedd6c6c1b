"""Between a replica and its executor: a whole state, to keep, to find again, or to show."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from dpin.base.ids import Digest
from dpin.ledger.assembly import Restored
from dpin.ledger.execute import Executor
from dpin.ledger.frozen import Frozen
from dpin.ledger.snapshots import Reader, leaves_from, pieces
from dpin.ledger.statemessages import StateAnswer, StateQuestion, answer


class Memory(Protocol):
    """What somebody wants to remember besides the state, which does not tell it."""

    def pages(self) -> Iterable[bytes]:
        """All of it as of now, as records; they may be made as they are taken."""
        ...

    def recall(self, record: bytes) -> None:
        """The next of such records, ahead of the state; raises PeerFault."""
        ...


class Keeper:
    """The states that an executor had when epochs ended; `closings`: how those before ended.

    `memory` goes into the log with each state, and comes back ahead of it.
    """

    def __init__(
        self,
        executor: Executor,
        closings: Sequence[bytes] = (),
        memory: Memory | None = None,
    ) -> None:
        self.closings = closings
        self._memory = memory
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

    def memories(self) -> Iterable[bytes]:
        """Records of what is remembered right after that state."""
        return () if self._memory is None else self._memory.pages()

    def recall(self, record: bytes) -> None:
        """The next of such records; whoever remembers nothing has no use for them."""
        if self._memory is not None:
            self._memory.recall(record)

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
