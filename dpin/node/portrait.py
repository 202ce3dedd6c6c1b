"""Views of one own job, built from what the machines know. Nothing here changes anything."""

from collections.abc import Iterator
from dataclasses import dataclass

from dpin.base.ids import Digest, NodeId
from dpin.base.units import MICROS_PER_MILLI, MILLION, Instant
from dpin.compute.tallies import summary
from dpin.ledger.accounts import Lease, LeaseState, RoundRecord, State, Unit, registered
from dpin.ledger.transactions import EVAL, INFER, TRAIN, Propose
from dpin.ledger.views import job_cost, live_leases, name_of, open_seats
from dpin.market.appraising import differing
from dpin.market.messages import Heartbeat, Reason
from dpin.market.offers import cost_max
from dpin.market.orders import TrainOrder
from dpin.market.ownjob import OwnJob, RoundTimes, Stage
from dpin.market.story import verdicts
from dpin.node.asking import too_cheap
from dpin.node.ordering import type_of
from dpin.node.peer import Peer
from dpin.node.roundviews import BudgetView, ClientView, RoundView, ScoreView, WitnessView
from dpin.node.status import (
    Decline,
    ExplainView,
    JobDetail,
    JobView,
    LeaseView,
    PhaseView,
    UnitView,
)

NO_PROVIDER = "no-provider"  # the ledger's reason
FIXES = {
    Reason.PRICE: "raise limits.cost, or lower args.rounds",
    Reason.MEMORY: "lower resources.memory",
    Reason.DISK: "its operator raises share.disk, or the job has less data or fewer seats",
    Reason.BUSY: "wait, or let more nodes join",
    Reason.STAKE: "the provider must stake more: it needs tokens",
    Reason.FINGERPRINT: "providers and requester need the same torch build and device kind",
    Reason.FAULTY: "another provider takes its place",
    Reason.DATASET: "its owner declares it: jobs.datasets in the config",
    Reason.CODE: "its operator allows it: jobs.custom_code in the config",
    Reason.DRAINING: "wait for another provider",
}


