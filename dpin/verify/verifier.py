"""The machine of a seated verifier: get what may be seen, compute, seal, reveal.

It follows the ledger: each commit it compares its seats with what it has done so far. A provider
that does not deliver is judged like one that delivers wrong work, because only it can deliver; a
verifier that cannot keep up judges nobody and stays absent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, assert_never

from dpin.base.codec import decode, encode
from dpin.base.crypto import digest
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_BLOB, NO_DIGEST, BlobId, Digest, JobId, NodeId
from dpin.base.leaf import Leaf, leaf_digest, opened
from dpin.base.machine import Blame, Send, Tick, Wake
from dpin.base.units import Instant, after, seconds
from dpin.compute.task import (
    CheckUpdate,
    CheckWindow,
    Generate,
    Generated,
    InferManifest,
    Report,
    UpdateChecked,
    WindowChecked,
)
from dpin.compute.work import Exited, Reported, WorkEffect, WorkerId, WorkEvent
from dpin.ledger.accounts import Job, JobState, Seat, State, Unit, UnitKey, UnitState
from dpin.ledger.transactions import VerifyCommit, VerifyReveal, seal
from dpin.ledger.views import live_units
from dpin.ledger.wishes import Follow, Wish
from dpin.storage.wanted import Fetch, Fetched, Kept, Missing, Purpose, StoreEvent
from dpin.verify.bench import RETRY, Bench
from dpin.verify.commitment import generation_leaves
from dpin.verify.messages import AskOpening, NoOpening, Opening

SALT_TAG: Final = "dpin/salt/v1"
RETRY_SOON: Final = seconds(0.2)
WARM_MAX: Final = 2  # jobs that a node loads before it has a seat in them
ACCUSE_TICKS: Final = 4  # before a deadline, what was not delivered counts as withheld


@dataclass(frozen=True, slots=True)
class Told:
    """A verify message that concerns this machine."""

    peer: NodeId
    message: Opening | NoOpening


Event = Follow | Told | StoreEvent | WorkEvent | Tick
Effect = Send | Blame | Wake | Wish | Fetch | WorkEffect


class _Stage(Enum):
    WINDOW = 1
    UPDATE = 2


@dataclass(slots=True)
class _Check:
    """One seat: what has come so far. `found` and `update` are what will be revealed."""

    job: JobId
    provider: NodeId
    openings: dict[bool, Opening] = field(default_factory=dict)  # by `final`
    paths: dict[BlobId, str] = field(default_factory=dict)
    ordered: set[_Stage] = field(default_factory=set)  # given to the worker
    found: Digest | None = None
    update: BlobId | None = None
    retry_at: Instant = Instant(0)


class Verifier:
    """All seats of this node."""

    def __init__(self, me: NodeId, secret: bytes) -> None:
        self._me = me
        self._secret = secret
        self._state: State | None = None
        self._benches: dict[JobId, Bench] = {}
        self._checks: dict[UnitKey, _Check] = {}
        self._generating: dict[WorkerId, UnitKey] = {}

    @property
    def checking(self) -> Sequence[tuple[UnitKey, JobId]]:
        """The units under check, for people."""
        return [(key, check.job) for key, check in self._checks.items()]

    def step(self, event: Event, now: Instant) -> list[Effect]:
        """See dpin.base.machine.Machine."""
        effects: list[Effect] = []
        match event:
            case Follow(state):
                self._state = state
            case Told(peer, message):
                effects += self._told(peer, message, now)
            case Fetched():
                self._fetched(event)
            case Missing(blob):
                self._missing(blob, now)
            case Reported() | Exited():
                self._worked(event)
            case Kept() | Tick():
                pass
            case _:
                assert_never(event)
        if self._state is not None:
            effects += self._follow(self._state, now)
        return effects

    # --- following the ledger ---

    def _follow(self, state: State, now: Instant) -> Iterator[Effect]:
        mine = dict(_seats_of(state, self._me))
        for key in [key for key in self._checks if key not in mine]:
            del self._checks[key]
        yield from self._warm_up(state, now)
        for key, (job, unit, seat) in mine.items():
            check = self._checks.get(key)
            if check is None:
                check = self._checks[key] = _Check(job.id, state.leases[key[0]].provider)
            bench = self._benches.get(job.id)
            if bench is None:
                bench = self._benches[job.id] = Bench(job)
            yield from bench.prepare(state, now)
            if unit.state == UnitState.SEATED and seat.sealed is None:
                yield from self._find(check, unit, state, now)
            elif unit.state == UnitState.OPENED and seat.sealed and seat.reveal is None:
                yield from self._judge(check, unit, state, now)
        for job_id in [j for j in self._benches if j not in state.live_jobs]:
            yield from self._benches.pop(job_id).dismiss()

    def _warm_up(self, state: State, now: Instant) -> Iterator[Effect]:
        """Load what this node may be seated for: a check has seconds, loading torch takes some."""
        account = state.accounts.get(self._me)
        registration = account.registration if account is not None else None
        if registration is None:
            return
        for job_id in sorted(state.live_jobs):
            job = state.jobs[job_id]
            fits = job.propose.fingerprint == registration.fingerprint
            if not fits or job.requester == self._me or job.state != JobState.RUNNING:
                continue
            if job_id not in self._benches and len(self._benches) < WARM_MAX:
                self._benches[job_id] = Bench(job)
            if job_id in self._benches:
                yield from self._benches[job_id].prepare(state, now)

    def _find(self, check: _Check, unit: Unit, state: State, now: Instant) -> Iterator[Effect]:
        """Compute the checked window, then seal what was found."""
        bench = self._benches[check.job]
        if check.found is None and bench.usable and _Stage.WINDOW not in check.ordered:
            yield from self._compute(check, unit, state, now)
        if (
            check.found is None
            and bench.files.ready
            and _withheld(check, _Stage.WINDOW, unit, state)
        ):
            check.found = NO_DIGEST
        if check.found is not None:
            sealed = seal(unit.lease, unit.round, self._me, check.found, self._salt(unit))
            yield Wish(_name("seal", unit), VerifyCommit(unit.lease, unit.round, sealed))

    def _compute(self, check: _Check, unit: Unit, state: State, now: Instant) -> Iterator[Effect]:
        bench = self._benches[check.job]
        if isinstance(bench.files.manifest, InferManifest):
            check.ordered.add(_Stage.WINDOW)
            self._generating[bench.worker] = (unit.lease, unit.round)
            model = bench.files.paths[bench.files.manifest.model]
            yield bench.order(Generate(bench.files.manifest_data, model))
            return
        yield from self._obtain(check, unit, now, final=False)
        opening = check.openings.get(False)
        if opening is not None and opening.state in check.paths:
            check.ordered.add(_Stage.WINDOW)
            seat = state.leases[unit.lease].seat
            yield bench.order(CheckWindow(opening.leaf, seat, check.paths[opening.state]))

    def _judge(self, check: _Check, unit: Unit, state: State, now: Instant) -> Iterator[Effect]:
        """Compare with the opened leaf, re-encode the update, reveal."""
        if check.found is None or unit.opened is None:
            return  # A restart forgot what was found: absent, rather than revealing a guess.
        if check.found != leaf_digest(_leaf(unit.opened.checked.leaf)):
            check.update = NO_BLOB
        bench = self._benches[check.job]
        if check.update is None and bench.usable and _Stage.UPDATE not in check.ordered:
            yield from self._obtain(check, unit, now, final=True)
            yield from self._encode_again(check, unit, bench)
        if check.update is None and _withheld(check, _Stage.UPDATE, unit, state):
            check.update = NO_BLOB
        if check.update is not None:
            salt = self._salt(unit)
            reveal = VerifyReveal(unit.lease, unit.round, check.found, check.update, salt)
            yield Wish(_name("reveal", unit), reveal)

    def _obtain(self, check: _Check, unit: Unit, now: Instant, *, final: bool) -> Iterator[Effect]:
        """Ask for the opening, then for the blobs it names."""
        opening = check.openings.get(final)
        wanted = [] if opening is None else _blobs(opening)
        if now < check.retry_at or (opening and all(blob in check.paths for blob in wanted)):
            return
        check.retry_at = after(now, RETRY)
        yield Wake(check.retry_at)
        if opening is None:
            yield Send(check.provider, encode(AskOpening(unit.lease, unit.round, final)))
        for blob in wanted:
            if blob not in check.paths:
                yield Fetch(blob, (check.provider,), Purpose.CHECK)

    def _encode_again(self, check: _Check, unit: Unit, bench: Bench) -> Iterator[Effect]:
        opening = check.openings.get(True)
        if opening is None or not {opening.state, opening.base} <= check.paths.keys():
            return
        assert unit.commit is not None, "an opened unit was committed"
        check.ordered.add(_Stage.UPDATE)
        first = _leaf(unit.commit.first.leaf)
        base, final = check.paths[opening.base], check.paths[opening.state]
        yield bench.order(CheckUpdate(first, opening.leaf, base, final))

    # --- what comes in ---

    def _told(self, peer: NodeId, message: Opening | NoOpening, now: Instant) -> Iterator[Effect]:
        check = self._checks.get((message.lease, message.round))
        if check is None or peer != check.provider or message.final in check.openings:
            return
        if isinstance(message, NoOpening):
            # Most often its ledger is a moment behind ours, and does not know of the seat yet.
            check.retry_at = min(check.retry_at, after(now, RETRY_SOON))
            yield Wake(check.retry_at)
            return
        assert self._state is not None, "checks come from a state"
        if not _proves(message, self._state.units[message.lease, message.round]):
            yield Blame(peer, "sent an opening that its commit does not hold")
            return
        check.openings[message.final] = message
        check.retry_at = Instant(0)

    def _missing(self, blob: BlobId, now: Instant) -> None:
        for check in self._checks.values():
            if any(blob in _blobs(opening) for opening in check.openings.values()):
                check.retry_at = min(check.retry_at, after(now, RETRY_SOON))

    def _fetched(self, event: Fetched) -> None:
        for bench in self._benches.values():
            bench.arrived(event)
        for check in self._checks.values():
            for opening in check.openings.values():
                if event.blob in _blobs(opening):
                    check.paths[event.blob] = event.path

    def _worked(self, event: WorkEvent) -> None:
        match event:
            case Reported(worker, report):
                self._reported(worker, report)
            case Exited(worker):
                self._exited(worker)

    def _reported(self, worker: WorkerId, report: Report) -> None:
        match report:
            case WindowChecked(opened=leaf, opened_ok=ok, found=found):
                check = self._checks.get((leaf.lease, leaf.round))
                if check is not None:
                    check.found = found if ok else NO_DIGEST
            case UpdateChecked(last=leaf, states_ok=ok, update=update):
                check = self._checks.get((leaf.lease, leaf.round))
                if check is not None:
                    check.update = update if ok else NO_BLOB
            case Generated(output=output) if worker in self._generating:
                self._generated(self._generating.pop(worker), output)
            case _:
                pass  # Another machine's worker, or news that need no answer.

    def _generated(self, key: UnitKey, output: Digest) -> None:
        check = self._checks.get(key)
        if check is None:
            return
        manifest = self._benches[check.job].files.manifest
        assert isinstance(manifest, InferManifest), "only generations generate"
        leaves = generation_leaves(check.job, key[0], manifest.state_hash, output, manifest.tokens)
        check.found, check.update = leaf_digest(leaves[1]), BlobId(output)

    def _exited(self, worker: WorkerId) -> None:
        for job, bench in self._benches.items():
            if bench.worker != worker:
                continue
            bench.exited()
            for check in (check for check in self._checks.values() if check.job == job):
                check.ordered.clear()

    def _salt(self, unit: Unit) -> Digest:
        return digest(SALT_TAG, self._secret + encode([unit.lease, unit.round]))


def _seats_of(state: State, me: NodeId) -> Iterator[tuple[UnitKey, tuple[Job, Unit, Seat]]]:
    """The unsettled units in which this node has a seat."""
    for job, lease, unit in live_units(state):
        for seat in unit.seats:
            if seat.verifier == me:
                yield (lease.id, unit.round), (job, unit, seat)


def _withheld(check: _Check, stage: _Stage, unit: Unit, state: State) -> bool:
    """Whether the provider has let its time pass.

    A worker of ours that is merely slow has its order already: that is no fault of the provider's.
    """
    return stage not in check.ordered and state.tick >= unit.deadline - ACCUSE_TICKS


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
