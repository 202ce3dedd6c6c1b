"""What people read in a job's log: facts of the ledger, each told once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from dpin.base.ids import JobId, NodeId, short
from dpin.base.units import MICROS_PER_MILLI, Instant, format_tokens
from dpin.ledger.accounts import Job, Lease, LeaseState, Phase, RoundRecord, State, Unit, UnitState
from dpin.ledger.views import holds_live_lease, name_of, open_seats
from dpin.market.appraising import differing, told
from dpin.market.messages import Decline, Reason
from dpin.market.ownjob import OwnJob, RoundTimes

SAID_MAX: Final = 160  # letters of what others say
NAMES_MAX: Final = 8  # of those who did not bid, in one line
BEHIND_MS: Final = 10_000  # clocks differ, and a commit takes a while
TRACE: Final = "trace"  # a note that only `--trace` shows
WHY: Final = {  # reasons of the ledger that do not speak for themselves
    "never-ready": " (it did not say in time that it has the job: it, or the ledger, is busy; "
    "it may take the seat again)",
}
UNIT_FACTS: Final = ("started", "update published", "verifiers seated", "window drawn", "unit")
Value = str | int | None


@dataclass(frozen=True, slots=True)
class Note:
    """One line of a job's log."""

    local_id: str
    kind: str  # phase, lease, round, progress, verify, money, token, end, warning or trace
    text: str
    data: dict[str, Value] = field(default_factory=dict)


def name_of_job(job: JobId) -> str:
    """What `dpin jobs` calls it at those who serve it; every command of its owner takes it, too."""
    return f"j-{short(job)}"


def tell(own: OwnJob, state: State, now: Instant) -> Iterator[Note]:
    """Everything about the job that has not been told yet."""
    if own.job is None:
        return
    for lease_id in own.job.leases:
        yield from _lease(own, state.leases[lease_id], state)
        yield from _lease_hops(own, state.leases[lease_id], state)
    for record in own.job.rounds:
        yield from _round(own, own.job, record, state, now)
    for record in own.job.rounds[own.settled :]:
        units = (state.units.get((lease, record.round)) for lease in record.roster)
        for unit in (unit for unit in units if unit is not None):
            yield from _unit_hops(own, unit, state.leases[unit.lease], state)
            yield from _unit(own, unit, state.leases[unit.lease], state)
    _pass_over(own, own.job, state)


def _pass_over(own: OwnJob, job: Job, state: State) -> None:
    """Closed rounds whose units are all settled: nothing more is to be told of these."""
    while own.settled < len(job.rounds) and job.rounds[own.settled].closed:
        record = job.rounds[own.settled]
        units = [state.units.get((lease, record.round)) for lease in record.roster]
        if any(unit is not None and not unit.state.settled for unit in units):
            return
        for unit in (unit for unit in units if unit is not None):
            own.told -= {_fact(what, unit) for what in UNIT_FACTS}
        own.settled += 1


def _fact(what: str, unit: Unit) -> str:
    return f"{what}:{unit.lease.hex()}:{unit.round}"


def _round(
    own: OwnJob, job: Job, record: RoundRecord, state: State, now: Instant
) -> Iterator[Note]:
    times = own.rounds.get(record.round)
    if times is None:
        times = own.rounds[record.round] = RoundTimes(
            now, missed=record.closed or _behind(state, now)
        )
    if not times.begun_told:
        times.begun_told = True
        roster = [name_of(state, state.leases[lease].provider) for lease in record.roster]
        text = f"round {record.round + 1}/{job.propose.rounds} with {', '.join(roster)}"
        data: dict[str, Value] = {"round": record.round, "participants": len(roster)}
        yield Note(own.local_id, "round", text, data)
    if record.phase == Phase.EXCHANGE and times.exchange is None:
        times.exchange = now
    if record.closed and not times.closed_told:
        times.closed, times.closed_told = times.closed or now, True
        taken = len(record.included)
        text = f"round {record.round + 1} closed with {taken} of {len(record.roster)} updates"
        late = sum(included.age > 0 for included in record.included)
        text += f", {late} of them late" if late else ""
        yield Note(own.local_id, "round", text, {"round": record.round, "included": taken})
    if times.scores and once(own, f"scores:{record.round}"):
        names = {one: name_of(state, state.leases[one].provider) for one in record.roster}
        text, idle = told(own, record.round, names)
        yield Note(own.local_id, "progress", text, {"round": record.round, "idle": idle})
    yield from _witnesses(own, job, record, state)


def _behind(state: State, now: Instant) -> bool:
    """Whether this node is just reading what the ledger has done without it."""
    return state.timestamp_ms > 0 and now // MICROS_PER_MILLI - state.timestamp_ms > BEHIND_MS


def _witnesses(own: OwnJob, job: Job, record: RoundRecord, state: State) -> Iterator[Note]:
    """What witnesses have found, beside the own scores of the round."""
    for node, differs in differing(own.rounds[record.round], job).items():
        if once(own, f"witness:{record.round}:{node.hex()}"):
            said = "finds other scores" if differs else "finds the same scores"
            text = f"round {record.round + 1}: {name_of(state, node)}, a witness, {said}"
            data: dict[str, Value] = {"round": record.round, "witness": node.hex()}
            yield Note(own.local_id, "warning" if differs else "progress", text, data)


