"""What the owner of a provider reads in its log: offers, leases, units, money, each told once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from dpin.base.ids import Digest, JobId, Round
from dpin.base.units import MicroTokens, format_tokens
from dpin.ledger.accounts import Job, Lease, LeaseState, State, Unit, UnitState
from dpin.ledger.views import name_of
from dpin.market.engagement import Engagement
from dpin.market.story import SAID_MAX, Value

FINED: Final = frozenset({UnitState.SLASHED, UnitState.LAPSED})


@dataclass(frozen=True, slots=True)
class Deed:
    """One line of a node's log about a job of somebody else's."""

    event: str
    job: JobId
    data: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class _Told:
    """What has been said of one lease."""

    job: JobId
    state: LeaseState
    failed: str = ""
    units: dict[Round, UnitState] = field(default_factory=dict)  # from round `since` on
    since: int = 0  # of rounds before it all has been said
    earned: int = 0


class Chronicle:
    """Of one provider. It follows the leases that it was shown until nothing is open about them."""

    def __init__(self) -> None:
        self._leases: dict[Digest, _Told] = {}
        self._offered: set[JobId] = set()

    @property
    def followed(self) -> int:
        """How many leases something may still be said of."""
        return len(self._leases)

    def bid(self, job: Job, price: MicroTokens, state: State) -> Iterator[Deed]:
        """An offer to work on a job is sent: said once a job."""
        if job.id not in self._offered:
            self._offered = {one for one in self._offered if one in state.live_jobs} | {job.id}
            who = name_of(state, job.requester)
            yield Deed("job-bid", job.id, {"requester": who, "price": format_tokens(price)})

    def declined(self, job: Job, code: str, detail: str) -> Deed:
        """No offer is sent, and why."""
        return Deed("job-declined", job.id, {"reason": _printable(detail or code)})

    def follow(self, state: State, engagements: Mapping[Digest, Engagement]) -> Iterator[Deed]:
        """What has become of this node's leases."""
        for lease_id, engagement in engagements.items():
            if lease_id not in self._leases:
                if _is_over(state.leases.get(lease_id)):
                    continue  # It only merges the last round.
                yield from self._begin(state, engagement)
            yield from self._failing(engagement)
        for lease_id, told in list(self._leases.items()):
            lease = state.leases.get(lease_id)
            if lease is None:  # The ledger has forgotten it, or this node has missed its end.
                del self._leases[lease_id]
                continue
            yield from self._units(state, lease, told)
            yield from _lease(lease, told)
            if _is_over(lease):
                del self._leases[lease_id]

    def _begin(self, state: State, engagement: Engagement) -> Iterator[Deed]:
        lease, job = engagement.lease, engagement.job
        told = self._leases[lease.id] = _Told(job.id, lease.state)
        for unit in _units_of(state, lease):  # Of before a restart: said then, or never.
            told.earned += unit.paid
            if unit.state != UnitState.RUNNING:
                told.units[unit.round] = unit.state
        data: dict[str, Value] = {
            "requester": name_of(state, job.requester),
            "seat": lease.seat,
            "rounds": job.propose.rounds,
            "price": format_tokens(lease.price),
        }
        yield Deed("job-lease", job.id, data)

    def _failing(self, engagement: Engagement) -> Iterator[Deed]:
        told = self._leases[engagement.lease.id]
        reason = engagement.failed or engagement.files.fault
        if reason and not told.failed:
            told.failed = reason
            yield Deed("job-given-up", told.job, {"reason": _printable(reason)})

    def _units(self, state: State, lease: Lease, told: _Told) -> Iterator[Deed]:
        for unit in _units_of(state, lease, told.since):
            before = told.units.get(unit.round)
            if before is not None and (before.settled or not unit.state.settled):
                continue
            told.units[unit.round] = unit.state
            data: dict[str, Value] = {"round": unit.round + 1}
            if before is None:
                yield Deed("job-round", told.job, data)
            if unit.state.settled:
                told.earned += unit.paid
                yield _settled(unit, told.job, data)
        _pass_over(state, lease, told)


def _is_over(lease: Lease | None) -> bool:
    """Whether nothing more can become of it."""
    return lease is None or (lease.state == LeaseState.ENDED and not lease.pending)


def _pass_over(state: State, lease: Lease, told: _Told) -> None:
    """Closed rounds in which the lease has no unit, or one that is settled."""
    rounds = state.jobs[lease.job].rounds
    while told.since < len(rounds) and rounds[told.since].closed:
        unit = state.units.get((lease.id, rounds[told.since].round))
        if unit is not None and not unit.state.settled:
            return
        told.units.pop(rounds[told.since].round, None)
        told.since += 1


def _units_of(state: State, lease: Lease, since: int = 0) -> Iterator[Unit]:
    """The lease's units, by round."""
    for record in state.jobs[lease.job].rounds[since:]:
        unit = state.units.get((lease.id, record.round))
        if unit is not None:
            yield unit


def _lease(lease: Lease, told: _Told) -> Iterator[Deed]:
    if lease.state == told.state:
        return
    told.state = lease.state
    if lease.state == LeaseState.READY:
        yield Deed("job-ready", told.job)
    elif lease.state == LeaseState.ENDED:
        data: dict[str, Value] = {"reason": lease.reason, "unsettled": lease.pending}
        yield Deed("job-ended", told.job, {**data, "earned": format_tokens(told.earned)})


def _settled(unit: Unit, job: JobId, data: dict[str, Value]) -> Deed:
    why: dict[str, Value] = {**data, "reason": unit.reason}
    if unit.state == UnitState.PAID:
        return Deed("job-paid", job, {**why, "paid": format_tokens(unit.paid)})
    if unit.state in FINED:
        return Deed("job-fined", job, {**why, "lost": format_tokens(unit.lost)})
    return Deed("job-unpaid", job, why)


def _printable(words: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in words[:SAID_MAX])
