"""A job's rounds (S1): start, train, exchange, close; then the next, a pause, or the end.

`advance` looks at a job and takes every step that is possible now. It is called for each job that
an operation or a deadline has stirred, and does nothing where nothing has changed.
"""

from collections import Counter

from dpin.base.codec import decode
from dpin.base.ids import ID_BYTES, NO_DIGEST, Digest, NodeId, Round
from dpin.base.leaf import Leaf
from dpin.base.units import Tick, ceil_div
from dpin.ledger import leases, money
from dpin.ledger.accounts import (
    Included,
    Job,
    JobState,
    Lease,
    LeaseState,
    Phase,
    RoundRecord,
    Unit,
    UnitKey,
    UnitState,
)
from dpin.ledger.agenda import job_due, round_due, unit_due
from dpin.ledger.book import Book
from dpin.ledger.params import grace_for, ticks_for
from dpin.ledger.reasons import Reason, require
from dpin.ledger.transactions import EVAL, INFER, TRAIN, Commit, Have, LastState
from dpin.ledger.views import FAILED, LATE_AGE_MAX, evaluated, offers


def have(book: Book, sender: NodeId, operation: Have) -> None:
    """A roster member says which of the candidates it holds; saying more adds to it."""
    lease = book.own_lease(operation.lease, sender)
    job = book.job(lease.job)
    record = book.record(job)
    exchanging = record is not None and record.phase == Phase.EXCHANGE
    require(exchanging, Reason.NOT_EXCHANGING)
    assert record is not None, "the line above refuses"
    require(operation.round == record.round, Reason.NOT_EXCHANGING)
    require(book.state.tick < record.deadline, Reason.TOO_LATE)
    member = lease.id in record.roster and lease.state != LeaseState.ENDED
    require(member, Reason.NOT_IN_ROSTER)
    ascending = sorted(set(operation.held)) == list(operation.held)
    require(ascending and all(len(one) == ID_BYTES for one in operation.held), Reason.BAD_FIELD)
    require(set(operation.held) <= offers(record).keys(), Reason.NOT_A_CANDIDATE)
    before = record.haves.get(lease.id, ())
    record.haves[lease.id] = tuple(sorted({*before, *operation.held}))


def last_state(book: Book, sender: NodeId, operation: LastState) -> None:
    """Whoever was there to the end says, once, what the job has come to; nobody waits for it."""
    lease = book.own_lease(operation.lease, sender)
    job = book.job(lease.job)
    state = operation.state_hash
    require(len(state) == ID_BYTES and state != NO_DIGEST, Reason.BAD_FIELD)
    require(lease.id in job.said, Reason.NOT_IN_ROSTER)
    require(book.state.tick < job.deadline, Reason.TOO_LATE)
    require(job.said[lease.id] == NO_DIGEST, Reason.ALREADY_SAID)
    job.said[lease.id] = state


def advance(book: Book, job: Job) -> None:
    """Take every step of this job that is possible now."""
    while _step(book, job):
        book.job(job.id)


def _step(book: Book, job: Job) -> bool:
    """Take one step; whether there was one."""
    if job.state.ended:
        return False
    if job.state == JobState.SETTLING:
        return _finish(book, job)
    record = book.record(job)
    if record is None:
        return _between_rounds(book, job)
    if record.phase == Phase.TRAIN and _trained(book, job, record):
        _freeze(book, job, record)
        return True
    if record.phase == Phase.EXCHANGE and _exchanged(book, record):
        _close(book, job, record)
        return True
    return False


# --- between rounds ----------------------------------------------------------------------------


def _between_rounds(book: Book, job: Job) -> bool:
    if job.propose.kind == EVAL and not job.cancelled and job.rounds:
        step = _between_parts(book, job)
        if step is not None:
            return step
    if job.cancelled or len(job.rounds) == job.propose.rounds:
        _wind_up(book, job, job.reason)
        return True
    waiting = book.leases_of(job, LeaseState.AWARDED)
    ready = book.leases_of(job, LeaseState.READY, LeaseState.RUNNING)
    over = book.state.tick >= job.deadline
    if ready and (job.rounds or len(ready) == job.propose.seats or (over and not waiting)):
        _start(book, job, ready)
        return True
    if over and not ready and not waiting:
        _wind_up(book, job, "no-provider")
        return True
    return False


