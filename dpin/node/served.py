"""Jobs of others that this node works on, or has worked on, as its owner sees them."""

from collections.abc import Mapping
from dataclasses import dataclass

from dpin.base.ids import Digest, NodeId
from dpin.ledger.accounts import Lease, State
from dpin.ledger.views import name_of
from dpin.market.engagement import Engagement
from dpin.market.story import name_of_job
from dpin.node.portrait import kind_of, lease_view, units_of
from dpin.node.status import JobDetail, JobView


@dataclass(frozen=True, slots=True)
class Mine:
    """Whose leases they are, and how those under way stand."""

    node: NodeId
    created_ms: int  # when the ledger's time began
    engagements: Mapping[Digest, Engagement]


@dataclass(frozen=True, slots=True)
class Served:
    """A node's part in jobs of others, as long as the ledger remembers it."""

    state: State
    mine: Mine

    def views(self) -> list[JobView]:
        """One line a lease."""
        return [self._view(lease) for lease in self._leases()]

    def detail(self, prefix: str) -> JobDetail | None:
        """The node's leases of the one job that goes by this prefix of its id, or None."""
        wanted = prefix.lower().removeprefix("j-")
        found = [lease for lease in self._leases() if lease.job.hex().startswith(wanted)]
        if len({lease.job for lease in found}) != 1:
            return None
        return JobDetail(
            job=self._view(found[-1]),
            phases=[],
            leases=[lease_view(self.state, lease) for lease in found],
            rounds=[],
            holdout_before=None,
            holdout_after=None,
            output=None,
            files=[],
            verdicts={},
        )

    def _leases(self) -> list[Lease]:
        found = [one for one in self.state.leases.values() if one.provider == self.mine.node]
        return sorted(found, key=lambda lease: (lease.job, lease.number))

    def _view(self, lease: Lease) -> JobView:
        job = self.state.jobs[lease.job]
        current = job.current
        engagement = self.mine.engagements.get(lease.id)
        return JobView(
            id=name_of_job(job.id),
            ledger_id=job.id.hex(),
            name=f"for {name_of(self.state, job.requester)}",
            kind=kind_of(job.propose),
            role="served",
            state=engagement.phase if engagement else lease.state.name.lower(),
            reason=(engagement.failed or engagement.files.fault) if engagement else lease.reason,
            round=current.round if current else len(job.rounds),
            rounds=job.propose.rounds,
            participants=len(current.roster) if current else 0,
            seats=job.propose.seats,
            cost=0,
            cost_max=0,
            submitted_ms=self.mine.created_ms + job.opened_at,
            finished_ms=None,
            earned=sum(unit.paid - unit.lost for unit in units_of(self.state, lease)),
        )
