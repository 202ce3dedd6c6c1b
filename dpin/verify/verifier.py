"""The machine of a seated verifier: a bench for each job, an examination for each seat.

It follows the ledger: each commit it compares its seats with what it has done so far. A provider
that does not deliver is judged like one that delivers wrong work, because only it can deliver; a
verifier that cannot keep up judges nobody and stays absent.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from dpin.base.attention import Attention
from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import Digest, JobId, NodeId
from dpin.base.machine import Tick
from dpin.base.units import Instant
from dpin.compute.generation import Generated
from dpin.compute.task import Merged, Report, UpdateChecked, WindowChecked
from dpin.compute.work import Exited, Reported, WorkEffect, WorkerId, WorkEvent
from dpin.ledger.accounts import Job, JobState, Seat, State, Unit, UnitKey
from dpin.ledger.views import live_units
from dpin.ledger.wishes import Follow
from dpin.storage.wanted import Fetched, Kept, Missing, Oversized, StoreEvent
from dpin.verify.bench import Bench
from dpin.verify.examination import Effect as ExaminationEffect
from dpin.verify.examination import Examination
from dpin.verify.jobkeys import JobKeys
from dpin.verify.messages import NoOpening, Opening

SALT_TAG: Final = "dpin/salt/v1"
WARM_MAX: Final = 2  # jobs that a node loads before it has a seat in them
IDLE_MAX: Final = 4  # jobs that a node holds loaded while it has no seat in them


@dataclass(frozen=True, slots=True)
class Told:
    """A verify message that concerns this machine."""

    peer: NodeId
    message: Opening | NoOpening


Event = Follow | Told | StoreEvent | WorkEvent | Tick
Effect = ExaminationEffect | WorkEffect


class Verifier:
    """All seats of this node."""

    def __init__(self, me: NodeId, secret: bytes) -> None:
        self._me = me
        self._secret = secret
        self.keys: JobKeys | None = None  # of sealed jobs
        self._state: State | None = None
        self._benches: dict[JobId, Bench] = {}
        self._examinations: dict[UnitKey, Examination] = {}
        self._attention = Attention()

    @property
    def checking(self) -> Sequence[tuple[UnitKey, JobId]]:
        """The units under check, for people."""
        return [(key, held.bench.job.id) for key, held in self._examinations.items()]

    @property
    def examinations(self) -> Collection[Examination]:
        """One for each seat."""
        return self._examinations.values()

    def step(self, event: Event, now: Instant) -> list[Effect]:
        """See dpin.base.machine.Machine."""
        effects: list[Effect] = []
        self._attention.look(now)
        match event:
            case Follow(state):
                self._state = state
            case Told(peer, message):
                effects += self._told(peer, message, now)
            case Fetched() | Oversized() | Missing() | Kept():
                effects += self._stored(event, now)
            case Reported() | Exited():
                self._worked(event)
            case Tick():
                pass
            case _:
                assert_never(event)
        if self._state is not None:
            effects += self._follow(self._state, now)
        return effects

    # --- following the ledger ---

    def _follow(self, state: State, now: Instant) -> Iterator[Effect]:
        mine = dict(_seats_of(state, self._me))
        for key in [key for key in self._examinations if key not in mine]:
            del self._examinations[key]
        yield from self._warm_up(state, now)
        for key, (job, unit, seat) in mine.items():
            bench = self._benches.pop(job.id, None) or Bench(job, self.keys)
            self._benches[job.id] = bench  # The last of them was used last.
            examination = self._examinations.get(key)
            if examination is None:
                provider = state.leases[key[0]].provider
                salt, attention = self._salt(key), self._attention
                examination = Examination(bench, provider, salt, attention)
                self._examinations[key] = examination
            bench.renew(job)
            yield from bench.prepare(state, now)
            yield from examination.follow(unit, seat, state, now)
        for job_id in self._needless(state, {job.id for job, _, _ in mine.values()}):
            yield from self._benches.pop(job_id).dismiss()

    def _needless(self, state: State, seated: set[JobId]) -> list[JobId]:
        """Jobs that have ended, and of those without a seat all but the ones used last."""
        ended = [job for job in self._benches if job not in state.live_jobs]
        idle = [job for job in self._benches if job in state.live_jobs and job not in seated]
        return [*ended, *idle[:-IDLE_MAX]]

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
                self._benches[job_id] = Bench(job, self.keys)
            if job_id in self._benches:
                self._benches[job_id].renew(job)
                yield from self._benches[job_id].prepare(state, now)

    def _salt(self, key: UnitKey) -> Digest:
        return digest(SALT_TAG, self._secret + encode([*key]))

    # --- what comes in ---

    def _told(self, peer: NodeId, message: Opening | NoOpening, now: Instant) -> Iterator[Effect]:
        key = message.lease, message.round
        examination = self._examinations.get(key)
        if examination is None or peer != examination.provider:
            return
        assert self._state is not None, "examinations come from a state"
        yield from examination.told(message, self._state.units[key], now)

    def _stored(self, event: StoreEvent, now: Instant) -> Iterator[Effect]:
        match event:
            case Fetched() | Oversized():
                for bench in self._benches.values():
                    bench.arrived(event)
                for examination in self._examinations.values():
                    yield from examination.fetched(event, now)
            case Missing(blob):
                for examination in self._examinations.values():
                    examination.missing(blob, now)
            case Kept():
                pass  # A verifier offers nothing.

    def _worked(self, event: WorkEvent) -> None:
        match event:
            case Reported(worker, report):
                self._reported(worker, report)
            case Exited(worker):
                self._exited(worker)

    def _reported(self, worker: WorkerId, report: Report) -> None:
        match report:
            case WindowChecked(opened=leaf) | UpdateChecked(last=leaf):
                examination = self._examinations.get((leaf.lease, leaf.round))
                if examination is not None:
                    examination.checked(report)
            case Merged(state_hash=state_hash, checkpoint=path):
                for bench in self._benches.values():
                    bench.held(state_hash, path)
            case Generated(output=output):
                for (lease, _), examination in self._examinations.items():
                    if examination.bench.worker == worker:
                        examination.generated(lease, output)
            case _:
                pass  # Another machine's worker, or news that need no answer.

    def _exited(self, worker: WorkerId) -> None:
        for bench in self._benches.values():
            if bench.worker == worker:
                bench.exited()
        for examination in self._examinations.values():
            if examination.bench.worker == worker:
                examination.restarted()


def _seats_of(state: State, me: NodeId) -> Iterator[tuple[UnitKey, tuple[Job, Unit, Seat]]]:
    """The unsettled units in which this node has a seat."""
    for job, lease, unit in live_units(state):
        for seat in unit.seats:
            if seat.verifier == me:
                yield (lease.id, unit.round), (job, unit, seat)
