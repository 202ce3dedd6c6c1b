"""One seat of a verifier: get what may be seen of the unit, compute, seal, reveal."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from dpin.base.attention import LOOK, Attention
from dpin.base.codec import decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_BLOB, NO_DIGEST, BlobId, Digest, NodeId
from dpin.base.leaf import Leaf, leaf_digest, opened
from dpin.base.machine import Blame, Send, Wake
from dpin.base.units import Instant, Micros, after, seconds
from dpin.compute.generation import Generate
from dpin.compute.task import CheckUpdate, CheckWindow, InferManifest, UpdateChecked, WindowChecked
from dpin.compute.work import Order
from dpin.ledger.accounts import Seat, State, Unit, UnitState
from dpin.ledger.transactions import VerifyCommit, VerifyReveal, seal
from dpin.ledger.views import left_over
from dpin.ledger.wishes import Wish
from dpin.storage.wanted import Fetch, Fetched, Oversized, Purpose
from dpin.verify.bench import RETRY, Bench
from dpin.verify.commitment import generation_leaves
from dpin.verify.messages import AskOpening, NoOpening, Opening

RETRY_SOON: Final = Micros(200_000)
ACCUSE_TICKS: Final = 4  # before a deadline, what was not delivered counts as withheld
PATIENCE_TICKS: Final = 5  # from the first question on, before that may be said of anybody
PATIENCE: Final = seconds(2)  # and so long this node must have been awake by then

Effect = Send | Blame | Wake | Wish | Fetch | Order


class _Stage(Enum):
    WINDOW = 1
    UPDATE = 2


@dataclass(slots=True)
class Examination:
    """What has come so far. `found` and `update` are what will be revealed."""

    bench: Bench
    provider: NodeId
    salt: Digest
    attention: Attention = field(default_factory=Attention)  # of this node
    found: Digest | None = None
    update: BlobId | None = None
    _openings: dict[bool, Opening] = field(default_factory=dict)  # by `final`
    _paths: dict[BlobId, str] = field(default_factory=dict)
    _oversized: set[BlobId] = field(default_factory=set)  # named, and no state of any unit
    _ordered: set[_Stage] = field(default_factory=set)  # given to the worker
    _asked_at: dict[_Stage, tuple[int, Instant]] = field(default_factory=dict)  # first, and when
    _retry_at: Instant = Instant(0)

    # --- following the ledger ---

    def follow(self, unit: Unit, seat: Seat, state: State, now: Instant) -> Iterator[Effect]:
        """Do what the state of the unit asks of this seat; harmless to repeat."""
        if unit.state == UnitState.SEATED and seat.sealed is None:
            yield from self._find(unit, seat, state, now)
        elif unit.state == UnitState.OPENED and seat.sealed and seat.reveal is None:
            yield from self._judge(unit, state, now)

    def _find(self, unit: Unit, seat: Seat, state: State, now: Instant) -> Iterator[Effect]:
        """Compute the checked window, then seal what was found."""
        if self.found is None and self.bench.usable and _Stage.WINDOW not in self._ordered:
            yield from self._compute(unit, state, now)
        if self.found is None and self._withheld(_Stage.WINDOW, unit, state, now):
            self.found = NO_DIGEST
        if self.found is not None:
            sealed = seal(unit.lease, unit.round, seat.verifier, self.found, self.salt)
            yield Wish(_name("seal", unit), VerifyCommit(unit.lease, unit.round, sealed))

    def _compute(self, unit: Unit, state: State, now: Instant) -> Iterator[Effect]:
        files = self.bench.files
        if isinstance(files.manifest, InferManifest):
            self._ordered.add(_Stage.WINDOW)
            model = files.paths[files.manifest.model]
            yield self.bench.order(Generate(files.manifest_data, model))
            return
        self._asked_at.setdefault(_Stage.WINDOW, (state.tick, now))
        yield from self._obtain(unit, now, final=False)
        opening = self._openings.get(False)
        if opening is not None and opening.state in self._oversized:
            self.found = NO_DIGEST  # As if it did not hash to its leaf.
        elif opening is not None and opening.state in self._paths:
            self._ordered.add(_Stage.WINDOW)
            seat = state.leases[unit.lease].seat
            yield self.bench.order(CheckWindow(opening.leaf, seat, self._paths[opening.state]))

    def _judge(self, unit: Unit, state: State, now: Instant) -> Iterator[Effect]:
        """Compare with the opened leaf, re-encode the update, reveal."""
        if self.found is None or unit.opened is None:
            return  # A restart forgot what was found: absent, rather than revealing a guess.
        if self.found != leaf_digest(_leaf(unit.opened.checked.leaf)):
            self.update = NO_BLOB
        if self.update is None and self.bench.usable and _Stage.UPDATE not in self._ordered:
            self._asked_at.setdefault(_Stage.UPDATE, (state.tick, now))
            yield from self._obtain(unit, now, final=True)
            yield from self._encode_again(unit, state)
        if self.update is None and self._withheld(_Stage.UPDATE, unit, state, now):
            self.update = NO_BLOB
        if self.update is not None:
            reveal = VerifyReveal(unit.lease, unit.round, self.found, self.update, self.salt)
            yield Wish(_name("reveal", unit), reveal)

    def _withheld(self, stage: _Stage, unit: Unit, state: State, now: Instant) -> bool:
        """Whether the provider has let its time pass.

        A worker of ours that is slow (it has its order already), dead, or was ready so late that
        the provider could hardly answer, is no fault of the provider's; nor is it that this node
        slept, and has the answer among the mail that it has not read.
        """
        asked = self.bench.usable and stage not in self._ordered
        tick, moment = self._asked_at.get(stage, (state.tick, now))
        waited = state.tick - tick >= PATIENCE_TICKS
        awake = now >= after(max(moment, self.attention.since), PATIENCE)
        return asked and waited and awake and state.tick >= unit.deadline - ACCUSE_TICKS

    def _obtain(self, unit: Unit, now: Instant, *, final: bool) -> Iterator[Effect]:
        """Ask for the opening, then for the blobs it names that are not held already."""
        opening = self._openings.get(final)
        wanted = [] if opening is None else _blobs(opening)
        base = self._base(unit)
        if opening is not None and final and base is not None:
            self._paths[opening.base] = base
        if opening and all(blob in self._paths for blob in wanted):
            return
        if self._oversized & {*wanted}:
            return
        yield Wake(after(now, LOOK))
        if now < self._retry_at:
            return
        self._retry_at = after(now, RETRY)
        yield Wake(self._retry_at)
        if opening is None:
            yield Send(self.provider, encode(AskOpening(unit.lease, unit.round, final)))
        most = self.bench.files.window_state_bytes_max
        assert most is not None, "a usable bench has its files"
        for blob in wanted:
            if blob not in self._paths:
                yield Fetch(blob, (self.provider,), Purpose.CHECK, most)

    def _base(self, unit: Unit) -> str | None:
        """The state that the unit started from, where this node's own work holds it."""
        assert unit.commit is not None, "a seated unit was committed"
        first = _leaf(unit.commit.first.leaf)
        return self.bench.checkpoint(first.parameters) if first.error_buffer == NO_DIGEST else None

    def _encode_again(self, unit: Unit, state: State) -> Iterator[Effect]:
        opening = self._openings.get(True)
        if opening is not None and {opening.state, opening.base} & self._oversized:
            self.update = NO_BLOB
        if opening is None or not {opening.state, opening.base} <= self._paths.keys():
            return
        assert unit.commit is not None, "an opened unit was committed"
        self._ordered.add(_Stage.UPDATE)
        first = _leaf(unit.commit.first.leaf)
        base, final = self._paths[opening.base], self._paths[opening.state]
        age = left_over(state, unit.lease, unit.round).get(first.error_buffer, 1)
        left = unit.commit.error_buffer
        yield self.bench.order(CheckUpdate(first, opening.leaf, base, final, left, age))

    # --- what comes in ---

    def told(self, message: Opening | NoOpening, unit: Unit, now: Instant) -> Iterator[Effect]:
        """The provider's answer."""
        if message.final in self._openings:
            return
        if isinstance(message, NoOpening):
            # Most often its ledger is a moment behind ours, and does not know of the seat yet.
            self._retry_at = min(self._retry_at, after(now, RETRY_SOON))
            yield Wake(self._retry_at)
            return
        if not _proves(message, unit):
            yield Blame(self.provider, "sent an opening that its commit does not hold")
            return
        self._openings[message.final] = message
        self._retry_at = Instant(0)

    def fetched(self, event: Fetched | Oversized, now: Instant) -> Iterator[Effect]:
        """A blob is here, or too large; harmless when it is none of ours."""
        most = self.bench.files.window_state_bytes_max
        if most is None or event.blob not in self.blobs:
            return
        if event.length > most:
            self._oversized.add(event.blob)
            yield Blame(self.provider, f"named a state of {event.length} bytes, at most {most}")
        elif isinstance(event, Fetched):
            self._paths[event.blob] = event.path
        else:
            self.missing(event.blob, now)  # Somebody else's bound: it is asked for again.

    @property
    def blobs(self) -> frozenset[BlobId]:
        """What the provider's openings name."""
        return frozenset(blob for one in self._openings.values() for blob in _blobs(one))

    def missing(self, blob: BlobId, now: Instant) -> None:
        """Nobody gave the blob; ask again soon."""
        if blob in self.blobs:
            self._retry_at = min(self._retry_at, after(now, RETRY_SOON))

    def checked(self, report: WindowChecked | UpdateChecked) -> None:
        """The worker has re-executed."""
        match report:
            case WindowChecked(opened_ok=ok, found=found):
                self.found = found if ok else NO_DIGEST
                self._retry_at = Instant(0)  # What may be asked next is another question.
            case UpdateChecked(states_ok=ok, update=update):
                self.update = update if ok else NO_BLOB

    def generated(self, lease: Digest, output: Digest) -> None:
        """The worker has generated the text again."""
        manifest = self.bench.files.manifest
        assert isinstance(manifest, InferManifest), "only generations generate"
        job = self.bench.job.id
        leaves = generation_leaves(job, lease, manifest.state_hash, output, manifest.tokens)
        self.found, self.update = leaf_digest(leaves[1]), BlobId(output)

    def restarted(self) -> None:
        """The worker is another one now and has no orders."""
        self._ordered.clear()


def _leaf(data: bytes) -> Leaf:
    """A leaf that the ledger has already checked."""
    return decode(Leaf, data)


def _proves(opening: Opening, unit: Unit) -> bool:
    """Whether the opening shows the right leaf of the unit's commit."""
    if unit.commit is None:
        return False
    try:
        leaf = opened(encode(opening.leaf), opening.path, unit.commit.leaves, unit.commit.root)
    except PeerFault:
        return False
    return leaf.window == (unit.commit.leaves - 1 if opening.final else unit.window - 1)


def _blobs(opening: Opening) -> list[BlobId]:
    return [opening.state] if opening.base == NO_BLOB else [opening.state, opening.base]


def _name(what: str, unit: Unit) -> str:
    return f"{what}:{unit.lease.hex()}:{unit.round}"
