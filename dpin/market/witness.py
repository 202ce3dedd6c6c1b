"""Witnesses: nodes without a part in a job, drawn by a beacon, that score its updates as well.

A witness follows the rounds as providers do, in a worker of its own, and signs what it finds; the
requester shows that beside its own scores. Nobody is paid for it and nothing is decided by it, so
a job has witnesses only where it asks for them (`robust.witnesses`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import NO_DIGEST, ChainId, Digest, JobId, NodeId, short
from dpin.base.machine import Send, Tick, Wake
from dpin.base.units import Instant, after, seconds
from dpin.compute.modulespec import ModuleSpec
from dpin.compute.scores import WITNESSES_MAX, Scored, ScoreRound
from dpin.compute.statements import Signed, Statement, stated
from dpin.compute.task import Failed, Merged, MergeRound, Opened, Report, TrainManifest
from dpin.compute.work import Exited, Order, Reported, WorkerId, WorkEvent
from dpin.ledger.accounts import Job, State
from dpin.ledger.transactions import TRAIN
from dpin.market.appraising import are_open, question
from dpin.market.loading import Effect as LoadingEffect
from dpin.market.loading import Loading
from dpin.market.merging import Effect as MergingEffect
from dpin.market.messages import CheckpointOffer, ScoresMail
from dpin.storage.wanted import Fetched, Missing, Oversized, StoreEvent

WITNESS_TAG: Final = "dpin/witness/v1"
JOBS_MAX: Final = 1  # that one node is a witness of; each takes a worker
BEHIND_MAX: Final = 4  # rounds that it merges itself to catch up; else a checkpoint is fetched
KEPT: Final = 8  # statements that are said again
RETRY: Final = seconds(1)
LOOKS_MAX: Final = 60  # for a manifest; who cannot have it makes room for another job
AGAIN: Final = seconds(15)
LINGER: Final = seconds(60)  # after the end of a job, for its last round

Effect = LoadingEffect | MergingEffect


def drawn(job: Job, state: State) -> list[NodeId]:
    """The witnesses of a job, the first ones first: drawn once its first round has closed.

    From the nodes of its numeric class without a part in that round. Each has a rank of its own, so
    that who comes or goes moves nobody else.
    """
    if not job.rounds or job.rounds[0].beacon == NO_DIGEST:
        return []
    first = job.rounds[0]
    parts = {job.requester, *(state.leases[lease].provider for lease in first.roster)}
    ranked = sorted(
        (digest(WITNESS_TAG, encode([first.beacon, job.id, node])), node)
        for node, account in state.accounts.items()
        if account.registration is not None
        and account.registration.fingerprint == job.propose.fingerprint
        and node not in parts
    )
    return [node for _, node in ranked[:WITNESSES_MAX]]


@dataclass(slots=True)
class Witness:
    """One job that this node is a witness of; `over` once it has nothing more to say."""

    job: Job
    key: SigningKey
    chain: ChainId
    rank: int  # among those drawn
    loading: Loading = field(init=False)
    over: bool = False
    _fingerprint: Digest = NO_DIGEST
    _said: list[Signed] = field(default_factory=list)
    _retry_at: Instant = Instant(0)
    _looks: int = 0
    _again_at: Instant = Instant(0)
    _until: Instant | None = None

    def __post_init__(self) -> None:
        worker = WorkerId(f"witness-{short(self.job.id)}")
        self.loading = Loading(self.job, self.key.node_id, worker, behind=BEHIND_MAX)
        self._fingerprint = self.job.propose.fingerprint

    def follow(self, state: State, now: Instant) -> Iterator[Effect]:
        """Load the job, then score and merge what closes; harmless to repeat."""
        self.over = self.over or bool(self.loading.files.fault)
        manifest = self.loading.files.manifest
        if self.over:
            return
        if manifest is None:
            yield from self._look(state, now)
        elif not isinstance(manifest, TrainManifest) or not self._wanted(manifest):
            self.over = True
        else:
            yield from self.loading.prepare(state, now)
            merging = self.loading.merging
            yield from self._with_questions(merging.follow(state, now), state)
        yield from self._say_again(now)
        self._end(state, now)

    def _look(self, state: State, now: Instant) -> Iterator[Effect]:
        if now >= self._retry_at:
            self._retry_at, self._looks = after(now, RETRY), self._looks + 1
            self.over = self._looks > LOOKS_MAX
            yield from self.loading.files.missing(state)
            yield Wake(self._retry_at)

    def _wanted(self, manifest: TrainManifest) -> bool:
        """Whether the job asks for this witness, and shows it what a score takes."""
        closed = manifest.privacy.sealed or isinstance(manifest.model, ModuleSpec)
        return self.rank < manifest.robust.witnesses and are_open(manifest) and not closed

    def _with_questions(self, effects: Iterable[MergingEffect], state: State) -> Iterator[Effect]:
        merging = self.loading.merging
        for effect in effects:
            if isinstance(effect, Order) and isinstance(effect.command, MergeRound):
                record = self.job.rounds[effect.command.round]
                seated = {state.leases[lease].provider for lease in record.roster}
                asked = question(merging, record, state)
                # From another state than most began with, a score would say nothing.
                agreed = record.state_hash == merging.state_hash
                if asked is not None and agreed and self.key.node_id not in seated:
                    yield Order(effect.worker, asked)
            yield effect

    def _say_again(self, now: Instant) -> Iterator[Effect]:
        """A requester may have been away; what it has heard already is no news to it."""
        if self._said and now >= self._again_at:
            self._again_at = after(now, AGAIN)
            yield from (self._mail(signed) for signed in self._said)
            yield Wake(self._again_at)

    def _mail(self, signed: Signed) -> Send:
        return Send(self.job.requester, encode(ScoresMail(signed)))

    def _end(self, state: State, now: Instant) -> None:
        """After the job's last round there is nothing to follow, a while later nothing to say."""
        if self.job.id not in state.live_jobs:
            self._until = after(now, LINGER) if self._until is None else self._until
            self.over = self.over or now >= self._until

    # --- what comes in ---

    def reported(self, report: Report, now: Instant) -> Iterator[Effect]:
        """News of the own worker."""
        merging = self.loading.merging
        match report:
            case Opened():
                merging.opened(report, self.loading.opening)
            case Merged():
                merging.merged(report)
            case Scored(round=round_, scores=scores):
                said = Statement(self.job.id, round_, self._fingerprint, scores)
                self._said = [*self._said, stated(self.key, self.chain, said)][-KEPT:]
                self._again_at = after(now, AGAIN)
                yield self._mail(self._said[-1])
            case Failed(command=command) if command != ScoreRound.__name__:
                self.over = True  # It decides nothing, so it need not be tried again.
            case _:
                pass  # A round that could not be scored is merged all the same.