def _between_parts(book: Book, job: Job) -> bool | None:
    """Of an evaluation: whose part is done is let go; the end, once none is missing.

    None: the job goes on like any other. What is being checked may yet turn out to be void, so
    nothing ends before all checks; and with parts missing where no round is left for them.
    """
    done = evaluated(book.state, job)
    for lease in book.leases_of(job, LeaseState.READY, LeaseState.RUNNING):
        if lease.seat in done:
            leases.end(book, lease, "done")
    missing = job.propose.seats - len(done)
    if missing and len(job.rounds) < job.propose.rounds:
        return None
    if any(book.state.leases[lease].pending for lease in job.leases):
        return False
    _wind_up(book, job, "parts-missing" if missing else "")
    return True


def _wind_up(book: Book, job: Job, reason: str) -> None:
    """No further round: all leases end; what is pending is settled first."""
    job.state, job.reason = JobState.SETTLING, reason
    book.agenda.drop(job_due(job.id))
    if job.propose.kind == TRAIN and job.rounds:
        # As long as they would have had for the commit that begins with it.
        job.said = dict.fromkeys(_live(book, job.rounds[-1]), NO_DIGEST)
        job.deadline = book.in_ticks(_time_for(book, job))
    for lease in book.leases_of(job, LeaseState.AWARDED, LeaseState.READY, LeaseState.RUNNING):
        leases.end(book, lease, reason or "done")


def _finish(book: Book, job: Job) -> bool:
    """End the job once every unit is settled; what is left of the escrow goes back."""
    if any(book.state.leases[lease].pending for lease in job.leases):
        return False
    money.refund(book, job, job.escrow)
    if job.cancelled:
        job.state = JobState.CANCELLED
    else:
        job.state = JobState.EXPIRED if job.reason else JobState.DONE
    book.state.live_jobs.discard(job.id)
    return True


def _start(book: Book, job: Job, roster: list[Lease]) -> None:
    """Open the next round with everybody who is ready; each gets a unit."""
    round_, deadline = Round(len(job.rounds)), book.in_ticks(_time_for(book, job))
    job.rounds.append(RoundRecord(round_, sorted(lease.id for lease in roster), deadline))
    job.state = JobState.RUNNING
    book.record(job)
    book.agenda.drop(job_due(job.id))
    book.agenda.set(round_due(job.id), deadline)
    for lease in roster:
        _start_unit(book, job, lease, deadline)


def _time_for(book: Book, job: Job) -> Tick:
    """Ticks that a unit may take at most, from the start of its round."""
    params = book.params
    return ticks_for(params, params.commit_ticks, job.propose.unit_ms, params.commit_expected_ppm)


def _start_unit(book: Book, job: Job, lease: Lease, deadline: Tick) -> None:
    round_ = job.rounds[-1].round
    book.lease(lease.id)
    lease.state = LeaseState.RUNNING
    lease.pending += 1
    if lease.first_round < 0:
        lease.first_round = round_
    fee = money.verifier_fee(book.params, job.propose, lease.price)
    book.state.units[lease.id, round_] = Unit(
        lease.id, round_, lease.price, fee, UnitState.RUNNING, deadline
    )
    book.unit(lease.id, round_)
    book.agenda.set(unit_due(lease.id, round_), deadline)


# --- inside a round ----------------------------------------------------------------------------


def _live(book: Book, record: RoundRecord) -> list[Digest]:
    """The roster without those whose lease has ended."""
    leases_ = book.state.leases
    return [lease for lease in record.roster if leases_[lease].state != LeaseState.ENDED]


def _commits(book: Book, record: RoundRecord) -> dict[Digest, Commit]:
    """What was committed in this round so far, by lease, in roster order."""
    units = {lease: book.state.units[lease, record.round] for lease in record.roster}
    return {lease: unit.commit for lease, unit in units.items() if unit.commit is not None}


