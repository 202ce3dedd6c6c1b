"""Lists of jobs, built from what the machines know. Nothing here changes anything."""

from collections.abc import Iterator
from dataclasses import dataclass

from dpin.base.errors import NotFound
from dpin.base.units import Instant
from dpin.ledger.accounts import State
from dpin.market.engagement import Engagement
from dpin.market.ownjob import OwnJob
from dpin.node.peer import Peer
from dpin.node.portrait import Portrait, kind_of, units_of
from dpin.node.served import Mine, Served
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
        """The own job that goes by this prefix of its own or its ledger's id; raises NotFound."""
        found = self._named(prefix)
        if len(found) == 1:
            return found[0]
        if not found and self._served.detail(prefix) is not None:
            raise NotFound(
                f"{prefix} is a job of another node, which this one serves",
                fix=f"its part here: dpin status {prefix}",
            )
        several = f"{len(found)} jobs go by {prefix!r}" if found else f"no job {prefix!r}"
        raise NotFound(several, fix="list them: dpin jobs")

    def _named(self, prefix: str) -> list[OwnJob]:
        wanted = prefix.lower()
        shared = wanted.removeprefix("j-")  # As those who serve the job write it.
        return [
            own
            for own in self.peer.requester.jobs.values()
            if own.local_id.startswith(wanted)
            or (own.ledger_id is not None and own.ledger_id.hex().startswith(shared))
        ]

    def detail(self, prefix: str) -> JobDetail:
        """One job whole: its own, or this node's part in another's; raises NotFound."""
        served = None if self._named(prefix) else self._served.detail(prefix)
        return served or self.portrait(self.own(prefix)).detail()

    @property
    def _served(self) -> Served:
        peer = self.peer
        mine = Mine(peer.key.node_id, peer.genesis.created_ms, peer.provider.engagements)
        return Served(self.state, mine)

    def portrait(self, own: OwnJob) -> Portrait:
        """An own job, to look at closely."""
        return Portrait(self.peer, self.now, own)

    # --- lists ---

    def jobs(self) -> list[JobView]:
        """Own jobs and jobs served, newest first."""
        mine = [self.portrait(own).summary() for own in self.peer.requester.jobs.values()]
        return sorted([*mine, *self._served.views()], key=lambda view: -view.submitted_ms)

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
            role=kind_of(engagement.job.propose),
            state=engagement.phase,
            round=current.round if current else 0,
            step=engagement.pulse.step,
            steps=engagement.pulse.steps,
            tokens_per_second=engagement.pulse.tokens_per_second,
            earned=sum(unit.paid for unit in units_of(self.state, engagement.lease)),
        )
