"""A lease whose updates nobody may see: keys in training, a masked update, shares at the end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, Digest, NodeId, Round
from dpin.base.machine import Send, Wake
from dpin.base.units import Instant, after, seconds
from dpin.compute.safety import PrivacySpec
from dpin.compute.secagg.circle import Circle
from dpin.compute.secagg.member import Member
from dpin.compute.secagg.orders import Shield
from dpin.compute.secagg.settling import Settled
from dpin.compute.secagg.words import MaskedHead, MaskSeed, Reveal
from dpin.compute.task import Trained
from dpin.compute.work import Order, WorkerId
from dpin.ledger.accounts import Job, Lease, LeaseState, Phase, RoundRecord, State
from dpin.market.messages import MaskMail, RevealMail
from dpin.market.unveiling import circles_of

RETRY: Final = seconds(1)
PATIENCE: Final = seconds(5)  # after the training, for neighbours that have not answered
HURRY_TICKS: Final = 15  # before its time is over a unit is committed, whoever has answered
ROUNDS_KEPT: Final = 8  # whose secrets stay here for who settles them late
REVEALS_MAX: Final = 1_024  # rounds of which others may ask again what was told
NOISE_TAG: Final = "dpin/noise-seed/v1"

Effect = Send | Wake | Order
Masks = Callable[[int], tuple[MaskedHead, tuple[MaskSeed, ...]]]  # for so many steps


@dataclass(slots=True)
class Shielding:
    """What one lease does for the privacy of its job, round after round."""

    key: SigningKey
    job: Job
    lease: Lease
    worker: WorkerId
    privacy: PrivacySpec
    _members: dict[Round, Member] = field(default_factory=dict)
    _waiting: dict[Round, Trained] = field(default_factory=dict)
    _since: dict[Round, Instant] = field(default_factory=dict)  # it waits for masks
    _reveals: dict[Round, Reveal] = field(default_factory=dict)
    _retry_at: Instant = Instant(0)

    def _forget(self, current: Round) -> None:
        """What nobody needs any more of rounds long over; what was told of them is kept longer."""
        for held in (self._members, self._waiting, self._since):
            for round_ in [one for one in held if one <= current - ROUNDS_KEPT]:
                del held[round_]
        while len(self._reveals) > REVEALS_MAX:
            del self._reveals[min(self._reveals)]

    def follow(self, record: RoundRecord, state: State, now: Instant) -> Iterator[Effect]:
        """Exchange keys for the round under way, then shield what was trained in it."""
        self._forget(record.round)
        if self.privacy.masked and record.round not in self._members:
            circle = self._circle(record, state)
            if circle is not None:
                self._members[record.round] = Member(self.key, circle, self.lease.id)
        member = self._members.get(record.round)
        if member is not None and now >= self._retry_at and member.waiting:
            self._retry_at = after(now, RETRY)
            yield Wake(self._retry_at)
            for other in member.waiting:
                yield _mail(member, other, asks=True)
        if record.round in self._waiting:
            yield from self._end(record, member, state, now)

    def _end(
        self, record: RoundRecord, member: Member | None, state: State, now: Instant
    ) -> Iterator[Effect]:
        """Shield what was trained, as soon as that may be."""
        if not self.privacy.masked:
            yield from self._shield(record.round, None)
        elif member is not None:
            patient = after(self._since.setdefault(record.round, now), PATIENCE)
            if not self._waits(member, record, state, now):
                yield from self._shield(record.round, member.masks)
            elif now < patient:
                yield Wake(patient)

    def _circle(self, record: RoundRecord, state: State) -> Circle | None:
        found = circles_of(self.job, record, state, self.privacy)
        return next((circle for circle in found if self.lease.id in circle.nodes), None)

    def trained(self, report: Trained) -> None:
        """An update is there; it leaves the node shielded only."""
        self._waiting[report.round] = report

    def _waits(self, member: Member, record: RoundRecord, state: State, now: Instant) -> bool:
        """Whether to go on waiting for neighbours that have not answered.

        Without enough of them the sum will hold nothing, so they have as long as the unit has: a
        busy machine may be slow to answer. Who gives them up in the end is paid for its work.
        """
        if not member.waiting or _hurries(record, state, self.lease.id):
            return False
        leases = (state.leases[one] for one in member.waiting)
        coming = sum(lease.state != LeaseState.ENDED for lease in leases)
        return now < after(self._since[record.round], PATIENCE) or 0 < member.lacking <= coming

    def _shield(self, round_: Round, masks: Masks | None) -> Iterator[Effect]:
        report = self._waiting.pop(round_)
        self._since.pop(round_, None)
        steps = report.leaves[-1].step
        head, seeds = (None, ()) if masks is None else masks(steps)
        named = encode([self.job.id, round_, self.lease.id])
        noise = self.key.derived(NOISE_TAG, named, ID_BYTES)
        order = Shield(self.lease.id, round_, report.update, steps, head, seeds, noise)
        yield Order(self.worker, order)

    # --- what others say ---

    def heard(self, peer: NodeId, mail: MaskMail) -> Iterator[Effect]:
        """A neighbour's keys; raises PeerFault. Who has not heard this lease hears it now."""
        member = self._members.get(mail.shares.round)
        if member is None or mail.shares.to != self.lease.id:
            return
        if member.circle.nodes.get(mail.shares.key.lease) != peer:
            raise PeerFault("a mask key in another's name")
        new = mail.shares.key.lease not in member.heard
        member.take(mail.shares)
        if new or mail.shares.asks:  # Also what was answered once: the answer may be lost.
            yield _mail(member, mail.shares.key.lease)

    # --- after the round ---

    def reveal(self, settled: list[Settled]) -> Reveal | None:
        """The own shares about a settled round; None where it was not in it."""
        for one in settled:
            if one.circle.round in self._reveals:
                return self._reveals[one.circle.round]
            member = self._members.get(one.circle.round)
            if member is not None and member.circle.place == one.circle.place:
                return self._reveals.setdefault(one.circle.round, member.reveal(one))
        return None

    def asked(self, peer: NodeId, round_: Round) -> Iterator[Effect]:
        """Somebody lacks shares of a round."""
        if round_ in self._reveals:
            yield Send(peer, encode(RevealMail(self._reveals[round_])))


def _mail(member: Member, other: Digest, *, asks: bool = False) -> Send:
    shares = member.shares_to(other, asks=asks)
    return Send(member.circle.nodes[other], encode(MaskMail(shares)))


def _hurries(record: RoundRecord, state: State, lease: Digest) -> bool:
    """Whether the round, or what is left of the unit's own time, goes on without this update."""
    deadline = min(record.deadline, state.units[lease, record.round].deadline)
    return record.phase != Phase.TRAIN or state.tick >= deadline - HURRY_TICKS