def _trained(book: Book, job: Job, record: RoundRecord) -> bool:
    """Whether all live members are through, or a quorum's grace or the time is over."""
    live = _live(book, record)
    units = (book.state.units[lease, record.round] for lease in live)
    if not any(unit.state == UnitState.RUNNING for unit in units):
        return True
    quorum = min(job.propose.quorum or ceil_div(len(live), 2), len(live))
    if record.quorum_at is None and len(_commits(book, record)) >= quorum:
        record.quorum_at = book.state.tick
        record.deadline = min(record.deadline, book.in_ticks(_grace(book, job, record)))
        book.agenda.set(round_due(job.id), record.deadline)
    return book.state.tick >= record.deadline


def _grace(book: Book, job: Job, record: RoundRecord) -> Tick:
    """To be asked before the deadline is moved: it tells when the round began."""
    took = book.state.tick - (record.deadline - _time_for(book, job))
    return grace_for(book.params.grace_ticks, took)


def _freeze(book: Book, job: Job, record: RoundRecord) -> None:
    """Fix the candidates: commits so far that started from what most of them started from."""
    commits = _commits(book, record)
    starts = {
        lease: decode(Leaf, commit.first.leaf).parameters for lease, commit in commits.items()
    }
    counts = Counter(starts.values())
    record.state_hash = min(counts, key=lambda start: (-counts[start], start), default=None)
    record.candidates = [lease for lease in starts if starts[lease] == record.state_hash]
    record.late = _latecomers(book, job, record)
    record.phase = Phase.EXCHANGE
    record.deadline = book.in_ticks(book.params.have_ticks)
    book.agenda.set(round_due(job.id), record.deadline)
    if job.propose.kind == INFER:  # Nothing is merged, so nobody has to hold anything.
        record.haves = {lease: tuple(record.candidates) for lease in _live(book, record)}


def _latecomers(book: Book, job: Job, record: RoundRecord) -> list[UnitKey]:
    """Units of the last rounds that were committed after their round had fixed its candidates.

    Each is offered once. Only what verifiers can replay is: of anything else a late commit could be
    a copy of what its round has shown meanwhile.
    """
    if job.propose.kind != TRAIN or not job.propose.verifiers:
        return []
    leases_ = book.state.leases
    before = job.rounds[max(0, record.round - LATE_AGE_MAX) : record.round]
    offered = {key for earlier in before for key in earlier.late}
    keys = {
        (lease, earlier.round): earlier.state_hash
        for earlier in before
        for lease in earlier.roster
        if lease not in earlier.candidates and leases_[lease].state != LeaseState.ENDED
    }
    return sorted(
        key
        for key, start in keys.items()
        if key not in offered and _began_with(book.state.units[key], start)
    )


def _began_with(unit: Unit, start: Digest | None) -> bool:
    """Whether a unit was committed, stands, and began from this state."""
    if unit.commit is None or unit.state in FAILED:
        return False
    return decode(Leaf, unit.commit.first.leaf).parameters == start


def _exchanged(book: Book, record: RoundRecord) -> bool:
    """Whether every live member holds every candidate, or the time is over."""
    complete = all(
        len(record.haves.get(lease, ())) == len(offers(record)) for lease in _live(book, record)
    )
    return complete or book.state.tick >= record.deadline


def _close(book: Book, job: Job, record: RoundRecord) -> None:
    """Fix what the round's outer step takes; a member that gave no sign of life leaves."""
    live, commits = _live(book, record), _commits(book, record)
    held = Counter(one for lease in live for one in record.haves.get(lease, ()))
    record.included = [
        _included(book, record, key)
        for name, key in offers(record).items()
        if 2 * held[name] > len(live)
    ]
    record.closed, record.beacon = True, book.state.mix
    book.agenda.drop(round_due(job.id))
    for lease in live:
        if lease not in commits and lease not in record.haves:
            leases.end(book, book.lease(lease), "silent")
    if not book.leases_of(job, LeaseState.RUNNING, LeaseState.READY):
        leases.reopen(book, job)


def _included(book: Book, record: RoundRecord, key: UnitKey) -> Included:
    lease, round_ = key
    commit = book.state.units[key].commit
    assert commit is not None, "only what was committed is offered"
    provider = book.state.leases[lease].provider
    return Included(lease, provider, commit.steps, commit.update, record.round - round_)
