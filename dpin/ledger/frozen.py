"""The state as it was at a checkpoint, while it goes on changing: for who joins, or has diverged.

Nothing is copied at that moment but the few parts of which there are few. A part that is about to
change is written down first; all others are as they were.
"""

from collections import deque
from typing import Final

from dpin.base.codec import Wire, encode
from dpin.base.ids import Digest, NodeId
from dpin.base.logtree import LogTree
from dpin.base.units import MicroTokens
from dpin.ledger.accounts import Account, State
from dpin.ledger.book import Kind, Part
from dpin.ledger.checkpoint import Checkpoint, checkpoint_digest
from dpin.ledger.roots import StateRoot, account_fields, few_of, key_of, snapshot
from dpin.ledger.statetree import BUCKETS, bucket_hashes

FROZEN_MAX: Final = 2  # states at ends of epochs: whoever joins has a whole epoch to do so
RECENT_MAX: Final = 6  # states at the newest checkpoints: whoever has diverged asks at once
PAGE_BYTES: Final = 192 * 1024  # a page ends with the first part that brings it here


class Entry(Wire, frozen=True):
    """A part of the state and its value."""

    kind: int
    id: bytes
    round: int
    value: bytes


_Noted = bytes | list[object] | MicroTokens | None  # encoded; fields; an account's balance


class Frozen:
    """One state: parts by bucket, in the order in which this node came to know them."""

    def __init__(
        self, state: State, checkpoint: Checkpoint, root: StateRoot, tree: LogTree
    ) -> None:
        self.checkpoint = checkpoint
        self.name = checkpoint_digest(checkpoint)
        self.size, self.peaks = len(tree), tree.peaks()  # of the receipts log
        self.later: Frozen | None = None  # has what changed after it was taken
        self._above = root.above_buckets()
        self._state = state
        self._standing = root.standing
        self._counts = [len(parts) for parts in root.standing]
        self._few = [(part, snapshot(state, part)) for part in few_of(state)]
        self._few_in: list[list[Entry]] = []  # by bucket, once somebody asks
        self._kept: dict[Part, _Noted] = {}

    @property
    def hashes(self) -> tuple[Digest, ...]:
        """Of all buckets, in order: they lead to the state root."""
        return bucket_hashes(self._above)

    def keep(self, part: Part) -> None:
        """A part is about to be changed; of each part, the first call counts."""
        if part not in self._kept:
            self._kept[part] = self._noted(part)

    def _noted(self, part: Part) -> _Noted:
        """The value, as cheaply as can be: most are asked for by nobody.

        An account's fields never change by themselves, so they are encoded when asked for.
        """
        if part[0] != Kind.ACCOUNT:
            return encode(snapshot(self._state, part))
        held = self._state.accounts.held(NodeId(part[1]))
        return account_fields(held) if isinstance(held, Account) else held

    def page(self, bucket: int, start: int) -> tuple[tuple[Entry, ...], int | None]:
        """Entries of a bucket from a place on, and the place where the next page begins, if any."""
        few, size = self._few_of(bucket), 0
        end = len(few) + self._counts[bucket]
        page: list[Entry] = []
        for place in range(start, end):
            entry = few[place] if place < len(few) else self._entry(bucket, place - len(few))
            page.append(entry)
            size += len(entry.value) + len(entry.id)
            if size >= PAGE_BYTES and place + 1 < end:
                return tuple(page), place + 1
        return tuple(page), None

    def bucket(self, bucket: int) -> tuple[Entry, ...]:
        """All entries of a bucket."""
        entries, then = self.page(bucket, 0)
        while then is not None:
            more, then = self.page(bucket, then)
            entries += more
        return entries

    def _few_of(self, bucket: int) -> list[Entry]:
        if not self._few_in:
            self._few_in = [[] for _ in range(BUCKETS)]
            for part, value in self._few:
                self._few_in[key_of(part)[0]].append(_entry(part, encode(value)))
        return self._few_in[bucket]

    def _entry(self, bucket: int, place: int) -> Entry:
        standing = self._standing[bucket][place]
        part = (Kind.ACCOUNT, NodeId(standing), 0) if isinstance(standing, bytes) else standing
        return _entry(part, self._value(part))

    def _value(self, part: Part) -> bytes:
        """As it was: written down since, or unchanged to this day."""
        frozen: Frozen | None = self
        while frozen is not None:
            value = frozen._kept.get(part)  # noqa: SLF001  Of this class.
            if isinstance(value, int):
                return encode(account_fields(Account(free=value)))
            if value is not None:
                return value if isinstance(value, bytes) else encode(value)
            frozen = frozen.later
        return encode(snapshot(self._state, part))


def _entry(part: Part, value: bytes) -> Entry:
    kind, identity, round_ = part
    return Entry(int(kind), identity, round_, value)


class FrozenStates:
    """The newest frozen states, the newest last.

    Those at ends of epochs are told of every change for as long as they are held; of those between,
    only the newest, and each leads to the next.
    """

    def __init__(self) -> None:
        self.states: deque[Frozen] = deque(maxlen=FROZEN_MAX)  # as epochs ended
        self.recent: deque[Frozen] = deque(maxlen=RECENT_MAX)  # at the newest checkpoints between
        self._newest: Frozen | None = None  # of these, unless an epoch has just ended

    def add(self, frozen: Frozen) -> None:
        """Hold on to one more end of an epoch; the oldest is let go."""
        if self._newest is not None:
            self._newest.later = frozen
            self._newest = None
        if len(self.states) == FROZEN_MAX:  # What leads to the oldest is told nothing any more.
            gone = self.states[0].checkpoint.epoch
            kept = [one for one in self.recent if one.checkpoint.epoch > gone]
            self.recent = deque(kept, maxlen=RECENT_MAX)
        self.states.append(frozen)

    def pass_by(self, frozen: Frozen) -> None:
        """A checkpoint that ends no epoch: for a while."""
        if self._newest is not None:
            self._newest.later = frozen
        self._newest = frozen
        self.recent.append(frozen)

    def keep(self, part: Part) -> None:
        """A part is about to be changed; who asks for it wants it as it was."""
        for frozen in self.states:
            frozen.keep(part)
        if self._newest is not None:
            self._newest.keep(part)

    @property
    def newest(self) -> Frozen | None:
        """The state at the newest checkpoint."""
        return self._newest or (self.states[-1] if self.states else None)

    def find(self, name: Digest) -> Frozen | None:
        """The state at a checkpoint, if it is still held."""
        held = (*self.states, *self.recent)
        return next((frozen for frozen in held if frozen.name == name), None)
