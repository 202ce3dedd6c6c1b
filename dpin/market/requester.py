"""The machine of a requester: prepare, propose, award, watch, merge, export.

Every step looks at the ledger and at what is known of each own job, and does what is missing. What
a provider sends off the ledger (bids, signs of life, text) only ever decides *when*, never *what*.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, assert_never

from dpin.base.attention import Attention
from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import NO_DIGEST, BlobId, ChainId, NodeId
from dpin.base.machine import Blame, PeerDown, PeerUp, Store, Tick, Wake
from dpin.base.units import MICROS_PER_MILLI, Instant, after, format_tokens
from dpin.compute.tallies import sentence
from dpin.compute.task import OUTPUT_TAG, Probed
from dpin.compute.work import Exited, Reported, WorkEvent
from dpin.ledger.accounts import Job, JobState, State
from dpin.ledger.mempool import ACCOUNT_FULL, DUPLICATE, EXPIRED, FULL, UNCOVERED
from dpin.ledger.outbox import UNTAKEN
from dpin.ledger.params import Params
from dpin.ledger.transactions import EVAL, INFER, Cancel
from dpin.ledger.views import job_cost
from dpin.ledger.wishes import FEE_TOO_LOW, NUMBER_USED, OK, Follow, Outcome, Wish
from dpin.market import again, losses, takings, workshop
from dpin.market.awarding import awards, excuse, stops
from dpin.market.descent import Signer
from dpin.market.mail import Mail, Message
from dpin.market.messages import Reason
from dpin.market.orders import Order, OwnJobOrdered, OwnRecord, TrainOrder
from dpin.market.ownjob import OwnJob, Stage
from dpin.market.ownjobs import OwnJobs
from dpin.market.provider import Probe
from dpin.market.rejoining import missing
from dpin.market.story import Note, name_of_job, tell
from dpin.storage.wanted import Fetched, Kept, Missing, Oversized, StoreEvent
from dpin.verify.jobkeys import JobKeys

OVERTIME: Final = "time limit"
# Refusals that say nothing about the job: the wish is made again.
PASSING: Final = frozenset(
    {ACCOUNT_FULL, DUPLICATE, EXPIRED, FEE_TOO_LOW, FULL, NUMBER_USED, UNCOVERED, UNTAKEN}
)


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a job under this local id; nothing happens where there is one."""

    local_id: str
    order: Order


@dataclass(frozen=True, slots=True)
class Abandon:
    """End a job of ours."""

    local_id: str


@dataclass(frozen=True, slots=True)
class ToRequester:
    """A market message that concerns a requester."""

    peer: NodeId
    message: Message


Event = (
    Follow
    | Start
    | Abandon
    | Probe
    | ToRequester
    | Outcome
    | PeerUp
    | PeerDown
    | StoreEvent
    | WorkEvent
    | Tick
)
Effect = workshop.Effect | Blame


