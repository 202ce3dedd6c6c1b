"""What a state was like before a transaction of several operations, so that it can be again.

A single operation is refused before it changes anything and needs none of this. Of several, the
first may have been done when a later one is refused: every part is copied when it is first handed
out, what is new is counted, and a refusal puts all of it back.
"""

from collections.abc import MutableMapping
from dataclasses import replace
from operator import attrgetter
from typing import Final, TypeVar

from dpin.base.ids import NodeId
from dpin.ledger.accounts import Account, Job, Lease, RoundRecord, Seat, State, Unit
from dpin.ledger.standing import Validator

Kept = Account | Job | Lease | Unit | RoundRecord | Seat

K = TypeVar("K")
V = TypeVar("V")

_KINDS: Final = (Account, Job, Lease, Unit, RoundRecord, Seat)
_NAMES: Final = {kind: tuple(kind.__slots__) for kind in _KINDS}
_READ: Final = {kind: attrgetter(*names) for kind, names in _NAMES.items()}
_TABLES: Final = ("accounts", "jobs", "leases", "units", "live_jobs")
_NUMBERS: Final = tuple(name for name in State.__slots__ if name not in _TABLES)


class Undo:
    """The way back to a state, from when this was made.

    Nothing leaves the tables of a state while a transaction is applied, but for validators: what is
    new stands last.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._sizes = (
            len(state.accounts),
            len(state.jobs),
            len(state.leases),
            len(state.units),
        )
        self._numbers = [getattr(state, name) for name in _NUMBERS]
        self._kept: dict[object, tuple[Kept, list[object]]] = {}
        self._validators: dict[NodeId, Validator | None] = {}

    def keep(self, key: object, part: Kept) -> None:
        """A part is about to be changed; of each key, the first call counts."""
        if key in self._kept:
            return
        self._kept[key] = (part, [_copied(value) for value in _READ[type(part)](part)])
        if isinstance(part, Unit):
            for place, seat in enumerate(part.seats):
                self.keep((key, place), seat)

    def keep_validator(self, node: NodeId, validator: Validator | None) -> None:
        """A validator is about to be changed, made (None: there was none) or removed."""
        if node not in self._validators:
            self._validators[node] = None if validator is None else replace(validator)

    def revert(self) -> None:
        """Put everything back."""
        state = self._state
        for part, values in self._kept.values():
            for name, value in zip(_NAMES[type(part)], values, strict=True):
                setattr(part, name, value)
            if isinstance(part, Job) and not part.state.ended:
                state.live_jobs.add(part.id)
        for name, value in zip(_NUMBERS, self._numbers, strict=True):
            setattr(state, name, value)
        for node, validator in self._validators.items():
            state.validators.pop(node, None)
            if validator is not None:
                state.validators[node] = validator
        accounts, jobs, leases, units = self._sizes
        _cut(state.accounts, accounts)
        for job in _cut(state.jobs, jobs):
            state.live_jobs.discard(job)
        _cut(state.leases, leases)
        _cut(state.units, units)


def _cut(table: MutableMapping[K, V], size: int) -> list[K]:
    """Remove what came after the first `size` entries; returns their keys."""
    return [table.popitem()[0] for _ in range(len(table) - size)]


def _copied(value: object) -> object:
    """What a field holds, apart from what may yet be added to it."""
    if isinstance(value, list | set | dict):
        return value.copy()
    return value
