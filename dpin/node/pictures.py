"""Lists of jobs, built from what the machines know. Nothing here changes anything."""

from collections.abc import Iterator
from dataclasses import dataclass

from dpin.base.errors import NotFound
from dpin.base.units import Instant
from dpin.ledger.accounts import Lease, State
from dpin.market.engagement import Engagement
from dpin.market.ownjob import OwnJob
from dpin.market.story import name_of
from dpin.node.peer import Peer
from dpin.node.portrait import Portrait, kind_of, lease_view, units_of
from dpin.node.status import JobDetail, JobView, ServingView


@dataclass(frozen=True, slots=True)
class Gallery:
    """All views of jobs of one node at one moment."""

    peer: Peer
    now: Instant

    @property
    def state(self) -> State:
        """The ledger's state."""
        return self.peer.state

    # --- which job ---

    def own(self, prefix: str) -> OwnJob:
        """The own job that goes by this prefix of a local or ledger id; raises NotFound."""
        found = self._named(prefix)
        if len(found) == 1:
            return found[0]
        if not found and self._served_as(prefix):
            raise NotFound(
                f"{prefix} is a job of another node, which this one serves",
                fix=f"its part here: dpin status {prefix}",
            )
        several = f"{len(found)} jobs go by {prefix!r}" if found else f"no job {prefix!r}"
        raise NotFound(several, fix="list them: dpin jobs")

    def _named(self, prefix: str) -> list[OwnJob]:
        wanted = prefix.lower()
        return [
            own
            for own in self.peer.requester.jobs.values()
            if own.local_id.startswith(wanted)
            or (own.ledger_id is not None and own.ledger_id.hex().startswith(wanted))
        ]

    def _served_as(self, prefix: str) -> list[Lease]:
        """Leases of this node for the one job that goes by this prefix, the oldest first."""
        wanted = prefix.lower().removeprefix("j-")
        found = [lease for lease in self._leases() if lease.job.hex().startswith(wanted)]
        return found if len({lease.job for lease in found}) == 1 else []

    def detail(self, prefix: str) -> JobDetail:
        """One job whole: its own, or this node's part in another's; raises NotFound."""
        served = [] if self._named(prefix) else self._served_as(prefix)
        if not served:
            return self.portrait(self.own(prefix)).detail()
        return JobDetail(
            job=self._served_view(served[-1]),
            phases=[],
            leases=[lease_view(self.state, lease) for lease in served],
            rounds=[],
            holdout_before=None,
            holdout_after=None,
            output=None,
            files=[],
            verdicts={},
        )

    def portrait(self, own: OwnJob) -> Portrait:
        """An own job, to look at closely."""
        return Portrait(self.peer, self.now, own)

    # --- lists ---

    def jobs(self) -> list[JobView]:
        """Own jobs and jobs served, newest first."""
        mine = [self.portrait(own).summary() for own in self.peer.requester.jobs.values()]
        served = [self._served_view(lease) for lease in self._leases()]
        return sorted([*mine, *served], key=lambda view: -view.submitted_ms)

    def serving(self) -> list[ServingView]:
        """What this node works on for others."""
        leases = [self._serving_view(engagement) for engagement in self._engagements()]
        checks = [
            ServingView(
                job=job.hex()[:8],
                lease=lease.hex()[:8],
                role="check",
                state=self.state.units[lease, round_].state.name.lower(),
                round=round_,
                step=0,
                steps=0,
                tokens_per_second=0,
                earned=0,
            )
            for (lease, round_), job in self.peer.verifier.checking
        ]
        return [*leases, *checks]

    def _engagements(self) -> Iterator[Engagement]:
        return iter(self.peer.provider.engagements.values())

    def _serving_view(self, engagement: Engagement) -> ServingView:
        current = engagement.job.current
        return ServingView(
            job=engagement.job.id.hex()[:8],
            lease=engagement.lease.id.hex()[:8],
            role=kind_of(engagement.job.propose.kind),
            state=engagement.phase,
            round=current.round if current else 0,
            step=engagement.pulse.step,
            steps=engagement.pulse.steps,
            tokens_per_second=engagement.pulse.tokens_per_second,
            earned=sum(unit.paid for unit in units_of(self.state, engagement.lease)),
        )

    def _leases(self) -> list[Lease]:
        """What this node has worked on for others, as long as the ledger remembers it."""
        me = self.peer.key.node_id
        found = [lease for lease in self.state.leases.values() if lease.provider == me]
        return sorted(found, key=lambda lease: (lease.job, lease.number))

    def _served_view(self, lease: Lease) -> JobView:
        job = self.state.jobs[lease.job]
        current = job.current
        engagement = self.peer.provider.engagements.get(lease.id)
        fault = (engagement.failed or engagement.files.fault) if engagement else lease.reason
        return JobView(
            id=f"j-{job.id.hex()[:8]}",
            ledger_id=job.id.hex(),
            name=f"for {name_of(self.state, job.requester)}",
            kind=kind_of(job.propose.kind),
            role="served",
            state=engagement.phase if engagement else lease.state.name.lower(),
            reason=fault,
            round=current.round if current else len(job.rounds),
            rounds=job.propose.rounds,
            participants=len(current.roster) if current else 0,
            seats=job.propose.seats,
            cost=0,
            cost_max=0,
            submitted_ms=self.peer.genesis.created_ms + job.opened_at,
            finished_ms=None,
            earned=sum(unit.paid - unit.lost for unit in units_of(self.state, lease)),
        )
