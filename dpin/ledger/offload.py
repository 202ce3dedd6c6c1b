"""Signatures of transactions, checked by other processes while the order is being found.

A block is accepted on its header. What it carries is claimed here, in batches, and a commit is
executed when all its claims are settled. What the bytes are worth does not depend on who checks
them: without workers, with few signatures, or when a worker dies, they are checked when they are
read, with the same result.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.ledger.admission import Gate
from dpin.ledger.order import OrderedCommit

BATCH_MAX: Final = 256  # claims in one message, 32 KiB
BATCHES_EACH: Final = 2  # under way for each worker: one in its hands, one that waits
WAITING_MAX: Final = 1 << 15  # claims that are made ahead
BYTES_MAX: Final = 16 << 20  # of their transactions
WORTH_IT: Final = 32  # with fewer signatures than this, asking takes longer than checking


@dataclass(frozen=True, slots=True)
class CheckSignatures:
    """Have these claims checked; see `Gate.claim`. The answer is a `SignaturesChecked`."""

    batch: int
    claims: bytes


@dataclass(frozen=True, slots=True)
class SignaturesChecked:
    """Claim i of a batch is true if bit i % 8 of byte i // 8 is set.

    `lost`: there is no answer, and one worker less.
    """

    batch: int
    verdicts: bytes
    lost: bool = False


class Offload:
    """What is being checked elsewhere, and what waits for it."""

    def __init__(self, gate: Gate, workers: int) -> None:
        self._gate = gate
        self._workers = workers
        self._waiting: deque[tuple[bytes, bytes]] = deque()  # transaction, claim
        self._bytes = 0
        self._under_way: dict[int, Sequence[bytes]] = {}  # batch -> its transactions
        self._held: dict[bytes, None] = {}  # submitted; in order
        self._batch = 0
        self._commit = (0, 0)  # height, and how many of its transactions are settled

    def want(self, transactions: Sequence[bytes]) -> None:
        """An accepted block carries these."""
        if len(transactions) >= WORTH_IT:
            for transaction in transactions:
                self._claim(transaction)

    def hold(self, transaction: bytes, queued: int) -> bool:
        """Keep a submitted transaction until its signature is checked; False: check it now.

        `queued` is how many wait for a block: where few do, nothing is gained by waiting.
        """
        if queued < WORTH_IT or not (transaction in self._held or self._claim(transaction)):
            return False
        self._held[transaction] = None
        return True

    def _claim(self, transaction: bytes) -> bool:
        if not self._workers or self._load + 1 > WAITING_MAX or self._bytes > BYTES_MAX:
            return False
        claim = self._gate.claim(transaction)
        if claim is None:
            return False
        self._waiting.append((transaction, claim))
        self._bytes += len(transaction)
        return True

    @property
    def _load(self) -> int:
        return len(self._waiting) + len(self._under_way) * BATCH_MAX

    def batches(self) -> list[CheckSignatures]:
        """What may be asked now."""
        made: list[CheckSignatures] = []
        while self._waiting and len(self._under_way) < self._workers * BATCHES_EACH:
            taken = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            self._batch += 1
            self._under_way[self._batch] = [transaction for transaction, _ in taken]
            made.append(CheckSignatures(self._batch, b"".join(claim for _, claim in taken)))
        return made

    def checked(self, answer: SignaturesChecked) -> list[bytes]:
        """Take an answer; returns the submitted transactions that need wait no longer."""
        transactions = self._under_way.pop(answer.batch, ())
        whole = not answer.lost and len(answer.verdicts) * 8 >= len(transactions)
        for place, transaction in enumerate(transactions):
            good = bool(answer.verdicts[place >> 3] >> (place & 7) & 1) if whole else None
            self._settle(transaction, good=good)
        if answer.lost:
            self._workers = max(0, self._workers - 1)
        if not self._workers:
            while self._waiting:
                self._settle(self._waiting.popleft()[0], good=None)
        return self._free()

    def _free(self) -> list[bytes]:
        """In the order in which they came: those of one account have consecutive numbers."""
        free: list[bytes] = []
        for held in self._held:
            if self._gate.claimed(held):
                break
            free.append(held)
        for held in free:
            del self._held[held]
        return free

    def _settle(self, transaction: bytes, *, good: bool | None) -> None:
        self._gate.settle(transaction, good=good)
        self._bytes -= len(transaction)

    def ready(self, commit: OrderedCommit) -> bool:
        """Whether nothing in a commit is being checked any more; commits are asked for in order."""
        height, place = self._commit
        if height != commit.height:
            place = 0
        transactions = commit.transactions
        while place < len(transactions) and not self._gate.claimed(transactions[place]):
            place += 1
        self._commit = (commit.height, place)
        return place == len(transactions)
