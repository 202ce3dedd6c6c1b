"""Keep a worker's global state level with the ledger: fetch what a round took, apply it, offer it.

Providers and requesters both hold the state of a training job; both do just this with it.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import NO_DIGEST, BlobId, Digest, NodeId, Round
from dpin.base.machine import Blame, Send, Wake
from dpin.base.units import MICROS_PER_MILLI, Instant, Micros, after, seconds
from dpin.compute.safety import PrivacySpec
from dpin.compute.secagg.words import Reveal
from dpin.compute.task import Contribution, Merged, MergeRound, Opened
from dpin.compute.work import Order, WorkerId
from dpin.ledger.accounts import Included, Job, Phase, RoundRecord, State
from dpin.ledger.transactions import EVAL
from dpin.ledger.views import LATE_AGE_MAX, made_in, name_of, offers
from dpin.market.messages import CheckpointOffer
from dpin.market.unveiling import Unveiling, circles_of
from dpin.storage.wanted import Fetch, Fetched, Keep, Kept, Oversized, Purpose
from dpin.verify.jobfiles import JobFiles

RETRY: Final = seconds(1)
SOON: Final = 10 * MICROS_PER_MILLI  # after nobody had it; twice as long each time, up to RETRY
MISSES_MAX: Final = 7  # that still make a pause longer
ASKERS_MAX: Final = 64
REFUSED: Final = ""  # instead of a path: larger than any update of the job, it counts for nothing

Effect = Send | Wake | Fetch | Keep | Order | Blame


def by_commit(record: RoundRecord, state: State) -> list[Included]:
    """What a closed round has taken, in the order of commits: of two alike the later is a copy."""

    def committed(included: Included) -> tuple[int, Digest]:
        return state.units[made_in(record, included)].committed_at, included.lease

    return sorted(record.included, key=committed)


def called(included: Included, round_: Round, state: State) -> str:
    """What people call an update of a round by."""
    who = name_of(state, included.provider)
    return f"{who}'s of round {round_ - included.age + 1}" if included.age else who


@dataclass(slots=True)
class Asking:
    """When updates that did not come are asked for again. Whatever comes, it begins anew."""

    again_at: Instant = Instant(0)
    _blobs: frozenset[BlobId] = frozenset()
    _misses: int = 0
    _missed: bool = False  # something of what was asked for last

    def asked(self, blobs: Collection[BlobId], now: Instant) -> Iterator[Wake]:
        """These are asked for now."""
        self._blobs, self._missed = frozenset(blobs), False
        if blobs:
            self.again_at = after(now, RETRY)
            yield Wake(self.again_at)

    def missing(self, blob: BlobId, now: Instant) -> Iterator[Wake]:
        """Nobody shows it: who is first to apply a commit asks before the maker knows of it."""
        if blob in self._blobs and not self._missed:
            pause = min(RETRY, SOON << min(self._misses, MISSES_MAX))
            self._misses, self._missed = self._misses + 1, True
            self.again_at = min(self.again_at, after(now, Micros(pause)))
            yield Wake(self.again_at)


@dataclass(slots=True)
class Merging:
    """The global state of one job in one worker. `holding` is None until the job is loaded."""

    job: Job
    worker: WorkerId
    files: JobFiles
    holding: Round | None = None
    state_hash: Digest | None = None
    checkpoint: str = ""  # file of the state held
    before: dict[Round, str] = field(default_factory=dict)  # file of the state held before, if any
    origin: tuple[Round, Digest] | None = None  # the round and the state that were loaded
    paths: dict[BlobId, str] = field(default_factory=dict)  # updates that are here, or REFUSED
    privacy: PrivacySpec = field(default_factory=PrivacySpec)
    states: dict[Round, Digest] = field(default_factory=dict)  # that rounds of `job` have led to
    model_root: Digest = NO_DIGEST
    asking: Asking = field(default_factory=Asking)
    unveiling: Unveiling | None = None  # of the round that is being merged, where it is masked
    stalled_at: Instant | None = None  # since when the next round is over and cannot be merged
    lacking: dict[BlobId, Instant] = field(default_factory=dict)  # its updates; last not found when
    _ordered: Round = Round(-1)
    _keep_at: Instant = Instant(0)
    _askers: list[NodeId] = field(default_factory=list)
    _sought: dict[BlobId, NodeId] = field(default_factory=dict)  # who made what was asked for
    _forgotten: Round = Round(0)  # of rounds before this nothing is remembered

    @property
    def resting(self) -> Round | None:
        """The round that begins with the state held, unless the worker was told to move on."""
        if self.holding is None or self._ordered >= self.holding:
            return None
        unveiled = self.unveiling.record.round if self.unveiling is not None else Round(-1)
        return self.holding if unveiled < self.holding else None

    def opened(self, report: Opened, checkpoint: str) -> None:
        """The worker has loaded the job."""
        self.holding, self.state_hash = self.origin = report.round, report.state_hash
        self.checkpoint, self.model_root = checkpoint, report.model_root
        self._unstall()

    def merged(self, report: Merged) -> None:
        """The worker has applied a round."""
        self.states[Round(report.round - 1)] = report.state_hash
        if self.holding is not None:
            self.before = {self.holding: self.checkpoint}
        self.model_root = report.model_root
        self.holding, self.state_hash = report.round, report.state_hash
        self.checkpoint = report.checkpoint
        self._unstall()

    def restarted(self) -> None:
        """The worker is another one now and holds nothing."""
        self.holding, self._ordered, self.unveiling = None, Round(-1), None
        self.origin, self._forgotten = None, Round(0)
        self.before.clear()
        self._unstall()
        self.paths.clear()  # What was merged may have made room for others since.

    def _unstall(self) -> None:
        self.stalled_at = None
        self.lacking.clear()

    def arrived(self, event: Fetched | Oversized) -> list[Blame]:
        """A blob is here, or too large; harmless when it is no update that was asked for."""
        most, maker = self.files.update_bytes_max, self._sought.get(event.blob)
        if maker is None or most is None:
            return []
        too_large = event.length > most
        if isinstance(event, Oversized) and not too_large:
            return []  # By somebody else's bound: it is asked for again.
        del self._sought[event.blob]
        self.asking = Asking()
        if not too_large and isinstance(event, Fetched):
            self.paths[event.blob] = event.path
            return []
        self.paths[event.blob] = REFUSED
        return [Blame(maker, f"made an update of {event.length} bytes, at most {most}")]

    def updates(self, record: RoundRecord, state: State) -> dict[Digest, BlobId]:
        """The updates that a round has taken, or may still take; by the names of `offers`."""
        taken = {made_in(record, included) for included in record.included}
        found = {}
        for name, key in offers(record).items():
            commit = state.units[key].commit
            assert commit is not None, "only what was committed is offered"
            if not record.closed or key in taken:
                found[name] = commit.update
        return found

    def follow(self, state: State, now: Instant) -> Iterator[Effect]:
        """Fetch and merge what the ledger has closed; fetch ahead what it is about to."""
        rounds = self.job.rounds
        first = self.holding if self.holding is not None else max(0, len(rounds) - 1)
        wanted = [record for record in rounds[first:] if record.phase == Phase.EXCHANGE]
        yield from self._fetch(wanted, state, now)
        if self.holding is None:
            return
        self._forget(self.holding - LATE_AGE_MAX, state)
        if self.holding >= len(rounds):
            return
        record = rounds[self.holding]
        if not record.closed or self._ordered >= record.round:
            return
        if not all(included.update in self.paths for included in record.included):
            self.stalled_at = now if self.stalled_at is None else self.stalled_at
            return
        if self.privacy.masked:
            yield from self._unveil(record, state, now)
        else:
            self._ordered = record.round
            contributions = tuple(
                Contribution(
                    self.paths[one.update], one.steps, one.age, called(one, record.round, state)
                )
                for one in by_commit(record, state)
            )
            yield Order(self.worker, MergeRound(record.round, contributions))

    def _forget(self, until: int, state: State) -> None:
        """Where the updates of rounds lie that are long merged; who begins anew asks again."""
        if self.job.propose.kind == EVAL:
            return  # Its parts are added up at the end.
        for record in self.job.rounds[self._forgotten : max(self._forgotten, until)]:
            self._forgotten = Round(record.round + 1)
            for key in offers(record).values():
                commit = state.units[key].commit
                assert commit is not None, "only what was committed is offered"
                self.paths.pop(commit.update, None)
                self._sought.pop(commit.update, None)

    def _unveil(self, record: RoundRecord, state: State, now: Instant) -> Iterator[Effect]:
        """Of a masked round only the sum is found, once members enough have told their shares."""
        if self.unveiling is None or self.unveiling.record.round != record.round:
            found = circles_of(self.job, record, state, self.privacy)
            fresh = [
                one for one in record.included if not one.age and self.paths[one.update] != REFUSED
            ]
            files = {self.paths[one.update]: one.lease for one in fresh}
            self.unveiling = Unveiling(self.job, record, self.worker, found, files)
        yield from self.unveiling.follow(now)
        waits = self.unveiling.waits
        self.stalled_at = (self.stalled_at or now) if waits else None

    def told(self, sender: NodeId, reveal: Reveal) -> None:
        """Somebody's shares of a masked round; raises PeerFault."""
        if self.unveiling is not None and self.unveiling.record.round == reveal.round:
            self.unveiling.told(sender, reveal)

    def _fetch(self, records: list[RoundRecord], state: State, now: Instant) -> Iterator[Effect]:
        most = self.files.update_bytes_max
        if now < self.asking.again_at or most is None:
            return
        asked: set[BlobId] = set()
        for record in records:
            makers = {name: key[0] for name, key in offers(record).items()}
            for name, update in sorted(self.updates(record, state).items()):
                if update in self.paths:
                    continue
                asked.add(update)
                others = {state.leases[other].provider for other in record.roster}
                maker = self._sought[update] = state.leases[makers[name]].provider
                sources = tuple(dict.fromkeys((maker, self.job.requester, *sorted(others))))
                yield Fetch(update, sources, Purpose.UPDATE, most)
        yield from self.asking.asked(asked, now)

    # --- for whoever joins late ---

    def asked(self, peer: NodeId, now: Instant) -> Iterator[Effect]:
        """Somebody wants the state held here. Whoever asks, it is hashed once per RETRY at most."""
        if self.holding is None:
            return
        if peer not in self._askers and len(self._askers) < ASKERS_MAX:
            self._askers.append(peer)
        if now >= self._keep_at:
            self._keep_at = after(now, RETRY)
            yield Keep(self.checkpoint, Purpose.MODEL, None)

    def kept(self, event: Kept) -> Iterator[Effect]:
        """The state file has a blob id now."""
        if event.path != self.checkpoint or self.holding is None:
            return
        askers, self._askers = self._askers, []
        for peer in askers:
            offer = CheckpointOffer(self.job.id, self.holding, event.blob)
            yield Send(peer, encode(offer))
