"""What makes a lease of a private job differ from others: shields on updates, shares afterwards."""

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.ids import Round
from dpin.base.machine import Send
from dpin.base.units import Instant
from dpin.compute.secagg.orders import Heads, Shielded
from dpin.compute.task import InferManifest, Merged, Opened, Trained, TrainManifest
from dpin.ledger.accounts import Job, Lease, RoundRecord, State
from dpin.market.merging import Effect as MergingEffect
from dpin.market.merging import Merging
from dpin.market.messages import RevealMail
from dpin.market.shielding import Effect as ShieldingEffect
from dpin.market.shielding import Shielding
from dpin.storage.wanted import Keep, Purpose
from dpin.verify.defender import Produced


@dataclass(slots=True)
class Veil:
    """Stands between a lease's worker and its committed updates."""

    key: SigningKey | None  # of this node; without it there are no private jobs
    job: Job
    lease: Lease
    merging: Merging
    shield: Shielding | None = None
    _revealed: Round = Round(-1)  # the newest round of which shares were told

    def renew(self, job: Job, lease: Lease) -> None:
        """The ledger's records, which may be others now."""
        self.job, self.lease = job, lease
        if self.shield is not None:
            self.shield.job, self.shield.lease = job, lease

    def take(self, manifest: TrainManifest | InferManifest | None) -> None:
        """What the job's manifest says about privacy, once it is here."""
        if self.shield is not None or self.key is None:
            return
        if isinstance(manifest, TrainManifest) and not manifest.privacy.replayable:
            self.merging.privacy = manifest.privacy
            worker = self.merging.worker
            self.shield = Shielding(self.key, self.job, self.lease, worker, manifest.privacy)

    def follow(self, record: RoundRecord, state: State, now: Instant) -> Iterator[ShieldingEffect]:
        """The round under way."""
        if self.shield is not None:
            yield from self.shield.follow(record, state, now)

    def trained(self, report: Trained) -> Iterator[Produced | Keep]:
        """A unit is done: offered as it is, or only once it is shielded."""
        if self.shield is not None:
            self.shield.trained(report)
        else:
            if report.states:  # Without them there is nothing that a verifier could ask for.
                yield Produced(report.leaves, report.states, report.base)
            yield Keep(report.update, Purpose.UPDATE, frozenset())

    def reported(
        self,
        report: Opened | Merged | Shielded | Heads,
        trained: dict[Round, Trained],
        checkpoint: str,
    ) -> Iterator[Keep]:
        """News of the worker about the state it holds, and about masks."""
        match report:
            case Opened():
                self.merging.opened(report, checkpoint)
            case Merged():
                self.merging.merged(report)
            case Heads():
                if self.merging.unveiling is not None:
                    self.merging.unveiling.read(report)
            case Shielded(round=round_, shielded=path):
                trained[round_] = replace(trained[round_], update=path)
                yield Keep(path, Purpose.UPDATE, frozenset())

    def unveil(
        self, manifest: TrainManifest | InferManifest | None, state: State, now: Instant
    ) -> Iterator[MergingEffect]:
        """Follow closed rounds to their end; tell the own shares of a masked one."""
        self.take(manifest)
        yield from self.merging.follow(state, now)
        yield from self._reveal(state)

    def _reveal(self, state: State) -> Iterator[Send]:
        """Tell the own shares about a masked round, once it is settled; once."""
        unveiling = self.merging.unveiling
        if self.shield is None or unveiling is None or not unveiling.settled:
            return
        round_ = unveiling.record.round
        reveal = self.shield.reveal(unveiling.settled)
        if reveal is None or round_ <= self._revealed:
            return
        self._revealed = round_
        unveiling.told(self.lease.provider, reveal)
        others = {state.leases[lease].provider for lease in unveiling.record.roster}
        for peer in sorted({*others, self.job.requester} - {self.lease.provider}):
            yield Send(peer, encode(RevealMail(reveal)))
