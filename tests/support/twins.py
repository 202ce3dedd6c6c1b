"""A ledger beside which others go on that joined it: at each epoch's end, from its frozen state."""

from collections.abc import Sequence

from typing_extensions import override

from dpin.base.logtree import LogTree
from dpin.ledger.assembly import Assembly, Restored, read_bucket
from dpin.ledger.execute import Applied, Executor
from dpin.ledger.frozen import Entry, Frozen
from dpin.ledger.order import OrderedBlock
from dpin.ledger.params import DEVELOPMENT, Params
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.statetree import BUCKETS
from dpin.ledger.transactions import Stake
from tests.support.ledgers import STAKE, Ledger, registration

TWINS_MAX = 1  # beside the newest


def bucket_of(frozen: Frozen, bucket: int) -> list[Entry]:
    """All that stands in a bucket, page by page."""
    entries: list[Entry] = []
    start: int | None = 0
    while start is not None:
        page, start = frozen.page(bucket, start)
        entries += page
    return entries


def restored(frozen: Frozen) -> Restored:
    """The state again, from its parts alone."""
    assembly = Assembly(frozen.checkpoint, frozen.hashes)
    for bucket in range(BUCKETS):
        assembly.take(bucket, bucket_of(frozen, bucket))
    return assembly.finish(ReceiptLog(LogTree(frozen.size, frozen.peaks)))


class Twins(Ledger):
    """Every commit is applied by all; whatever comes of it must be the same."""

    def __init__(self, *people: str, params: Params = DEVELOPMENT) -> None:
        super().__init__(*people, params=params)
        self.twins: list[Executor] = []
        self.joined = 0

    @override
    def commit(
        self, *transactions: bytes, after_ms: int = 1, blocks: Sequence[OrderedBlock] = ()
    ) -> Applied:
        applied = super().commit(*transactions, after_ms=after_ms, blocks=blocks)
        for twin in self.twins:
            assert twin.apply(self.commits[-1]) == applied
            assert twin.receipts.root == self.executor.receipts.root
            if applied.checkpoint is not None:
                assert twin.state == self.state
        if applied.closing is not None:
            self.join()
        return applied

    def join(self) -> None:
        """One more goes on from here; what the last epoch's end froze is still what it was."""
        for frozen in self.executor.frozen.states:
            found = restored(frozen)
            assert found.root.digest == frozen.checkpoint.state_root
        for frozen in self.executor.frozen.recent:
            for number in range(0, BUCKETS, 8):
                _, bucket = read_bucket(number, frozen.bucket(number))
                assert bucket.hash == frozen.hashes[number]
        twin = Executor(self.genesis)
        twin.resume(restored(self.executor.frozen.states[-1]))
        assert twin.state == self.state
        assert twin.next_deadline == self.executor.next_deadline
        assert twin.rooted == self.executor.rooted
        assert twin.frozen.states[-1].peaks == self.executor.frozen.states[-1].peaks
        self.twins = [*self.twins[-TWINS_MAX:], twin]
        self.joined += 1


def peopled_twins(*people: str, params: Params = DEVELOPMENT) -> Twins:
    """Twins on which all these are registered and have staked."""
    ledger = Twins(*people, params=params)
    for name in people:
        assert ledger.do(name, registration(), Stake(STAKE)) == "ok"
    return ledger
