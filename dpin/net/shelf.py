"""The records that a node keeps for others: few of each signer, few of each key, few in all.

When it is full, what is farthest from the node's own place makes room for what is nearer: so a
flood from far away takes nothing from those who look for near keys.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from typing import Final

from dpin.base.ids import NodeId
from dpin.base.units import MICROS_PER_SECOND, Instant, Micros, after
from dpin.net.records import Key, Record, distance

RECORDS_MAX: Final = 8_192
PER_KEY_MAX: Final = 16
PER_SIGNER_MAX: Final = 256
SWEEP_EVERY: Final = Micros(60 * MICROS_PER_SECOND)

_Entry = tuple[int, Key, NodeId]  # distance first: the list stays sorted by it


class Shelf:
    """Records by key and signer; the newest of each."""

    def __init__(self, me: NodeId, records_max: int = RECORDS_MAX) -> None:
        self._me = me
        self._max = records_max
        self._by_key: dict[Key, dict[NodeId, Record]] = {}
        self._order: list[_Entry] = []
        self._of_signer: Counter[NodeId] = Counter()
        self._sweep_at = Instant(0)

    def __len__(self) -> int:
        return len(self._order)

    def put(self, record: Record, now: Instant) -> bool:
        """Keep a record that was checked; False where it is old, or there is no room for it."""
        self._sweep(now)
        if not record.fresh(now):
            return False
        known = self._by_key.get(record.key, {}).get(record.signer)
        if known is not None:
            if _outdoes(record, known, now):
                self._by_key[record.key][record.signer] = record
            return True
        if self._of_signer[record.signer] >= PER_SIGNER_MAX or not self._room_for(record):
            return False
        self._by_key.setdefault(record.key, {})[record.signer] = record
        self._of_signer[record.signer] += 1
        insort(self._order, self._entry(record))
        return True

    def get(self, key: Key, now: Instant) -> Sequence[Record]:
        """What is kept under a key, by signer."""
        kept = self._by_key.get(key, {})
        return [kept[signer] for signer in sorted(kept) if kept[signer].fresh(now)]

    def _entry(self, record: Record) -> _Entry:
        return (distance(record.key, self._me), record.key, record.signer)

    def _room_for(self, record: Record) -> bool:
        kept = self._by_key.get(record.key, {})
        if len(kept) >= PER_KEY_MAX:
            oldest = min(kept.values(), key=lambda other: (other.expires, other.signer))
            if oldest.expires >= record.expires:
                return False
            self._drop(oldest)
        if len(self._order) >= self._max:
            _, key, signer = farthest = self._order[-1]
            if farthest <= self._entry(record):
                return False
            self._drop(self._by_key[key][signer])
        return True

    def _drop(self, record: Record) -> None:
        del self._order[bisect_left(self._order, self._entry(record))]
        del self._by_key[record.key][record.signer]
        if not self._by_key[record.key]:
            del self._by_key[record.key]
        self._of_signer[record.signer] -= 1
        if not self._of_signer[record.signer]:
            del self._of_signer[record.signer]

    def _sweep(self, now: Instant) -> None:
        if now < self._sweep_at:
            return
        self._sweep_at = after(now, SWEEP_EVERY)
        kept = [record for records in self._by_key.values() for record in records.values()]
        for record in kept:
            if not record.fresh(now):
                self._drop(record)


def _outdoes(record: Record, known: Record, now: Instant) -> bool:
    """Of two by one signer the later counts, but what it signed before what it only said."""
    worth = (bool(known.raw), known.expires) if known.fresh(now) else (False, 0)
    return worth < (bool(record.raw), record.expires)
