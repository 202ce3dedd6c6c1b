"""The machine of a provider: register, stake, bid on what fits, work on what was awarded."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import NO_DIGEST, ChainId, Digest, JobId, NodeId, Round
from dpin.base.machine import Send, Tick, Wake
from dpin.base.units import Instant, MicroTokens, after, seconds
from dpin.base.units import Tick as LedgerTick
from dpin.compute.task import Probed
from dpin.compute.work import Exited, Reported, WorkEvent
from dpin.ledger import fees
from dpin.ledger.accounts import Account, Job, Lease, State
from dpin.ledger.params import Params
from dpin.ledger.transactions import Register, Stake
from dpin.ledger.views import holds_live_lease, live_leases, open_seats
from dpin.ledger.wishes import Follow, Wish
from dpin.market.chronicle import Chronicle, Deed
from dpin.market.engagement import Effect as EngagementEffect
from dpin.market.engagement import Engagement, Fault, have_margin, renew
from dpin.market.lastword import LastWords
from dpin.market.legacy import Effect as LegacyEffect
from dpin.market.legacy import Legacy
from dpin.market.messages import (
    AskCheckpoint,
    AskReveal,
    BidMessage,
    CheckpointOffer,
    MaskMail,
    ProviderMessage,
    Reason,
    RevealMail,
    StateTaken,
    declined,
    job_of,
)
from dpin.market.offers import Answered, Offers, Refusal, Terms, is_short, refusal, sign_bid
from dpin.market.privacy import OwnDataset
from dpin.market.registering import is_same, no_sandbox
from dpin.market.room import Room
from dpin.market.viewing import Viewing
from dpin.market.witness import Witnesses
from dpin.storage.wanted import Discard, Fetched, Kept, Missing, Oversized, StoreEvent
from dpin.verify.jobkeys import JobKeys

FEES_KEPT: Final = 256  # transactions
FEE_BYTES: Final = 2_048  # of a large one
LINGER: Final = seconds(60)  # after a masked lease
BID_AGAIN: Final = seconds(2)
BID_TICKS_LONG: Final = 3_000  # a bid stands this long, so that a lost provider is replaced at once
NEVER_READY: Final = "never-ready"  # why a lease has ended, as the ledger says it
BID: Final = "bid"  # instead of a reason for none
REGISTER_KEY: Final = "register"


@dataclass(frozen=True, slots=True)
class Choice:
    """The operator's choices that the market reads."""

    name: str
    provides: bool
    price: MicroTokens
    stake: MicroTokens
    leases_max: int
    fault: Fault
    datasets: tuple[OwnDataset, ...] = ()
    disk_bytes: int | None = None  # for blobs; None: no limit
    custom_code: bool = False  # whether modules of requesters may run, sandboxed


@dataclass(frozen=True, slots=True)
class Probe:
    """What the short-lived probe process found."""

    probed: Probed


@dataclass(frozen=True, slots=True)
class Pinned:
    """So many bytes of the disk its owner keeps for other things."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Finish what runs, take nothing new; or, where `rests` is false, take what comes again."""

    rests: bool


@dataclass(frozen=True, slots=True)
class ToProvider:
    """A market message that concerns a provider."""

    peer: NodeId
    message: ProviderMessage


Event = Follow | Probe | Rest | Pinned | ToProvider | StoreEvent | WorkEvent | Tick
Effect = EngagementEffect | LegacyEffect | Discard | Deed


