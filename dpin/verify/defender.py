"""The machine of a provider under check: show seated verifiers what they may see, then open.

Before the verify-commits are in, a verifier may see the state in which its window starts and
nothing else: whoever could see the end would not have to compute it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from dpin.base.codec import Wire, encode
from dpin.base.ids import NO_BLOB, BlobId, NodeId
from dpin.base.leaf import Leaf, leaf_path
from dpin.base.machine import Send
from dpin.ledger.accounts import State, Unit, UnitKey, UnitState
from dpin.ledger.views import live_units
from dpin.ledger.wishes import Follow, Wish
from dpin.storage.wanted import (
    Allow,
    Discard,
    Fetched,
    Keep,
    Kept,
    Missing,
    Oversized,
    Purpose,
    StoreEvent,
)
from dpin.verify.commitment import open_leaf_of
from dpin.verify.messages import AskOpening, NoOpening, Opening

WAITING_MAX: Final = 64  # questions that wait for a file to be hashed


class Produced(Wire, frozen=True):
    """A unit that our worker has finished: its leaves, and the state file behind each.

    A generation has no files: its verifiers start from the model itself.
    """

    leaves: tuple[Leaf, ...]
    states: tuple[str, ...]
    base: str  # global checkpoint that the unit started from; "" for a generation


@dataclass(frozen=True, slots=True)
class Asked:
    """A verifier's question."""

    peer: NodeId
    message: AskOpening


Event = Follow | Produced | Asked | StoreEvent
Effect = Send | Wish | Keep | Allow | Discard


@dataclass(slots=True)
class _Unit:
    produced: Produced
    blobs: dict[str, BlobId] = field(default_factory=dict)  # of the files kept so far


class Defender:
    """All units of this node that are not settled yet."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._state: State | None = None
        self._units: dict[UnitKey, _Unit] = {}
        self._waiting: list[Asked] = []

    def step(self, event: Event) -> Sequence[Effect]:
        """See dpin.base.machine.Machine; needs no clock, the ledger's is enough."""
        match event:
            case Follow(state):
                self._state = state
                return list(self._follow(state))
            case Produced(leaves=leaves):
                self._units[leaves[0].lease, leaves[0].round] = _Unit(event)
                return []
            case Asked():
                return list(self._answer(event))
            case Kept(path, blob):
                return list(self._kept(path, blob))
            case Fetched() | Oversized() | Missing():
                return []
            case _:
                assert_never(event)

    @property
    def held(self) -> Sequence[Produced]:
        """What was produced and is still needed after a restart, in the order of the units."""
        return [self._units[key].produced for key in sorted(self._units)]

    @property
    def shown(self) -> frozenset[BlobId]:
        """What verifiers may have been told of."""
        return frozenset(blob for held in self._units.values() for blob in held.blobs.values())

    def _follow(self, state: State) -> Iterator[Effect]:
        live: set[UnitKey] = set()
        for _, lease, unit in live_units(state):
            if lease.provider != self._me:
                continue
            live.add((unit.lease, unit.round))
            held = self._units.get((unit.lease, unit.round))
            if unit.state == UnitState.SEALED and held is not None:
                name = f"open:{unit.lease.hex()}:{unit.round}"
                yield Wish(name, open_leaf_of(held.produced.leaves, unit.window))
        for key in [key for key in self._units if key not in live and key in state.units]:
            files = self._units.pop(key).produced.states
            if files:
                yield Discard(files)
        # What was to be shown may be gone from the disk, and is never kept then.
        self._waiting = [asked for asked in self._waiting if self._is_held(asked)]

    def _answer(self, asked: Asked) -> Iterator[Effect]:
        message = asked.message
        unit = self._seated(asked)
        held = self._units.get((message.lease, message.round))
        if unit is None or held is None or not held.produced.states:
            yield self._no(asked, "no such unit, or no seat in it")
            return
        if message.final and unit.state != UnitState.OPENED:
            yield self._no(asked, "the leaves are not open yet")
            return
        files = _files(held, unit, final=message.final)
        if all(file in held.blobs for file in files):
            yield from self._show(asked, held, unit, files)
        elif asked in self._waiting:
            pass  # Asked again before the file was hashed.
        elif len(self._waiting) == WAITING_MAX:
            yield self._no(asked, "too many questions at once")
        else:
            self._waiting.append(asked)
            for file in files:
                yield Keep(file, Purpose.CHECK, frozenset({asked.peer}))

    def _show(
        self, asked: Asked, held: _Unit, unit: Unit, files: Sequence[str]
    ) -> Iterator[Effect]:
        leaves = held.produced.leaves
        window = len(leaves) - 1 if asked.message.final else unit.window - 1
        blobs = [held.blobs[file] for file in files]
        readers = frozenset(seat.verifier for seat in unit.seats)
        for blob in blobs:
            yield Allow(blob, readers)
        opening = Opening(
            lease=unit.lease,
            round=unit.round,
            final=asked.message.final,
            leaf=leaves[window],
            path=leaf_path(leaves, window),
            state=blobs[0],
            base=blobs[1] if asked.message.final else NO_BLOB,
        )
        yield Send(asked.peer, encode(opening))

    def _kept(self, path: str, blob: BlobId) -> Iterator[Effect]:
        for held in self._units.values():
            if path in held.produced.states or path == held.produced.base:
                held.blobs[path] = blob
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            yield from self._retry(asked)

    def _retry(self, asked: Asked) -> Iterator[Effect]:
        held = self._units.get((asked.message.lease, asked.message.round))
        unit = self._seated(asked)
        if held is None or unit is None:
            return
        files = _files(held, unit, final=asked.message.final)
        if all(file in held.blobs for file in files):
            yield from self._show(asked, held, unit, files)
        else:
            self._waiting.append(asked)

    def _is_held(self, asked: Asked) -> bool:
        return (asked.message.lease, asked.message.round) in self._units

    def _seated(self, asked: Asked) -> Unit | None:
        """The unit asked about, if the asker has a seat in it."""
        if self._state is None:
            return None
        unit = self._state.units.get((asked.message.lease, asked.message.round))
        if unit is None or all(seat.verifier != asked.peer for seat in unit.seats):
            return None
        return unit

    def _no(self, asked: Asked, reason: str) -> Send:
        message = asked.message
        answer = NoOpening(message.lease, message.round, message.final, reason)
        return Send(asked.peer, encode(answer))


def _files(held: _Unit, unit: Unit, *, final: bool) -> list[str]:
    produced = held.produced
    return [produced.states[-1], produced.base] if final else [produced.states[unit.window - 1]]