class Requester:
    """All jobs that this node has ordered."""

    def __init__(
        self, me: NodeId, chain: ChainId, params: Params, key: SigningKey | None = None
    ) -> None:
        self._me = me
        self._signer = Signer(key, chain) if key is not None else None
        self.keys: JobKeys | None = None  # of sealed jobs
        self._params = params
        self._probed: Probed | None = None
        self._state: State | None = None
        self._own_jobs = OwnJobs()
        self.jobs = self._own_jobs.by_id
        self._mail = Mail(self.jobs, chain, params)
        self._up: set[NodeId] = set()
        self._attention = Attention()

    def restore(self, record: OwnRecord) -> None:
        """What was known of own jobs before a restart, in its old order."""
        self._own_jobs.restore(record)

    def step(self, event: Event, now: Instant) -> list[Effect]:
        """See dpin.base.machine.Machine."""
        slept = self._attention.look(now)
        for own in self.jobs.values() if slept else ():
            excuse(own, slept, now)
        effects = [*self._begin_again(now), *self._take(event, now)]
        if self._state is not None:
            self._own_jobs.recall(self._state)
            for own in self.jobs.values():
                if own.stage.ended:
                    effects += _let_go(own, self._state)
                else:
                    effects += self._follow(own, self._state, now)
        return [*effects, *self._own_jobs.records()]

    def _take(self, event: Event, now: Instant) -> Iterator[Effect]:
        match event:
            case Follow(state):
                self._state = state
            case Start():
                yield from self._start(event, now)
            case Abandon(local_id):
                self.jobs[local_id].cancelled = True
            case Probe(probed):
                self._settle(probed)
            case ToRequester(peer, message):
                yield from self._mail.told(peer, message, self._state, now)
            case Outcome():
                yield from self._outcome(event, now)
            case PeerUp() | PeerDown():
                self._connection(event, now)
            case _:
                yield from self._pass_on(event, now)

    def _start(self, event: Start, now: Instant) -> Iterator[Effect]:
        if event.local_id in self.jobs:  # Asked for twice at one time: it is paid once.
            return
        own = OwnJob(event.local_id, event.order, now, keys=self.keys)
        own.since = self._state.time if self._state is not None else own.since
        self._own_jobs.add(own)
        ordered = OwnJobOrdered(own.local_id, event.order, now // MICROS_PER_MILLI)
        yield Store(encode(ordered), sync=True)
        yield from workshop.begin(own, now)

    def _begin_again(self, now: Instant) -> Iterator[Effect]:
        """What was asked for before a restart and came to nothing then."""
        for own in self._own_jobs.take_unbegun():
            own.keys = self.keys
            yield from workshop.begin(own, now)

    def _settle(self, probed: Probed) -> None:
        self._probed = probed
        if self._signer is not None:
            self._signer = replace(self._signer, code=probed.code)

    # --- following the ledger ---

    def _follow(self, own: OwnJob, state: State, now: Instant) -> Iterator[Effect]:
        own.signer, own.keys, own.near = self._signer, self.keys, self._up
        if own.job is None and own.propose is not None:
            own.job = self._own_jobs.find(own, self._me, state)
            yield from self._mail.recalled(own, state, now)
        yield from _watch_time(own, now)
        if own.job is None:
            if own.cancelled:
                own.end(Stage.CANCELLED, own.reason or "before it was funded", now)
                yield from workshop.dismiss(own)
            elif own.propose is not None:
                yield Wish(f"propose:{own.local_id}", own.propose)
            return
        own.renew(state)
        job = own.job
        again.heed(own, job, state, self._params, now)
        if again.is_due(own, job, self._params, now):
            yield from again.propose(own, job)
            return
        yield from self._phase(own, job, now)
        if own.cancelled and not job.cancelled:
            yield Wish(f"cancel:{own.local_id}", Cancel(job.id))
        yield from awards(own, job, state, now)
        yield from stops(own, job, state, now)
        yield from workshop.follow(own, job, state, now)
        yield from tell(own, state, now)
        yield from takings.apart(own, job)
        yield from takings.foretold(own, job)
        yield from self._finish(own, job, state, now)

    def _phase(self, own: OwnJob, job: Job, now: Instant) -> Iterator[Effect]:
        """What the job does now, in the words of the progress display."""
        phase = {
            JobState.OPEN: "match" if not job.leases else "load",
            JobState.RUNNING: "run",
            JobState.SETTLING: "verify",
        }.get(job.state)
        if phase == "load":
            own.enter("upload", now)
        own.stage = {
            JobState.OPEN: Stage.MATCHING,
            JobState.RUNNING: Stage.RUNNING,
        }.get(job.state, Stage.VERIFYING)
        if phase is not None and own.enter(phase, now):
            yield Note(own.local_id, "phase", f"{phase}: {_sentence(phase, own, job)}")

    def _finish(self, own: OwnJob, job: Job, state: State, now: Instant) -> Iterator[Effect]:
        if not job.state.ended:
            return
        spent = format_tokens(job_cost(state, job))
        match job.state:
            case JobState.DONE if job.propose.kind == INFER:
                yield from self._finish_text(own, job, state, now)
            case JobState.DONE if own.output_files:
                own.enter("fetch", now)
                if why := takings.nothing(own):
                    yield from workshop.fail(own, f"{why}; spent {spent}", now)
                    return
                own.end(Stage.DONE, "", now)
                if why := losses.worse(own):
                    yield Note(own.local_id, "warning", why)
                text = f"done: {_result(own)}; spent {spent}"
                yield Note(own.local_id, "end", text, {"state": "done"})
                yield from workshop.dismiss(own)
            case JobState.DONE:
                own.enter("fetch", now)
            case JobState.CANCELLED:
                own.end(Stage.CANCELLED, own.reason or job.reason, now)
                why = f" ({OVERTIME})" if own.reason == OVERTIME else ""
                text = f"cancelled{why}; spent {spent}"
                yield Note(own.local_id, "end", text, {"state": "cancelled"})
                yield from workshop.dismiss(own)
            case _:
                yield from workshop.fail(own, _why_expired(own, job), now)

    def _finish_text(self, own: OwnJob, job: Job, state: State, now: Instant) -> Iterator[Effect]:
        """A generation is done when its check has passed and the text is the one committed."""
        unit = state.units[job.leases[-1], job.rounds[-1].round]
        spent = format_tokens(job_cost(state, job))
        if unit.commit is None or unit.state.name != "PAID":
            yield from workshop.fail(own, f"the check failed: {unit.reason}", now)
        elif BlobId(digest(OUTPUT_TAG, own.text)) != unit.commit.update:
            yield from workshop.fail(own, "the text received is not the text committed", now)
        else:
            own.end(Stage.DONE, unit.reason, now)
            text = f"done: {unit.reason}; spent {spent}"
            yield Note(own.local_id, "end", text, {"state": "done"})

    # --- what comes in ---

    def _outcome(self, outcome: Outcome, now: Instant) -> Iterator[Effect]:
        what, _, local_id = outcome.key.partition(":")
        own = self.jobs.get(local_id)
        if what != "propose" or own is None or own.stage.ended or outcome.detail in PASSING:
            return
        if outcome.detail != OK:
            yield from workshop.fail(own, f"the ledger refused the job: {outcome.detail}", now)

    def _connection(self, event: PeerUp | PeerDown, now: Instant) -> None:
        """Who is lost; where nobody is left, it is this node that was cut off."""
        back = not self._up
        if isinstance(event, PeerUp):
            self._up.add(event.peer)
        else:
            self._up.discard(event.peer)
        for own in self.jobs.values():
            own.alone = not self._up
            if isinstance(event, PeerUp):
                own.lost.pop(event.peer, None)
                if back:  # The others have not been able to come, or to say a word, until now.
                    own.lost = dict.fromkeys(own.lost, now)
                    own.beats = {key: replace(beat, at=now) for key, beat in own.beats.items()}
            elif not own.stage.ended and self._relies_on(own, event.peer):
                own.lost[event.peer] = now

    def _relies_on(self, own: OwnJob, peer: NodeId) -> bool:
        """Whether a peer works on the job, or may yet."""
        if own.job is None or self._state is None:
            return False
        leases = (self._state.leases[lease] for lease in own.job.leases)
        return peer in own.supply.bids or any(lease.provider == peer for lease in leases)

    def _pass_on(self, event: StoreEvent | WorkEvent | Tick, now: Instant) -> Iterator[Effect]:
        fingerprint = self._probed.fingerprint if self._probed else NO_DIGEST
        for own in self.jobs.values():
            # What was said before a worker was dismissed is no word on what has ended.
            worker = None if own.stage.ended else own.worker
            match event:
                case Reported(whose, report) if whose == worker:
                    yield from workshop.reported(own, report, now)
                case Exited(whose, reason) if whose == worker:
                    yield from workshop.exited(own, reason, now)
                case Fetched() | Oversized():
                    yield from workshop.fetched(own, event)
                case Kept():
                    yield from workshop.kept(own, event, fingerprint, self._params)
                case Missing(blob) if own.merging is not None:
                    yield from missing(own, own.merging, blob, now)
                case Reported() | Exited() | Missing() | Tick():
                    pass
                case _:
                    assert_never(event)


def _let_go(own: OwnJob, state: State) -> Iterator[Wish]:
    """What has failed here would go on at its providers, and be paid, for nothing."""
    job = state.jobs.get(own.job.id) if own.job is not None else None
    if own.stage == Stage.FAILED and job is not None and not (job.cancelled or job.state.ended):
        yield Wish(f"cancel:{own.local_id}", Cancel(job.id))


def _result(own: OwnJob) -> str:
    if own.evaluation is not None and isinstance(own.order, TrainOrder):
        said = sentence(own.evaluation.tally, own.order.text_bytes)
        return f"{said}; it is in {own.output_files[0]}"
    return f"the model is in {own.output_files[0]}"


def _sentence(phase: str, own: OwnJob, job: Job) -> str:
    propose = job.propose
    private = isinstance(own.order, TrainOrder) and own.order.private is not None
    return {
        "match": f"asking providers for {_counted(propose.seats, 'seat')} at no more than "
        f"{format_tokens(propose.price_cap)} a unit; to them it is {name_of_job(job.id)}",
        "load": "providers load the model, and their own data"
        if private
        else "providers fetch the data and load the model",
        "run": f"{_counted(propose.seats, 'part')} of {propose.steps} steps"
        if propose.kind == EVAL
        else f"{_counted(propose.rounds, 'round')} of {propose.steps} steps",
        "verify": "the last units are being checked",
    }[phase]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _why_expired(own: OwnJob, job: Job) -> str:
    """Why nobody was left for the job; what made providers give it up belongs to the answer."""
    given_up = sorted(
        {no.detail for no in own.supply.declines.values() if no.code == Reason.FAULTY}
    )
    return "; ".join([job.reason or "expired", *given_up[:1]])


def _watch_time(own: OwnJob, now: Instant) -> Iterator[Effect]:
    """Cancel a job whose time is over; what was done is settled and paid."""
    deadline = after(own.submitted, own.order.time_limit)
    if own.job is not None and own.job.state.ended:
        return  # While this node was away, perhaps: what was made is fetched all the same.
    if now < deadline:
        yield Wake(deadline)
    elif not own.cancelled:
        own.cancelled, own.reason = True, OVERTIME
        yield Note(own.local_id, "warning", "the time limit is over: the job is cancelled")