@dataclass(frozen=True, slots=True)
class Portrait:
    """One own job at one moment."""

    peer: Peer
    now: Instant
    own: OwnJob

    @property
    def state(self) -> State:
        """The ledger's state."""
        return self.peer.state

    def summary(self) -> JobView:
        """The job in a list."""
        own = self.own
        job, propose = own.job, own.propose
        params = self.peer.params
        current = job.current if job else None
        train = own.order if isinstance(own.order, TrainOrder) else None
        return JobView(
            id=own.local_id,
            ledger_id=job.id.hex() if job else None,
            name=own.order.name,
            kind=type_of(own.order),
            role="mine",
            state=own.stage.value,
            reason=own.reason,
            round=(current.round if current else len(job.rounds)) if job else 0,
            rounds=train.rounds if train else 1,
            participants=len(current.roster) if current else 0,
            seats=train.seats if train else 1,
            cost=job_cost(self.state, job) if job else 0,
            cost_max=cost_max(params, propose) if propose else own.order.budget,
            submitted_ms=own.submitted // MICROS_PER_MILLI,
            finished_ms=own.finished // MICROS_PER_MILLI if own.finished else None,
        )

    def detail(self) -> JobDetail:
        """The job, whole."""
        own = self.own
        job = own.job
        order = own.order
        return JobDetail(
            job=self.summary(),
            phases=[self._phase_view(index) for index in range(len(own.phases))],
            leases=[lease_view(self.state, self.state.leases[lease]) for lease in job.leases]
            if job
            else [],
            rounds=[self._round_view(record) for record in job.rounds] if job else [],
            holdout_before=nats(own.holdout_before),
            holdout_after=nats(own.holdout_after),
            output=order.output if isinstance(order, TrainOrder) else None,
            files=[name.removeprefix(f"{order.output}/") for name in own.output_files],
            verdicts=verdicts(job, self.state) if job else {},
            evaluation=self._evaluation(),
            budget=self._budget(),
        )

    def _budget(self) -> BudgetView | None:
        order = self.own.order
        if not isinstance(order, TrainOrder) or not order.privacy.noised:
            return None
        return BudgetView(
            epsilon=self.own.epsilon_milli / 1000,
            epsilon_max=order.privacy.epsilon_milli / 1000,
            delta=10.0**-order.privacy.delta_digits,
        )

    def _evaluation(self) -> dict[str, float | None] | None:
        own = self.own
        if own.evaluation is None or not isinstance(own.order, TrainOrder):
            return None
        return summary(own.evaluation.tally, own.order.text_bytes)

    def _phase_view(self, index: int) -> PhaseView:
        own = self.own
        phase = own.phases[index]
        ended = phase.ended if phase.ended is not None else self.now
        last = index == len(own.phases) - 1
        state = "done" if phase.ended is not None else "running"
        return PhaseView(
            name=phase.name,
            state="failed" if last and own.stage == Stage.FAILED else state,
            since_ms=phase.began // MICROS_PER_MILLI,
            elapsed_ms=(ended - phase.began) // MICROS_PER_MILLI,
            detail=phase.detail,
        )

    def _round_view(self, record: RoundRecord) -> RoundView:
        times = self.own.rounds.get(record.round, RoundTimes(self.now))
        exchange = times.exchange if times.exchange is not None else self.now
        closed = times.closed if times.closed is not None else self.now
        if times.missed:
            exchange = closed = times.began
        return RoundView(
            round=record.round,
            participants=[self._who(lease) for lease in record.roster],
            included=len(record.included),
            loss=nats(times.loss_micronats or None),
            holdout=nats(times.holdout_micronats),
            tokens_per_second=times.tokens_per_second or None,
            started_ms=times.began // MICROS_PER_MILLI,
            train_ms=max(0, exchange - times.began) // MICROS_PER_MILLI,
            exchange_ms=max(0, closed - exchange) // MICROS_PER_MILLI,
            state_hash=record.state_hash.hex() if record.state_hash else None,
            update_bytes=times.update_bytes,
            missed=times.missed,
            scores=[
                ScoreView(name=self._who(one.lease), assigned=one.assigned, other=one.other)
                for one in times.scores
            ],
            witnesses=self._witnesses(times),
            clients=[self._client_view(times.beats[lease]) for lease in sorted(times.beats)],
            epsilon=times.epsilon_milli / 1000 if times.epsilon_milli else None,
        )

    def _client_view(self, beat: Heartbeat) -> ClientView:
        return ClientView(
            name=self._who(beat.lease),
            steps=beat.step,
            loss=nats(beat.loss_micronats or None),
            tokens_per_second=beat.tokens_per_second,
        )

    def _witnesses(self, times: RoundTimes) -> list[WitnessView]:
        found = differing(times, self.own.job) if self.own.job is not None else {}
        return [
            WitnessView(name=name_of(self.state, node), node=node.hex(), differs=differs)
            for node, differs in found.items()
        ]

    def _who(self, lease: Digest) -> str:
        return name_of(self.state, self.state.leases[lease].provider)

    def explain(self) -> ExplainView:
        """Why the job stands where it stands."""
        own = self.own
        declines = [
            Decline(
                provider=node.hex(),
                name=name_of(self.state, node),
                code=decline.code,
                detail=decline.detail,
                fix=FIXES.get(Reason(decline.code), "") if decline.code in set(Reason) else "",
            )
            for node, decline in sorted(own.supply.declines.items())
        ]
        since = own.phases[-1].began if own.phases else own.submitted
        summary, next_step = self._why(len(declines))
        return ExplainView(
            job=own.local_id,
            state=own.stage.value,
            summary=summary,
            since_ms=since // MICROS_PER_MILLI,
            providers_seen=len(others(self.peer)),
            bids=len(own.supply.bids),
            declines=declines,
            next_step=next_step,
        )

    def _why(self, declines: int) -> tuple[str, str]:
        own, job = self.own, self.own.job
        if own.stage.ended:
            return self._why_it_ended()
        if job is None:
            return "the data are being prepared and the job funded", "wait"
        missing = open_seats(self.state, job)
        if missing:
            seen, bids = len(others(self.peer)), len(own.supply.bids)
            summary = (
                f"{missing} of {job.propose.seats} seats are open: {seen} providers known, "
                f"{bids} offer, {declines} decline"
            )
            wait = "it is awarded as soon as enough offer; `declines` says why others do not"
            return summary, wait
        live = [lease for found, lease in live_leases(self.state) if found.id == job.id]
        waiting = [lease for lease in live if lease.state == LeaseState.AWARDED]
        if waiting:
            names = ", ".join(name_of(self.state, lease.provider) for lease in waiting)
            return f"{names} fetch the data and load the model", "wait"
        current = job.current
        if current is not None:
            return f"round {current.round + 1} of {job.propose.rounds} is under way", "wait"
        return "the last units are being checked", "wait"

    def _why_it_ended(self) -> tuple[str, str]:
        own, job = self.own, self.own.job
        if job is not None and NO_PROVIDER in own.reason:
            declines, known = own.supply.declines.values(), len(others(self.peer))
            prices = too_cheap(self.peer.params, job.propose, declines, known)
            if prices is not None:
                return f"{own.reason}: {prices[0]}", prices[1]
        return own.reason or own.stage.value, ""


def lease_view(state: State, lease: Lease) -> LeaseView:
    """One provider's part in a job."""
    return LeaseView(
        lease=lease.id.hex(),
        provider=lease.provider.hex(),
        name=name_of(state, lease.provider),
        seat=lease.seat,
        state="stopped" if lease.stopped else lease.state.name.lower(),
        reason=lease.reason,
        price=lease.price,
        units=[_unit_view(state, unit) for unit in units_of(state, lease)],
    )


def _unit_view(state: State, unit: Unit) -> UnitView:
    return UnitView(
        round=unit.round,
        state=unit.state.name.lower(),
        reason=unit.reason,
        steps=unit.commit.steps if unit.commit else 0,
        paid=unit.paid,
        lost=unit.lost,
        verifiers=[name_of(state, seat.verifier) for seat in unit.seats],
        window=unit.window,
    )


def units_of(state: State, lease: Lease) -> Iterator[Unit]:
    """The units of a lease, in order of rounds."""
    for record in state.jobs[lease.job].rounds:
        unit = state.units.get((lease.id, record.round))
        if unit is not None:
            yield unit


def others(peer: Peer) -> list[NodeId]:
    """Everybody who has registered to take jobs, but for this node."""
    me, state = peer.key.node_id, peer.state
    return [
        node for node in sorted(registered(state.accounts)) if node != me and _provides(state, node)
    ]


def _provides(state: State, node: NodeId) -> bool:
    registration = state.accounts[node].registration
    return registration is not None and registration.provides


def kind_of(job: Propose) -> str:
    """A job's type as its file calls it, as far as the ledger tells."""
    if job.kind == TRAIN and job.verifiers == 0:  # Data that stay where they are: none can replay.
        return "federated"
    return {TRAIN: "train", INFER: "inference", EVAL: "eval"}.get(job.kind, "?")


def nats(micronats: int | None) -> float | None:
    """A loss for people."""
    return None if micronats is None else micronats / MILLION
