"""Take the masks off a closed round: read the heads, settle each circle, collect shares, merge.

Everybody who holds the job's state does just this, requester and providers alike; what is told by
whom does not matter, because every secret is checked against what its owner has signed.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import ChainId, Digest, NodeId
from dpin.base.machine import Send, Wake
from dpin.base.units import Instant, after, seconds
from dpin.compute.safety import PrivacySpec
from dpin.compute.secagg.circle import Circle, circles
from dpin.compute.secagg.orders import Heads, MaskedGroup, MergeMasked, ReadHeads
from dpin.compute.secagg.settling import Settled, check_head, settle
from dpin.compute.secagg.unmasking import Unmasking
from dpin.compute.secagg.words import MaskedHead, Reveal
from dpin.compute.work import Order, WorkerId
from dpin.ledger.accounts import Job, RoundRecord, State
from dpin.market.messages import AskReveal

RETRY: Final = seconds(1)

Effect = Send | Wake | Order


def circles_of(job: Job, record: RoundRecord, state: State, privacy: PrivacySpec) -> list[Circle]:
    """The circles of a round; a job's id is a digest over its chain, so it stands for it here."""
    roster = {lease: state.leases[lease].provider for lease in record.roster}
    return circles(ChainId(job.id), job.id, record.round, roster, privacy.group)


@dataclass(slots=True)
class Unveiling:
    """One round that is closed, in one worker."""

    job: Job
    record: RoundRecord
    worker: WorkerId
    circles: list[Circle]
    files: dict[str, Digest] = field(default_factory=dict)  # of the included updates, whose
    settled: list[Settled] = field(default_factory=list)
    _unmasking: list[Unmasking] = field(default_factory=list)
    _early: dict[Digest, Reveal] = field(default_factory=dict)  # told before the heads were read
    _asked: bool = False
    _merged: bool = False
    _retry_at: Instant = Instant(0)

    @property
    def waits(self) -> bool:
        """Whether nothing but shares of others is missing."""
        return bool(self.settled) and not self._merged

    def follow(self, now: Instant) -> Iterator[Effect]:
        """Do what can be done now; harmless to repeat."""
        if not self._asked:
            self._asked = True
            yield Order(self.worker, ReadHeads(self.record.round, tuple(sorted(self.files))))
        if not self.settled or self._merged:
            return
        if all(not unmasking.missing for unmasking in self._unmasking):
            self._merged = True
            yield Order(self.worker, MergeMasked(self.record.round, self._groups()))
        elif now >= self._retry_at:
            self._retry_at = after(now, RETRY)
            peers = sorted({node for circle in self.circles for _, node in circle.members})
            for peer in peers:
                yield Send(peer, encode(AskReveal(self.job.id, self.record.round)))
            yield Wake(self._retry_at)

    def read(self, report: Heads) -> None:
        """The heads are known: now it is settled whose updates the sums hold."""
        if report.round != self.record.round or self.settled:
            return
        heads = {self.files[path]: head for path, head in report.heads if head is not None}
        for circle in self.circles:
            self.settled.append(settle(circle, _valid(circle, heads)))
        self._unmasking = [Unmasking(settled) for settled in self.settled]
        early, self._early = self._early, {}
        for _, reveal in sorted(early.items()):
            with suppress(PeerFault):  # What is wrong with it is said when it comes again.
                self._take(reveal)

    def told(self, sender: NodeId, reveal: Reveal) -> None:
        """Somebody's shares; raises PeerFault."""
        circle = next((one for one in self.circles if one.place == reveal.circle), None)
        if circle is None:
            return
        if circle.nodes.get(reveal.lease) != sender:
            raise PeerFault("shares in another's name")
        if self.settled:
            self._take(reveal)
        else:
            self._early[reveal.lease] = reveal  # One of each member: there is no more to keep.

    def _take(self, reveal: Reveal) -> None:
        for unmasking in self._unmasking:
            circle = unmasking.settled.circle
            if circle.place == reveal.circle:
                unmasking.take(circle.nodes[reveal.lease], reveal)

    def _groups(self) -> tuple[MaskedGroup, ...]:
        paths = {lease: path for path, lease in self.files.items()}
        return tuple(
            MaskedGroup(
                tuple(paths[lease] for lease in sorted(unmasking.settled.heads)),
                unmasking.settled.steps,
                unmasking.seeds(),
            )
            for unmasking in self._unmasking
        )


def _valid(circle: Circle, heads: dict[Digest, MaskedHead]) -> dict[Digest, MaskedHead]:
    """Those of the circle that an honest member could have written; everybody finds the same."""
    found = {}
    for lease, head in heads.items():
        try:
            if lease in circle.nodes:
                check_head(circle, lease, head)
                found[lease] = head
        except PeerFault:
            continue
    return found
