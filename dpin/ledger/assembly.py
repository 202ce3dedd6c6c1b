"""A state put together from its 256 buckets, each checked against the hash that it must have."""

from collections.abc import Sequence
from dataclasses import dataclass

from dpin.base.crypto import digest
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest
from dpin.ledger.accounts import State
from dpin.ledger.book import Kind, Part
from dpin.ledger.checkpoint import Checkpoint
from dpin.ledger.frozen import Entry
from dpin.ledger.parts import Parts
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.roots import VALUE_TAG, StateRoot, key_of
from dpin.ledger.statetree import BUCKETS, Bucket, root_of_buckets

_KINDS = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Restored:
    """What an executor goes on from."""

    checkpoint: Checkpoint  # which closed the epoch before
    state: State
    root: StateRoot
    receipts: ReceiptLog


class Assembly:
    """Takes buckets, in any order; raises PeerFault for hashes that do not lead to the root."""

    def __init__(self, checkpoint: Checkpoint, hashes: Sequence[Digest]) -> None:
        if len(hashes) != BUCKETS or root_of_buckets(hashes) != checkpoint.state_root:
            raise PeerFault("these hashes of buckets are not of that state")
        self.missing = set(range(BUCKETS))
        self._checkpoint = checkpoint
        self._hashes = hashes
        self._parts = Parts()
        self._root = StateRoot()

    def take(self, number: int, entries: Sequence[Entry]) -> None:
        """A whole bucket; raises PeerFault unless it has its hash. Once for each bucket."""
        assert number in self.missing, "a bucket is taken once"
        found, bucket = read_bucket(number, entries)
        if bucket.hash != self._hashes[number]:
            raise PeerFault(f"bucket {number} of the state is not what was certified")
        self._root.adopt(bucket, (part for _, _, part, _ in found))
        for _, _, part, data in found:
            self._parts.take(part, data)
        self.missing.discard(number)

    def finish(self, receipts: ReceiptLog) -> Restored:
        """All buckets are there. Raises PeerFault where what was certified is no whole state."""
        assert not self.missing, "a state has all of its buckets"
        return Restored(self._checkpoint, self._parts.state(), self._root, receipts)


def read_bucket(
    number: int, entries: Sequence[Entry]
) -> tuple[list[tuple[Digest, Digest, Part, bytes]], Bucket]:
    """Key, digest, part and value of all that stands in a bucket, by key; and the bucket's hash.

    Raises PeerFault for entries that cannot stand in one bucket of that number.
    """
    found = sorted(_keyed(entry) for entry in entries)
    keys = [key for key, _, _, _ in found]
    if len(set(keys)) < len(keys) or any(key[0] != number for key in keys):
        raise PeerFault(f"bucket {number} of the state holds something twice, or of another")
    glued = b"".join(key + value for key, value, _, _ in found)
    return found, Bucket(number, glued)


def _keyed(entry: Entry) -> tuple[Digest, Digest, Part, bytes]:
    if entry.kind not in _KINDS:
        raise PeerFault("no part of a state is of that kind")
    part = (Kind(entry.kind), entry.id, entry.round)
    return key_of(part), digest(VALUE_TAG, entry.value), part, entry.value