class Witnesses:
    """All jobs that this node is a witness of."""

    def __init__(self, key: SigningKey, chain: ChainId) -> None:
        self._key = key
        self._chain = chain
        self.held: dict[JobId, Witness] = {}
        self._seen: set[JobId] = set()  # live jobs whose draw is known

    def follow(self, state: State, fingerprint: Digest, now: Instant) -> Iterator[Effect]:
        """See who was drawn, and let each job go on."""
        self._seen &= state.live_jobs
        for job_id in sorted(state.live_jobs - self._seen):
            self._draw(state.jobs[job_id], state, fingerprint)
        for job_id, witness in list(self.held.items()):
            witness.job = state.jobs.get(job_id, witness.job)
            witness.loading.renew(witness.job)
            yield from witness.follow(state, now)
            if witness.over:
                yield from self.held.pop(job_id).loading.dismiss()

    def _draw(self, job: Job, state: State, fingerprint: Digest) -> None:
        if job.propose.kind != TRAIN or job.propose.fingerprint != fingerprint:
            self._seen.add(job.id)
        elif job.rounds and job.rounds[0].closed:
            self._seen.add(job.id)
            found, me = drawn(job, state), self._key.node_id
            if me in found and len(self.held) < JOBS_MAX:
                witness = Witness(job, self._key, self._chain, found.index(me))
                self.held[job.id] = witness

    def told(self, peer: NodeId, offer: CheckpointOffer) -> None:
        """Somebody offers a state of a job."""
        if offer.job in self.held:
            self.held[offer.job].loading.offered(peer, offer)

    def take(self, event: StoreEvent | WorkEvent | Tick, now: Instant) -> Iterator[Effect]:
        """Let each know what may concern it."""
        for witness in self.held.values():
            match event:
                case Fetched() | Oversized():
                    yield from witness.loading.fetched(event)
                case Missing(blob):
                    witness.loading.missing(blob)
                case Reported(worker, report) if worker == witness.loading.worker:
                    yield from witness.reported(report, now)
                case Exited(worker) if worker == witness.loading.worker:
                    witness.loading.hired = False
                    witness.over = True
                case _:
                    pass
