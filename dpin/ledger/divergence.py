"""What differs between this node's state and the one that the others have signed.

Only the buckets with other hashes are fetched, at most `SHOWN_MAX` of them; every one of them has
the hash that leads to the certified root, so nobody has to be believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.errors import PeerFault
from dpin.base.ids import Digest
from dpin.ledger.assembly import read_bucket
from dpin.ledger.certificates import Certificate
from dpin.ledger.certifier import Made
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.frozen import Entry
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.statetree import BUCKETS, root_of_buckets

SHOWN_MAX: Final = 16  # buckets that are fetched and written down, of those that differ


@dataclass(frozen=True, slots=True)
class Parting:
    """Where a node's state is another than that of the others."""

    ours: Made
    others: tuple[tuple[int, Digest], ...] = ()
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Certified:
    """The state that a quorum has signed, as far as it differs from ours."""

    hashes: tuple[Digest, ...]  # of all buckets
    buckets: dict[int, tuple[Entry, ...]]  # those that differ, or the first of them


class Differing:
    """Takes the buckets that differ; see `join.Collection`."""

    def __init__(
        self, own: Sequence[Digest], checkpoint: Checkpoint, hashes: Sequence[Digest]
    ) -> None:
        if len(hashes) != BUCKETS or root_of_buckets(hashes) != checkpoint.state_root:
            raise PeerFault("these hashes of buckets are not of that state")
        self.missing = set(differing(own, hashes)[:SHOWN_MAX])
        self._hashes = tuple(hashes)
        self._buckets: dict[int, tuple[Entry, ...]] = {}

    def take(self, number: int, entries: Sequence[Entry]) -> None:
        """See `join.Collection`."""
        _, bucket = read_bucket(number, entries)
        if bucket.hash != self._hashes[number]:
            raise PeerFault(f"bucket {number} of the state is not what was certified")
        self._buckets[number] = tuple(entries)
        self.missing.discard(number)

    def finish(self, receipts: ReceiptLog) -> Certified:
        """See `join.Collection`."""
        del receipts
        return Certified(self._hashes, self._buckets)


def differing(ours: Sequence[Digest], theirs: Sequence[Digest]) -> list[int]:
    """The buckets that have not the same hash."""
    pairs = zip(ours, theirs, strict=True)
    return [number for number, (one, other) in enumerate(pairs) if one != other]
