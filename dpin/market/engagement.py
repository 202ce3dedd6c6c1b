"""One lease from the provider's side: load, train or generate, exchange, until it ends."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import NO_DIGEST, BlobId, Round
from dpin.base.machine import Blame, Send, Wake
from dpin.base.units import Instant
from dpin.compute.doing import told
from dpin.compute.generation import Generate, Generated, Tokens
from dpin.compute.reporting import Progress
from dpin.compute.secagg.orders import Heads, Shielded
from dpin.compute.task import (
    Failed,
    InferManifest,
    Merged,
    Opened,
    Report,
    Trained,
    TrainManifest,
    TrainUnit,
)
from dpin.compute.work import Order, WorkEffect, WorkerId
from dpin.ledger.accounts import (
    Job,
    Lease,
    LeaseState,
    Phase,
    RoundRecord,
    State,
    Unit,
    UnitState,
)
from dpin.ledger.params import Params
from dpin.ledger.transactions import INFER, TRAIN, Have, Ready
from dpin.ledger.views import left_over, offers
from dpin.ledger.wishes import Wish
from dpin.market.committing import Commits
from dpin.market.loading import Loading, proven, reject
from dpin.market.merging import REFUSED, Merging
from dpin.market.messages import Text
from dpin.market.pace import Pace, whole_steps
from dpin.market.pulse import Pulse
from dpin.market.veil import Veil
from dpin.storage.wanted import Allow, Fetch, Keep, Kept
from dpin.verify.commitment import commit_of, generation_leaves
from dpin.verify.defender import Produced
from dpin.verify.jobfiles import JobFiles
from dpin.verify.jobkeys import JobKeys

RESTARTS_MAX: Final = 2
MARGIN_MS: Final = 2_000  # between the end of a time-boxed unit and its deadline on the ledger
READY_MARGIN_TICKS: Final = 15  # before the award lapses, say so though the worker still loads
HAVE_MARGIN_TICKS: Final = 5  # before the exchange ends, say what is held even if not all is
TEXT_PART: Final = 1 << 15  # bytes of generated text in one message


class Fault(StrEnum):
    """Misbehaviour on purpose, for development networks only."""

    NONE = ""
    SKIP_WORK = "skip-work"
    WRONG_WEIGHTS = "wrong-weights"
    VANISH = "vanish"


Effect = Send | Wake | Wish | Fetch | Keep | Allow | Blame | Produced | WorkEffect


@dataclass(slots=True)
class Engagement:
    """What this node knows and has done about one of its leases."""

    job: Job
    lease: Lease
    fault: Fault
    tick_ms: int
    loading: Loading = field(init=False)
    pulse: Pulse = field(init=False)
    key: SigningKey | None = None  # of this node; private jobs need it
    keys: JobKeys | None = None  # of sealed jobs
    veil: Veil = field(init=False)
    pace: Pace = field(default_factory=Pace)
    commits: Commits = field(init=False)
    have_margin: int = HAVE_MARGIN_TICKS
    ready_margin: int = READY_MARGIN_TICKS
    restarts: int = 0
    hasty: bool = False  # whether an earlier lease of the job lapsed before it was ready
    failed: str = ""  # why this lease cannot be worked on any more
    _trained: dict[Round, Trained] = field(default_factory=dict)
    _text: bytes = b""  # generated so far

    def __post_init__(self) -> None:
        worker = WorkerId(f"lease-{self.lease.id.hex()[:16]}")
        self.loading = Loading(self.job, self.lease.provider, worker, keys=self.keys)
        self.pulse = Pulse(self.job, self.lease)
        self.commits = Commits(self.lease.id)
        self.veil = Veil(self.key, self.job, self.lease, self.merging)
        self.pace.whole = partial(whole_steps, self.files)

    @property
    def files(self) -> JobFiles:
        """The job's files."""
        return self.loading.files

    @property
    def worker(self) -> WorkerId:
        """The worker of this lease."""
        return self.loading.worker

    @property
    def merging(self) -> Merging:
        """The global state in the worker."""
        return self.loading.merging

    # --- following the ledger ---

    def follow(self, state: State, now: Instant) -> Iterator[Effect]:
        """Do what the state of the lease asks for; harmless to repeat."""
        if self.fault == Fault.VANISH and self.lease.state == LeaseState.RUNNING:
            return
        if self.failed or self.files.fault:
            yield from self.pulse.give_up(self.failed or self.files.fault, now)
            return
        yield from self.loading.prepare(state, now)
        yield from self._ready(state)
        self.veil.take(self.files.manifest)
        self.pace.follow(self.job, state.tick)
        yield from self._work(state)  # Before a merge moves on from what the unit begins with.
        yield from self.veil.unveil(self.files.manifest, state, now)
        yield from self.commits.follow(state)
        record = self.job.current
        if record is not None:
            yield from self.veil.follow(record, state, now)
            yield from self._exchange(record, state)
        yield from self.pulse.beat(self.phase, now)

    def _ready(self, state: State) -> Iterator[Effect]:
        """Say so once the worker holds the job: what is begun later is late, and may be fined.

        At a job's start, where loading takes longer than an award lasts, its time is in the first
        deadline. Whoever joins a job under way waits for it, because the others do not wait. Whose
        earlier lease has lapsed, on a busy machine or a slow ledger, says so once the files are
        here: else it would begin and lapse for ever.
        """
        if self.lease.state != LeaseState.AWARDED or self.loading.start is None:
            return
        told = proven(self.loading) if self.loading.late else True
        if self.merging.holding is not None and not told:
            # Whoever trains on from a false checkpoint is convicted of it.
            yield from reject(self.loading) if told is False else ()
            return
        opens = isinstance(self.files.manifest, TrainManifest)
        soon = state.tick >= self.lease.deadline - self.ready_margin
        hurry = (soon or self.hasty) and not self.loading.late
        if hurry or not opens or self.merging.holding is not None:
            yield Wish(f"ready:{self.lease.id.hex()}", Ready(self.lease.id))

    def _work(self, state: State) -> Iterator[Effect]:
        """Order the unit that begins with what the worker holds.

        That of the current round, or, where this node was so slow to load or to merge that the
        round has gone on, of one before: it may be committed until its own deadline.
        """
        round_ = self._held
        if round_ is None or self.commits.begun >= round_ or round_ in self.commits.made:
            return
        unit = state.units.get((self.lease.id, round_))
        if unit is not None and unit.state == UnitState.RUNNING and state.tick < unit.deadline:
            self.commits.begun = round_
            yield Order(self.worker, self._unit_command(unit, state))

    @property
    def _held(self) -> Round | None:
        """The round whose unit could begin now."""
        if isinstance(self.files.manifest, InferManifest):
            return Round(0) if self.files.ready else None
        held = self.merging.resting
        over = held is not None and held < len(self.job.rounds) and self.job.rounds[held].closed
        # What comes after a masked round cannot be masked with the others any more.
        return None if over and self.merging.privacy.masked else held

    def _unit_command(self, unit: Unit, state: State) -> TrainUnit | Generate:
        if isinstance(self.files.manifest, InferManifest):
            return Generate(self.files.manifest_data, self.files.paths[self.files.manifest.model])
        left = left_over(state, unit.lease, unit.round)
        newest = next(iter(left), NO_DIGEST)
        left_ms = (unit.deadline - state.tick) * self.tick_ms - MARGIN_MS
        if self.job.propose.kind == TRAIN:
            left_ms = min(left_ms, self.pace.box_ms(unit.round, state.tick, self.tick_ms))
        return TrainUnit(
            lease=self.lease.id,
            seat=self.lease.seat,
            round=unit.round,
            fresh_optimizer=unit.round == self.lease.first_round,
            limit_ms=max(1, left_ms),
            fault="" if self.fault == Fault.VANISH else self.fault.value,
            error_buffer=newest,
            error_age=left.get(newest, 1),
        )

    def _exchange(self, record: RoundRecord, state: State) -> Iterator[Effect]:
        """Release the own update once all are committed; say which ones have come."""
        if record.phase != Phase.EXCHANGE:
            return
        if self.job.propose.kind == INFER:
            known = held = sorted(record.candidates)
        else:
            updates = self.merging.updates(record, state)
            for offer, (lease, _) in offers(record).items():
                if lease == self.lease.id and offer in updates:
                    yield Allow(updates[offer], None)
            known = sorted(offer for offer, blob in updates.items() if blob in self.merging.paths)
            held = [offer for offer in known if self.merging.paths[updates[offer]] != REFUSED]
        complete = len(known) == len(offers(record))
        late = state.tick >= record.deadline - self.have_margin
        if record.haves.get(self.lease.id) != tuple(held) and (complete or late):
            name = f"have:{self.lease.id.hex()}:{record.round}:{len(held)}"
            yield Wish(name, Have(self.lease.id, record.round, tuple(held)))

    @property
    def phase(self) -> str:
        """What this engagement is doing, for people."""
        if not self.files.ready:
            return "upload"
        if self.job.propose.kind != INFER and self.merging.holding is None:
            return "load"
        return "run" if self.job.current else "verify"

    # --- what comes in ---

    def kept(self, event: Kept) -> Iterator[Effect]:
        """A file of ours has a blob id now: an update can be committed, a checkpoint offered."""
        for round_, trained in list(self._trained.items()):
            if trained.update == event.path:
                del self._trained[round_]
                self.merging.paths[event.blob] = event.path
                left = trained.error_buffer
                self.commits.keep(round_, commit_of(trained.leaves, event.blob, left))
        yield from self.merging.kept(event)

    def reported(self, report: Report) -> Iterator[Effect]:
        """News of the own worker."""
        match report:
            case Opened() | Merged() | Shielded() | Heads():
                yield from self.veil.reported(report, self._trained, self.loading.opening)
            case Progress():
                self.pulse.progress(report)
            case Trained():
                self._trained[report.round] = report
                self.pace.trained(report)
                self.pulse.trained(report)
                yield from self.veil.trained(report)
            case Tokens(data=data):
                yield Send(self.job.requester, encode(Text(self.lease.id, len(self._text), data)))
                self._text += data
            case Generated():
                yield from self._generated(report)
            case Failed():
                # Doing it again would fail again: the job's files are at fault, or this device.
                self.files.fault = told(report)
            case _:
                pass  # Answers to questions that a lease does not ask.

    def _generated(self, report: Generated) -> Iterator[Effect]:
        manifest = self.files.manifest
        assert isinstance(manifest, InferManifest), "only generations generate"
        leaves = generation_leaves(
            self.job.id, self.lease.id, manifest.state_hash, report.output, manifest.tokens
        )
        self.commits.keep(Round(0), commit_of(leaves, BlobId(report.output)))
        self.pulse.tokens_per_second = report.tokens * 1_000 // max(1, report.milliseconds)
        yield Produced(leaves, (), "")
        for offset in range(0, len(self._text), TEXT_PART):  # Some of it may have been lost.
            part = self._text[offset : offset + TEXT_PART]
            yield Send(self.job.requester, encode(Text(self.lease.id, offset, part)))

    def exited(self, reason: str) -> None:
        """The worker died: bring up another, unless it took the lease's optimizer with it."""
        self.loading.restarted()
        self.commits.begun, self._text = Round(-1), b""
        self.restarts += 1
        if self.commits.made or self.restarts > RESTARTS_MAX:
            self.failed = f"the worker died: {reason}"


def renew(engagement: Engagement, job: Job, lease: Lease) -> None:
    """The ledger's records, which are others once the node has caught up by a state."""
    if job is engagement.job and lease is engagement.lease:
        return
    engagement.job, engagement.lease = job, lease
    engagement.loading.renew(job)
    engagement.pulse.job, engagement.pulse.lease = job, lease
    engagement.veil.renew(job, lease)


def have_margin(params: Params) -> int:
    """Ticks before the end of an exchange at which one says what is held, even if not all is.

    Whoever has said nothing by then leaves, so a busy node needs time to have its word committed.
    """
    return max(HAVE_MARGIN_TICKS, 2 * params.have_ticks // 3)