class Provider:
    """All that this node does for others."""

    def __init__(self, key: SigningKey, chain: ChainId, params: Params, choice: Choice) -> None:
        self._key = key
        self._chain = chain
        self._params = params
        self._choice = choice
        self._probed: Probed | None = None
        self._state: State | None = None
        self.resting = False
        self.offers = Offers()
        self.room = Room(choice.disk_bytes)
        self.engagements: dict[Digest, Engagement] = {}
        self.lingering: dict[Digest, Engagement] = {}
        self._until: dict[Digest, Instant] = {}
        self.answered: dict[JobId, Answered] = {}
        self._unusable: dict[JobId, str] = {}  # jobs that nobody could compute, and why
        self._lapsed: set[JobId] = set()  # jobs of which a lease has ended before it was ready
        self.chronicle = Chronicle()
        self._last_words = LastWords()
        self._viewing = Viewing(choice.datasets, custom_code=choice.custom_code)
        self.witnesses = Witnesses(key, chain)
        self.legacy = Legacy()
        self.keys = JobKeys(key)  # of sealed jobs; its node's requester and verifier share them

    def step(self, event: Event, now: Instant) -> list[Effect]:
        """See dpin.base.machine.Machine."""
        effects: list[Effect] = []
        match event:
            case Follow(state):
                self._state = state
            case Probe() | Rest() | Pinned():
                self._settle(event)
            case ToProvider(peer, message):
                effects += self._told(peer, message, now)
            case _:
                if isinstance(event, Fetched | Oversized):
                    self._viewing.arrived(event)
                for engagement in [*self.engagements.values(), *self.lingering.values()]:
                    effects += _pass_on(event, engagement, now)
                effects += self.witnesses.take(event, now)
                if isinstance(event, Kept):
                    effects += self.legacy.kept(event)
        if self._state is not None:
            effects += self._follow(self._state, now)
        return effects

    def _settle(self, event: Probe | Rest | Pinned) -> None:
        match event:
            case Probe(probed):
                self._probed = probed
                self._viewing.sandbox = no_sandbox(probed)
            case Rest(rests):
                self.resting = rests
            case Pinned(size):
                self.room.pinned_bytes = size

    def _told(self, peer: NodeId, message: ProviderMessage, now: Instant) -> Iterator[Effect]:
        match message:
            case CheckpointOffer():
                self.witnesses.told(peer, message)
            case AskCheckpoint(job=job):
                yield from self.legacy.asked(peer, job)
            case StateTaken(job=job):
                self.legacy.taken(peer, job)
            case _:
                pass
        for engagement in [*self.engagements.values(), *self.lingering.values()]:
            if engagement.job.id == job_of(message):
                yield from _tell(engagement, peer, message, now)

    # --- following the ledger ---

    def _follow(self, state: State, now: Instant) -> Iterator[Effect]:
        mine = {
            lease.id: (job, lease)
            for job, lease in live_leases(state)
            if lease.provider == self._key.node_id
        }
        for lease_id, (job, lease) in mine.items():
            if lease_id not in self.engagements:
                self.engagements[lease_id] = self._engage(job, lease, state)
            renew(self.engagements[lease_id], job, lease)
        yield from self.chronicle.follow(state, self.engagements)
        for lease_id in [lease_id for lease_id in self.engagements if lease_id not in mine]:
            if not self._last_words.keeps(self.engagements[lease_id], state, now):
                yield from self._part(lease_id, now)
        yield from self._last_words.follow(state)
        yield from self._linger(state, now)
        yield from self.legacy.follow(now)
        for engagement in self.engagements.values():
            if engagement.files.fault:
                self._unusable[engagement.job.id] = engagement.files.fault
            yield from engagement.follow(state, now)
        if self._probed is None:
            return
        yield from self.witnesses.follow(state, self._probed.fingerprint, now)
        account = state.accounts.get(self._key.node_id) or Account()
        yield from self._register(account, self._probed, state)
        yield from self._bid(state, account, now)

    def _engage(self, job: Job, lease: Lease, state: State) -> Engagement:
        fault, tick_ms = self._choice.fault, self._params.tick_ms
        engagement = Engagement(job, lease, fault, tick_ms, key=self._key, keys=self.keys)
        engagement.loading.datasets = self._choice.datasets
        engagement.loading.custom_code = self._choice.custom_code
        engagement.pace.grace_ticks = self._params.grace_ticks
        engagement.have_margin = have_margin(self._params)
        engagement.ready_margin = self._params.ready_ticks // 2  # A slow ledger takes seconds.
        engagement.hasty = job.id in self._lapsed
        earlier = (state.units.get((lease.id, record.round)) for record in job.rounds)
        if any(unit is not None and unit.commit is not None for unit in earlier):
            engagement.failed = "the node was restarted and has lost the lease's optimizer"
        self.offers.taken += 1
        return engagement

    def _part(self, lease_id: Digest, now: Instant) -> Iterator[Effect]:
        """A lease is over. One of a masked round stays: others still need its shares."""
        engagement = self.engagements.pop(lease_id)
        self._last_words.find(lease_id, engagement.merging)
        if not engagement.merging.privacy.masked:
            yield from self.legacy.leave(engagement.job, engagement.merging, now)
        if engagement.lease.reason == NEVER_READY:
            self._lapsed.add(engagement.job.id)
        if not engagement.merging.privacy.masked:
            yield from engagement.loading.dismiss()
        else:
            self.lingering[lease_id] = engagement
            self._until[lease_id] = after(now, LINGER)
            yield Wake(self._until[lease_id])

    def _linger(self, state: State, now: Instant) -> Iterator[Effect]:
        for lease_id, engagement in list(self.lingering.items()):
            if now < self._until[lease_id]:
                yield from engagement.veil.unveil(engagement.files.manifest, state, now)
            else:
                del self._until[lease_id]
                del self.lingering[lease_id]
                yield from self.legacy.leave(engagement.job, engagement.merging, now)
                yield from engagement.loading.dismiss()

    def _register(self, account: Account, probed: Probed, state: State) -> Iterator[Effect]:
        device = probed.devices[0]
        wanted = Register(
            name=self._choice.name,
            device=device.name,
            memory_bytes=device.memory_bytes,
            fingerprint=probed.fingerprint,
            provides=self._choice.provides,
            anchor=NO_DIGEST,
            anchor_round=Round(0),
        )
        # Whoever was absent from a check is not seated again until it says that it is back.
        back = any(account.absences)
        if account.registration is None or not is_same(account.registration, wanted) or back:
            yield Wish(REGISTER_KEY, wanted)
            return
        kept = self._fees(state)
        amount = min(account.free - kept, self._choice.stake - account.stake)
        if amount > kept // FEES_KEPT:  # Less is not worth the fee.
            yield Wish("stake", Stake(MicroTokens(amount)))

    def _fees(self, state: State) -> int:
        """What a node keeps back from its stake: whoever cannot pay for a commit is not paid."""
        fee = fees.fee(self._params, state.fee_multiplier, FEE_BYTES, 1)
        return FEES_KEPT * fee

    def _bid(self, state: State, account: Account, now: Instant) -> Iterator[Effect]:
        for job_id in [job_id for job_id in self.answered if job_id not in state.live_jobs]:
            del self.answered[job_id]
            self._viewing.forget(job_id)
        self._unusable = {job: why for job, why in self._unusable.items() if job in state.live_jobs}
        self._lapsed &= state.live_jobs
        self._claim(state)
        if account.registration is None:
            return
        for job_id in sorted(state.live_jobs):
            job = state.jobs[job_id]
            answered = self.answered.get(job_id)
            if holds_live_lease(state, job, self._key.node_id):
                continue
            bid = answered is not None and answered.code == BID
            # A bid stands while all seats are taken; without room for it it is taken back.
            if not open_seats(state, job) and not (bid and is_short(job, self._left(job, state))):
                continue
            if answered is None:
                self.offers.seen += 1
            if answered is None or now >= answered.again_at:
                yield from self._answer(job, state, account, now)

    def _left(self, job: Job, state: State) -> int | None:
        """The room for a job, beside leases and other bids that may be taken at any time."""
        self._claim(state)
        return self.room.left(job.id)

    def _claim(self, state: State) -> None:
        """Keep room for these, and for what has ended no more."""
        mine = [*self.engagements.values(), *self.lingering.values()]
        bids = (state.jobs[one] for one, said in self.answered.items() if said.code == BID)
        jobs = [*(one.job for one in mine), *(one for one in bids if open_seats(state, one))]
        self.room.work = {one.id: one.propose.disk_bytes for one in jobs}

    def _terms(self, job: Job, state: State) -> Terms:
        assert self._probed is not None, "nobody bids before the probe"
        return Terms(
            me=self._key.node_id,
            provides=self._choice.provides,
            draining=self.resting,
            price=self._choice.price,
            memory_bytes=self._probed.devices[0].memory_bytes,
            fingerprint=self._probed.fingerprint,
            disk_left=self._left(job, state),
            leases=len(self.engagements),
            leases_max=self._choice.leases_max,
        )

    def _answer(self, job: Job, state: State, account: Account, now: Instant) -> Iterator[Effect]:
        no = refusal(job, account, self._terms(job, state), self._params)
        if no is None and not job.propose.verifiers:
            if not self._viewing.seen(job):
                self.answered[job.id] = Answered("looking", after(now, BID_AGAIN))
                yield from self._viewing.look(job, now)
                return
            no = self._viewing.refusal(job)
        if job.id in self._unusable:
            no = Refusal(Reason.FAULTY, self._unusable[job.id])
        before = self.answered.get(job.id)
        again_at = after(now, BID_AGAIN)
        self.answered[job.id] = Answered(no.code if no else BID, again_at)
        yield Wake(again_at)
        if no is None:
            until = LedgerTick(state.tick + BID_TICKS_LONG)
            yield from self.chronicle.bid(job, self._choice.price, state)
            signed = sign_bid(self._key, self._chain, job, self._choice.price, until)
            yield Send(job.requester, encode(BidMessage(signed)))
            return
        if before is None or before.code != no.code:
            self.offers.declined[no.code] = self.offers.declined.get(no.code, 0) + 1
            if no.code != Reason.OWN_JOB:
                yield self.chronicle.declined(job, no.code, no.detail)
        if no.code != Reason.OWN_JOB:
            yield Send(job.requester, encode(declined(job.id, no.code, no.detail)))


