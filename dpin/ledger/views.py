"""Ways to look at the state; all orders are the same on every node."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest, NodeId, Round, short
from dpin.base.units import MicroTokens
from dpin.ledger.accounts import (
    Included,
    Job,
    Lease,
    LeaseState,
    RoundRecord,
    State,
    Unit,
    UnitKey,
    UnitState,
)
from dpin.ledger.transactions import EVAL

FAILED: Final = (UnitState.VOID, UnitState.SLASHED, UnitState.LAPSED)
LATE_TAG: Final = "dpin/late/v1"
LATE_AGE_MAX: Final = 2  # rounds; what is later is dropped
ERROR_AGE_MAX: Final = 8  # rounds; what an update left over longer ago is forgotten


def live_units(state: State) -> Iterator[tuple[Job, Lease, Unit]]:
    """Every unit whose money has not moved for the last time, by job, round and lease."""
    for job_id in sorted(state.live_jobs):
        job = state.jobs[job_id]
        pending = sum(state.leases[lease].pending for lease in job.leases)
        found: list[list[Unit]] = []  # by round, the newest first
        for record in reversed(job.rounds):
            if not pending:
                break
            units = (state.units.get((lease, record.round)) for lease in record.roster)
            found.append([unit for unit in units if unit is not None and not unit.state.settled])
            pending -= len(found[-1])
        for unit in (unit for units in reversed(found) for unit in units):
            yield job, state.leases[unit.lease], unit


def live_leases(state: State) -> Iterator[tuple[Job, Lease]]:
    """Every lease that has not ended, by job and number."""
    for job_id in sorted(state.live_jobs):
        job = state.jobs[job_id]
        for lease_id in job.leases:
            lease = state.leases[lease_id]
            if lease.state != LeaseState.ENDED:
                yield job, lease


def open_seats(state: State, job: Job) -> int:
    """Seats of a live job that no live lease holds and somebody could still take."""
    if job.state.ended or job.cancelled or len(job.rounds) == job.propose.rounds:
        return 0
    held = sum(
        state.leases[lease].state != LeaseState.ENDED and not state.leases[lease].stopped
        for lease in job.leases
    )
    done = len(evaluated(state, job)) if job.propose.kind == EVAL else 0
    return max(0, job.propose.seats - done - held)


def convicts(state: State, job: Job) -> set[NodeId]:
    """The providers that lost a bond by work of theirs for this job."""
    units = (state.units[lease, record.round] for record in job.rounds for lease in record.roster)
    slashed = (unit.lease for unit in units if unit.state == UnitState.SLASHED)
    return {state.leases[lease].provider for lease in slashed}


def name_of(state: State, node: bytes) -> str:
    """The name that a node has registered, or the start of its id."""
    account = state.accounts.get(NodeId(node))
    if account is None or account.registration is None:
        return short(node)
    return account.registration.name


def late_id(key: UnitKey) -> Digest:
    """How a late update is named where others of its round have their lease's id."""
    return digest(LATE_TAG, encode(list(key)))


def offers(record: RoundRecord) -> dict[Digest, UnitKey]:
    """The units whose updates a round may take, by the name that its members know them by."""
    found = {lease: (lease, record.round) for lease in record.candidates}
    return found | {late_id(key): key for key in record.late}


def made_in(record: RoundRecord, one: Included) -> UnitKey:
    """The unit that an included update is of."""
    return one.lease, Round(record.round - one.age)


def ended_in(job: Job) -> Digest | None:
    """What the last round led to, as more than half of those say who were there to the end.

    None: they do not say so. A lease speaks once, so that what is said here stays.
    """
    words = Counter(said for said in job.said.values() if said != NO_DIGEST)
    return next((said for said, count in words.items() if 2 * count > len(job.said)), None)


def evaluated(state: State, job: Job) -> dict[int, Included]:
    """Of an evaluation, the parts (seats) that are done unless a check still fails."""
    found: dict[int, Included] = {}
    for record in job.rounds:
        for one in record.included:
            unit = state.units[one.lease, record.round]
            if one.steps == job.propose.steps and unit.state not in FAILED:
                found.setdefault(state.leases[one.lease].seat, one)
    return found


def holds_live_lease(state: State, job: Job, provider: NodeId) -> bool:
    """Whether this provider works on this job."""
    return any(
        state.leases[lease].provider == provider and state.leases[lease].state != LeaseState.ENDED
        for lease in job.leases
    )


def checkers(unit: Unit) -> list[NodeId]:
    """Who is paid for checking a unit that was not slashed: those that revealed.

    Where no leaf was ever shown to them, those that sealed.
    """
    if unit.state == UnitState.LAPSED and unit.opened is None:
        return [seat.verifier for seat in unit.seats if seat.sealed is not None]
    return [seat.verifier for seat in unit.seats if seat.reveal is not None]


def unit_cost(job: Job, unit: Unit) -> MicroTokens:
    """What a settled unit has cost its requester: the work, and the checks that were made."""
    if unit.state not in {UnitState.PAID, UnitState.VOID, UnitState.LAPSED}:
        return MicroTokens(0)
    checks = unit.verifier_fee // max(1, job.propose.verifiers) * len(checkers(unit))
    if unit.state != UnitState.PAID or unit.commit is None:
        return MicroTokens(checks)
    return MicroTokens(unit.price * unit.commit.steps // job.propose.steps + checks)


def job_cost(state: State, job: Job) -> MicroTokens:
    """What a job has cost so far, without what is still in escrow."""
    units = (
        state.units.get((lease, record.round)) for record in job.rounds for lease in record.roster
    )
    return MicroTokens(sum(unit_cost(job, unit) for unit in units if unit is not None))


def left_over(state: State, lease: Digest, round_: int) -> dict[Digest, int]:
    """What the lease's updates left over: roots of its last commits, newest first, and their age.

    An age is in rounds, 1 for the round before `round_`.
    """
    found: dict[Digest, int] = {}
    for age in range(1, ERROR_AGE_MAX + 1):
        unit = state.units.get((lease, Round(round_ - age)))
        if unit is not None and unit.commit is not None:
            found.setdefault(unit.commit.error_buffer, age)
    found.pop(NO_DIGEST, None)
    return found
