"""The state as it was when an epoch ended, while it goes on changing: for whoever joins there.

Nothing is copied at that moment but the few parts of which there are few. A part that is about to
change is written down first; all others are as they were.
"""

from collections import deque
from typing import Final

from dpin.base.codec import Wire, encode
from dpin.base.ids import NodeId
from dpin.base.logtree import LogTree
from dpin.ledger.accounts import State
from dpin.ledger.book import Kind, Part
from dpin.ledger.checkpoint import Checkpoint, checkpoint_digest
from dpin.ledger.roots import StateRoot, few_of, key_of, snapshot

FROZEN_MAX: Final = 2  # states: whoever joins has a whole epoch to do so
PAGE_BYTES: Final = 192 * 1024  # a page ends with the first part that brings it here


class Entry(Wire, frozen=True):
    """A part of the state and its value."""

    kind: int
    id: bytes
    round: int
    value: bytes


class Frozen:
    """One state: parts by bucket, in the order in which this node came to know them."""

    def __init__(
        self, state: State, checkpoint: Checkpoint, root: StateRoot, tree: LogTree
    ) -> None:
        self.checkpoint = checkpoint
        self.name = checkpoint_digest(checkpoint)
        self.hashes = root.bucket_hashes()
        self.size, self.peaks = len(tree), tree.peaks()  # of the receipts log
        self._state = state
        self._standing = root.standing
        self._counts = [len(parts) for parts in root.standing]
        self._few: list[list[Entry]] = [[] for _ in self._counts]
        self._kept: dict[Part, bytes] = {}
        for part in few_of(state):
            kind, identity, round_ = part
            entry = Entry(int(kind), identity, round_, encode(snapshot(state, part)))
            self._few[key_of(part)[0]].append(entry)

    def keep(self, part: Part) -> None:
        """A part is about to be changed; of each part, the first call counts."""
        if part not in self._kept:
            self._kept[part] = encode(snapshot(self._state, part))

    def page(self, bucket: int, start: int) -> tuple[tuple[Entry, ...], int | None]:
        """Entries of a bucket from a place on, and the place where the next page begins, if any."""
        few, size = self._few[bucket], 0
        end = len(few) + self._counts[bucket]
        page: list[Entry] = []
        for place in range(start, end):
            entry = few[place] if place < len(few) else self._entry(bucket, place - len(few))
            page.append(entry)
            size += len(entry.value) + len(entry.id)
            if size >= PAGE_BYTES and place + 1 < end:
                return tuple(page), place + 1
        return tuple(page), None

    def _entry(self, bucket: int, place: int) -> Entry:
        standing = self._standing[bucket][place]
        part = (Kind.ACCOUNT, NodeId(standing), 0) if isinstance(standing, bytes) else standing
        value = self._kept.get(part)
        if value is None:
            value = encode(snapshot(self._state, part))
        kind, identity, round_ = part
        return Entry(int(kind), identity, round_, value)


class FrozenStates:
    """The newest frozen states, the newest last."""

    def __init__(self) -> None:
        self.states: deque[Frozen] = deque(maxlen=FROZEN_MAX)

    def add(self, frozen: Frozen) -> None:
        """Hold on to one more; the oldest is let go."""
        self.states.append(frozen)

    def keep(self, part: Part) -> None:
        """A part is about to be changed; whoever joins asks for it as it was."""
        for frozen in self.states:
            frozen.keep(part)