def offered(own: OwnJob, job: Job, provider: NodeId, price: int, state: State) -> Iterator[Note]:
    """A provider offers for the first time, or when all seats are taken."""
    if once(own, f"bid:{provider.hex()}"):
        text = f"{name_of(state, provider)} offers at {format_tokens(price)} a unit"
        data: dict[str, Value] = {"hop": "offered", "provider": provider.hex()}
        yield Note(own.local_id, TRACE, text, data)

    late = not open_seats(state, job) and not holds_live_lease(state, job, provider)
    more = len(job.rounds) < job.propose.rounds
    if late and more and once(own, f"late-bid:{provider.hex()}"):
        text = (
            f"the offer of {name_of(state, provider)} at {format_tokens(price)} came too late: "
            "all seats are taken; it stands for the next that opens"
        )
        yield Note(own.local_id, "lease", text, {"provider": provider.hex()})


def without(own: OwnJob, job: Job, silent: Sequence[NodeId], state: State) -> Iterator[Note]:
    """Seats are awarded: who has not offered, and why. Who gave a seat up had offered."""
    declined = own.supply.declines
    said = [
        f"{name_of(state, node)} ({_told(declined[node])})"
        for node in sorted(declined)
        if declined[node].code != Reason.FAULTY and not holds_live_lease(state, job, node)
    ]
    unheard = [
        f"{name_of(state, node)} ({'no answer' if node in own.near else 'not connected'})"
        for node in silent
    ]
    names = [*unheard, *said]
    if names and once(own, f"without:{len(job.leases)}"):
        more = f" and {len(names) - NAMES_MAX} others" if len(names) > NAMES_MAX else ""
        text = f"did not bid: {', '.join(names[:NAMES_MAX])}{more}"
        yield Note(own.local_id, "lease", text, {"silent": len(unheard)})


def _told(decline: Decline) -> str:
    """What a provider says of itself, short and in one line."""
    said = decline.detail or decline.code
    return "".join(letter if letter.isprintable() else "?" for letter in said[:SAID_MAX])


def _lease_hops(own: OwnJob, lease: Lease, state: State) -> Iterator[Note]:
    """What `--trace` shows of a lease."""
    if lease.state in {LeaseState.READY, LeaseState.RUNNING} and once(
        own, f"ready:{lease.id.hex()}"
    ):
        text = f"{name_of(state, lease.provider)} has fetched the state and is ready"
        data: dict[str, Value] = {"hop": "state fetched", "provider": lease.provider.hex()}
        yield Note(own.local_id, TRACE, text, data)


def _unit_hops(own: OwnJob, unit: Unit, lease: Lease, state: State) -> Iterator[Note]:
    """What `--trace` shows of a unit."""
    who, number = name_of(state, lease.provider), unit.round + 1
    verifiers = ", ".join(name_of(state, seat.verifier) for seat in unit.seats)
    steps = unit.commit.steps if unit.commit else 0
    hops = (
        ("started", True, f"{who} works on round {number}"),
        ("update published", steps > 0, f"{who} publishes round {number}, {steps} steps"),
        ("verifiers seated", bool(verifiers), f"{verifiers} check round {number} of {who}"),
        ("window drawn", unit.window >= 0, f"window {unit.window} of round {number} is redone"),
    )
    for hop, holds, text in hops:
        if holds and once(own, _fact(hop, unit)):
            data: dict[str, Value] = {
                "hop": hop,
                "provider": lease.provider.hex(),
                "round": unit.round,
            }
            yield Note(own.local_id, TRACE, text, data)


def once(own: OwnJob, fact: str) -> bool:
    """Whether a fact has not been told before; now it is."""
    if fact in own.told:
        return False
    own.told.add(fact)
    return True


def _lease(own: OwnJob, lease: Lease, state: State) -> Iterator[Note]:
    who = name_of(state, lease.provider)
    data: dict[str, Value] = {"lease": lease.id.hex(), "provider": lease.provider.hex()}
    if once(own, f"award:{lease.id.hex()}"):
        price = format_tokens(lease.price)
        yield Note(own.local_id, "lease", f"{who} takes seat {lease.seat} at {price} a unit", data)
    if lease.stopped and once(own, f"stop:{lease.id.hex()}"):
        why = _given_up(own, lease) or "was lost"
        yield Note(own.local_id, "lease", f"{who} {why}: its seat is open again", data)
    if lease.state == LeaseState.ENDED and lease.reason and once(own, f"end:{lease.id.hex()}"):
        text = f"lease of {who} ended: {lease.reason}{WHY.get(lease.reason, '')}"
        yield Note(own.local_id, "lease", text, data)


def _given_up(own: OwnJob, lease: Lease) -> str:
    """Why a provider has left by itself, as it says; empty where it just was not heard of."""
    said = own.supply.declines.get(lease.provider)
    if said is None or said.code != Reason.FAULTY:
        return ""
    return f"gave the job up ({_told(said)})"


def _unit(own: OwnJob, unit: Unit, lease: Lease, state: State) -> Iterator[Note]:
    if not unit.state.settled or not once(own, _fact("unit", unit)):
        return
    who = name_of(state, lease.provider)
    data: dict[str, Value] = {
        "round": unit.round,
        "provider": lease.provider.hex(),
        "verdict": unit.state.name,
        "reason": unit.reason,
        "paid": unit.paid,
        "lost": unit.lost,
    }
    money = f"paid {format_tokens(unit.paid)}"
    if unit.state in {UnitState.SLASHED, UnitState.LAPSED}:
        money = f"lost {format_tokens(unit.lost)}"
    if unit.state == UnitState.VOID:
        money = "not paid"
    text = f"round {unit.round + 1} of {who}: {unit.state.name} ({unit.reason}), {money}"
    yield Note(own.local_id, "verify", text, data)


def verdicts(job: Job, state: State) -> dict[str, int]:
    """Settled units by state and reason."""
    counts: dict[str, int] = {}
    for record in job.rounds:
        for lease in record.roster:
            unit = state.units.get((lease, record.round))
            if unit is not None and unit.state.settled:
                name = f"{unit.state.name}:{unit.reason}"
                counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))
