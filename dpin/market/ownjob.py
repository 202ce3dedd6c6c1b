"""One job from the requester's side: what is known of it, and its story as people see it."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum

from dpin.base.ids import NO_DIGEST, BlobId, Digest, JobId, NodeId, Round
from dpin.base.units import Instant, LedgerMillis
from dpin.compute.scores import Score
from dpin.compute.statements import Signed
from dpin.compute.tallies import Totalled
from dpin.compute.task import Manifest, Opened, Prepared
from dpin.compute.work import WorkerId
from dpin.ledger.accounts import Job, State
from dpin.ledger.transactions import Propose, SignedBid
from dpin.market.descent import Signer
from dpin.market.heed import Heed
from dpin.market.merging import Merging
from dpin.market.messages import Decline, Heartbeat
from dpin.market.orders import Order
from dpin.market.seeking import Seeking
from dpin.verify.jobfiles import JobFiles
from dpin.verify.jobkeys import JobKeys


class Stage(StrEnum):
    """Where a job of ours stands; the words of the job list."""

    PREPARING = "preparing"
    MATCHING = "matching"
    RUNNING = "running"
    VERIFYING = "verifying"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in {Stage.DONE, Stage.FAILED, Stage.CANCELLED}


@dataclass(slots=True)
class PhaseTime:
    """When one of plan, match, upload, load, run, verify, fetch began and ended."""

    name: str
    began: Instant
    ended: Instant | None = None
    detail: str = ""


@dataclass(slots=True)
class RoundTimes:
    """When a round's phases began, on this node's clock, and what was measured in it."""

    began: Instant
    exchange: Instant | None = None
    closed: Instant | None = None
    tokens_per_second: int = 0
    loss_micronats: int = 0
    holdout_micronats: int | None = None
    update_bytes: int = 0  # of all that were merged
    taken: int | None = None  # updates that it has merged
    empty: str = ""  # why that are none
    epsilon_milli: int = 0  # spent by all rounds up to this one, where there is noise
    beats: dict[Digest, Heartbeat] = field(default_factory=dict)  # the last of each lease in it
    scores: tuple[Score, ...] = ()  # of single updates
    signed: dict[NodeId, Signed] = field(default_factory=dict)  # the own, and those of witnesses
    state_hash: Digest = NO_DIGEST  # that it has led to here
    checkpoint: str = ""  # file of that state
    model_root: Digest = NO_DIGEST  # of that state, where it is the last
    missed: bool = False  # it was over when this node first saw it: how long it took is not known
    begun_told: bool = False
    closed_told: bool = False


@dataclass(slots=True)
class Beat:
    """The last sign of life of a lease."""

    heartbeat: Heartbeat | None
    at: Instant


@dataclass(slots=True)
class Supply:
    """What providers have said: who offers, who does not and why."""

    bids: dict[NodeId, SignedBid] = field(default_factory=dict)
    declines: dict[NodeId, Decline] = field(default_factory=dict)
    first_at: Instant | None = None  # of the bids held now


@dataclass(slots=True)
class OwnJob:
    """A job that this node has ordered."""

    local_id: str
    order: Order
    submitted: Instant
    stage: Stage = Stage.PREPARING
    reason: str = ""
    finished: Instant | None = None
    signer: Signer | None = None  # of what it makes
    keys: JobKeys | None = None  # of sealed jobs
    recorded: bool = False  # the end is in the log
    # preparing
    prepared: Prepared | None = None
    kept: dict[str, BlobId] = field(default_factory=dict)
    lengths: dict[BlobId, int] = field(default_factory=dict)  # of what was kept
    manifest: Manifest | None = None
    propose: Propose | None = None
    # on the ledger
    job: Job | None = None
    was: JobId | None = None  # the job's id, known from before a restart
    since: LedgerMillis = LedgerMillis(-1)  # ledger time of the order; its job is opened later
    given_up: tuple[JobId, ...] = ()  # earlier proposals of it, which expired without an award
    heed: Heed = field(default_factory=Heed)  # that this node paid to its proposal
    supply: Supply = field(default_factory=Supply)
    beats: dict[Digest, Beat] = field(default_factory=dict)  # by lease
    lost: dict[NodeId, Instant] = field(default_factory=dict)  # disconnected since
    near: AbstractSet[NodeId] = frozenset()  # connected
    alone: bool = False  # with nobody connected: it is this node that was cut off
    cancelled: bool = False
    # the model
    merging: Merging | None = None
    files: JobFiles | None = None
    hired: bool = False
    opening: bool = False  # the open command is given
    opened: str = ""  # the file that it names
    unusable: set[str] = field(default_factory=set)  # states kept here that could not be loaded
    seeking: Seeking | None = None  # a provider's state, where updates are not to be had any more
    lent: Opened | None = None  # such a state is loaded, and the ledger has still to name it
    seek_at: Instant = Instant(0)
    fresh: set[Round] = field(default_factory=set)  # rounds of which more is known than in the log
    exporting: bool = False
    export_at: Instant = Instant(0)  # again, where the folder did not take the result
    exports_refused: int = 0
    restarts: int = 0
    retry_at: Instant = Instant(0)
    output_files: tuple[str, ...] = ()
    holdout_before: int | None = None  # micro-nats per byte
    evaluation: Totalled | None = None
    text: bytes = b""
    # the story
    phases: list[PhaseTime] = field(default_factory=list)
    rounds: dict[Round, RoundTimes] = field(default_factory=dict)  # of `job`, no others
    told: set[str] = field(default_factory=set)  # facts already in the log
    settled: int = 0  # rounds, the first ones, of whose units all has been told

    @property
    def worker(self) -> WorkerId:
        """The worker that prepares, merges and exports."""
        return WorkerId(f"job-{self.local_id}")

    @property
    def ledger_id(self) -> JobId | None:
        """The job's id on the ledger, once it is there."""
        return self.job.id if self.job else None

    @property
    def epsilon_milli(self) -> int:
        """What all rounds so far have spent, where there is noise."""
        return max((times.epsilon_milli for times in self.rounds.values()), default=0)

    @property
    def holdout_after(self) -> int | None:
        """The newest held-out loss, in micro-nats per byte."""
        rounds = (self.rounds[number] for number in sorted(self.rounds))
        measured = [it.holdout_micronats for it in rounds if it.holdout_micronats]
        return measured[-1] if measured else None

    def renew(self, state: State) -> None:
        """Look the job up again: a node that has caught up by a state holds other records of it."""
        fresh = state.jobs.get(self.job.id) if self.job is not None else None
        if fresh is None or fresh is self.job:
            return
        self.job = fresh
        if self.files is not None:
            self.files.job = fresh
        if self.merging is not None:
            self.merging.job = fresh

    def enter(self, phase: str, now: Instant, detail: str = "") -> bool:
        """Begin a phase (ending the one before); False if it has begun already."""
        if any(known.name == phase for known in self.phases):
            return False
        if self.phases and self.phases[-1].ended is None:
            self.phases[-1].ended = now
        self.phases.append(PhaseTime(phase, now, None, detail))
        return True

    def end(self, stage: Stage, reason: str, now: Instant) -> None:
        """The last word on this job."""
        self.stage, self.reason, self.finished = stage, reason, now
        if self.phases and self.phases[-1].ended is None:
            self.phases[-1].ended = now