def _tell(
    engagement: Engagement, peer: NodeId, message: ProviderMessage, now: Instant
) -> Iterator[Effect]:
    """Let an engagement of the job know; raises PeerFault."""
    shield = engagement.veil.shield
    match message:
        case AskCheckpoint():
            yield from engagement.merging.asked(peer, now)
        case CheckpointOffer():
            engagement.loading.offered(peer, message)
        case RevealMail(reveal=reveal):
            engagement.merging.told(peer, reveal)
        case MaskMail() if shield is not None:
            yield from shield.heard(peer, message)
        case AskReveal(round=round_) if shield is not None:
            yield from shield.asked(peer, round_)
        case MaskMail() | AskReveal() | StateTaken():
            pass  # It knows too little of its job yet; the other asks again.
        case _:
            assert_never(message)


def _pass_on(
    event: StoreEvent | WorkEvent | Tick, engagement: Engagement, now: Instant
) -> Iterator[Effect]:
    """Let an engagement know what may concern it."""
    match event:
        case Reported(worker, report) if worker == engagement.worker:
            yield from engagement.reported(report)
        case Exited(worker, reason) if worker == engagement.worker:
            engagement.exited(reason)
        case Fetched() | Oversized():
            yield from engagement.loading.fetched(event)
        case Kept():
            yield from engagement.kept(event)
        case Missing(blob):
            engagement.loading.missing(blob)
            yield from engagement.merging.asking.missing(blob, now)
        case Reported() | Exited() | Tick():
            pass
        case _:
            assert_never(event)
