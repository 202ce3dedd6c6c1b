"""From a unit under way to its verdict: commit, seal, open, reveal, and what time does to each."""

from dpin.base.codec import decode
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, NO_BLOB, NO_DIGEST, NodeId, Round
from dpin.base.leaf import Leaf, leaf_digest, opened, window_bounds
from dpin.base.units import MILLION
from dpin.ledger import seats, settlement
from dpin.ledger.accounts import Job, Lease, Seat, Unit, UnitState
from dpin.ledger.book import Book
from dpin.ledger.reasons import Reason, Refused, require
from dpin.ledger.transactions import (
    EVAL,
    TRAIN,
    Commit,
    LeafPath,
    OpenLeaf,
    VerifyCommit,
    VerifyReveal,
    seal,
)
from dpin.ledger.views import left_over

# --- operations --------------------------------------------------------------------------------


def commit(book: Book, sender: NodeId, operation: Commit) -> None:
    """A unit is done, in its own time, even where its round has moved on or its lease has ended."""
    lease = book.own_lease(operation.lease, sender)
    unit = book.unit(operation.lease, operation.round)
    require(unit.state == UnitState.RUNNING, Reason.NOT_RUNNING)
    _in_time(book, unit)
    job = book.job(lease.job)
    _check_work(book, job, operation)
    first = _opened(operation.first, operation)
    _check_binding(job, lease, operation, first, (0, 0))
    fresh = lease.first_round != operation.round or first.optimizer == NO_DIGEST
    require(fresh, Reason.WRONG_OPTIMIZER)
    left = left_over(book.state, unit.lease, unit.round)
    require(first.error_buffer in {*left, NO_DIGEST}, Reason.WRONG_OPTIMIZER)
    unit.commit, unit.committed_at = operation, book.state.tick
    unit.state = UnitState.COMMITTED
    book.put_off(unit, 1)


def verify_commit(book: Book, sender: NodeId, operation: VerifyCommit) -> None:
    """A seated verifier seals what it found; with the last seal the provider must open."""
    unit = book.unit(operation.lease, operation.round)
    require(unit.state == UnitState.SEATED, Reason.WRONG_STATE)
    _in_time(book, unit)
    seat = _seat_of(unit, sender)
    require(seat.sealed is None, Reason.ALREADY_SEALED)
    require(len(operation.sealed) == ID_BYTES, Reason.BAD_FIELD)
    seat.sealed = operation.sealed
    if all(other.sealed is not None for other in unit.seats):
        _await_leaf(book, unit)


def open_leaf(book: Book, sender: NodeId, operation: OpenLeaf) -> None:
    """The provider shows the leaf that was checked and the last one; the chain must hold."""
    lease = book.own_lease(operation.lease, sender)
    unit = book.unit(operation.lease, operation.round)
    require(unit.state == UnitState.SEALED, Reason.WRONG_STATE)
    _in_time(book, unit)
    job, committed = book.job(lease.job), unit.commit
    assert committed is not None, "only what was committed is checked"
    bounds = window_bounds(job.propose.steps, job.propose.windows)
    end = committed.leaves - 1
    checked = _opened(operation.checked, committed)
    _check_binding(job, lease, committed, checked, (unit.window, bounds[unit.window]))
    _check_binding(job, lease, committed, _opened(operation.last, committed), (end, bounds[end]))
    unit.opened = operation
    if _chain_broken(book, lease, unit):
        _convict(book, unit, "optimizer-chain")
        return
    unit.state = UnitState.OPENED
    book.put_off(unit, book.params.reveal_ticks)


def verify_reveal(book: Book, sender: NodeId, operation: VerifyReveal) -> None:
    """A verifier opens its seal; with the last one there is a verdict."""
    unit = book.unit(operation.lease, operation.round)
    require(unit.state == UnitState.OPENED, Reason.WRONG_STATE)
    _in_time(book, unit)
    seat = _seat_of(unit, sender)
    require(seat.sealed is not None, Reason.NOT_SEALED)
    require(seat.reveal is None, Reason.ALREADY_REVEALED)
    found, salt = operation.found, operation.salt
    sealed = seal(operation.lease, operation.round, sender, found, salt)
    require(sealed == seat.sealed, Reason.WRONG_SEAL)
    seat.reveal = operation
    if all(other.reveal is not None for other in _sealed(unit)):
        _judge(book, unit)


# --- when time is up ---------------------------------------------------------------------------


def expire(book: Book, unit: Unit) -> None:
    """The unit's present state has lasted long enough."""
    match unit.state:
        case UnitState.RUNNING:
            settlement.lapse(book, unit)
        case UnitState.COMMITTED:
            seats.draw(book, unit)
        case UnitState.SEATED:
            _seals_over(book, unit)
        case UnitState.SEALED:
            _withhold(book, unit)
        case UnitState.OPENED:
            _judge(book, unit)
        case UnitState.PAID | UnitState.VOID | UnitState.SLASHED | UnitState.LAPSED:
            raise AssertionError("a settled unit has no deadline")


def _seals_over(book: Book, unit: Unit) -> None:
    """Go on with those who sealed; nobody: draw others once, then pay unverified."""
    absent = [seat for seat in unit.seats if seat.sealed is None]
    for seat in absent:
        seats.penalise(book, unit, seat)
    if len(absent) < len(unit.seats):
        _await_leaf(book, unit)
    elif unit.refilled:
        settlement.pay(book, unit, "unverified")
    else:
        unit.refilled = True
        seats.draw(book, unit)


def _await_leaf(book: Book, unit: Unit) -> None:
    unit.state = UnitState.SEALED
    book.put_off(unit, book.params.leaf_ticks)


def _convict(book: Book, unit: Unit, reason: str) -> None:
    """The provider has shown itself guilty; those who sealed share what it loses."""
    for seat in _sealed(unit):
        seats.excuse(book, seat)
    settlement.slash(book, unit, reason, [seat.verifier for seat in _sealed(unit)])


def _withhold(book: Book, unit: Unit) -> None:
    """No leaf was shown in time: that proves nothing. Those who sealed have done their part."""
    sealed = _sealed(unit)
    for seat in sealed:
        seats.excuse(book, seat)
    settlement.withhold(book, unit, "withheld-leaf", [seat.verifier for seat in sealed])


def _judge(book: Book, unit: Unit) -> None:
    """The verdict of those who revealed (C1)."""
    _note_attendance(book, unit)
    accusers = [seat.verifier for seat in unit.seats if seat.reveal is not None]
    reveals = [seat.reveal for seat in unit.seats if seat.reveal is not None]
    verdicts = sorted({(reveal.found, reveal.update) for reveal in reveals})
    match [verdict == _claimed(unit) for verdict in verdicts]:
        case []:
            settlement.pay(book, unit, "unverified")
        case [True] if _started_elsewhere(book, unit):
            settlement.slash(book, unit, "wrong-start", accusers)
        case [True]:
            settlement.pay(book, unit, "verified")
        case [False] if len(reveals) > 1 and _saw_nothing(unit, verdicts[0]):
            settlement.withhold(book, unit, "withheld-state", accusers)
        case [False] if len(reveals) > 1:
            settlement.slash(book, unit, "bad-work", accusers)
        case [False]:
            settlement.void(book, unit, "disputed-by-one")
        case _:
            settlement.void(book, unit, "conflicting")


def _note_attendance(book: Book, unit: Unit) -> None:
    for seat in _sealed(unit):
        if seat.reveal is None:
            seats.penalise(book, unit, seat)
        else:
            seats.excuse(book, seat)


def _started_elsewhere(book: Book, unit: Unit) -> bool:
    """Whether the windows are right but the state they start from is not the round's.

    Before the round's state is known nobody can tell; such a unit is left out of the merge anyway.
    """
    assert unit.commit is not None, "only what was committed is judged"
    job = book.state.jobs[book.state.leases[unit.lease].job]
    agreed = next(record.state_hash for record in job.rounds if record.round == unit.round)
    return agreed is not None and decode(Leaf, unit.commit.first.leaf).parameters != agreed


def _saw_nothing(unit: Unit, verdict: tuple[bytes, bytes]) -> bool:
    """Whether verifiers who agree hold no other result against a provider, but that there is none.

    They were shown no state, or one that is not what was committed.
    """
    found, update = verdict
    claimed, _ = _claimed(unit)
    return found == NO_DIGEST or (found == claimed and update == NO_BLOB)


def _claimed(unit: Unit) -> tuple[bytes, bytes]:
    """What the provider committed to, as a verifier would find it."""
    assert unit.commit is not None, "only what was committed is judged"
    assert unit.opened is not None, "only what was opened is judged"
    return leaf_digest(decode(Leaf, unit.opened.checked.leaf)), unit.commit.update


# --- conditions --------------------------------------------------------------------------------


def _in_time(book: Book, unit: Unit) -> None:
    require(book.state.tick < unit.deadline, Reason.TOO_LATE)


def _check_work(book: Book, job: Job, operation: Commit) -> None:
    """Whole windows, and enough of them (H3)."""
    digests = (operation.root, operation.update, operation.error_buffer)
    sized = all(len(digest) == ID_BYTES for digest in digests)
    require(sized and 1 < operation.leaves <= job.propose.windows + 1, Reason.BAD_FIELD)
    bounds = window_bounds(job.propose.steps, job.propose.windows)
    require(operation.steps == bounds[operation.leaves - 1], Reason.NOT_A_WINDOW_BOUND)
    enough = operation.steps * MILLION >= book.params.work_min_ppm * job.propose.steps
    require(enough, Reason.TOO_LITTLE_WORK)


def _opened(shown: LeafPath, committed: Commit) -> Leaf:
    try:
        return opened(shown.leaf, shown.path, committed.leaves, committed.root)
    except PeerFault:
        raise Refused(Reason.BAD_LEAF) from None


def _check_binding(
    job: Job, lease: Lease, committed: Commit, leaf: Leaf, place: tuple[int, int]
) -> None:
    """The leaf is of this unit and stands at this (window, step) (H1)."""
    unit = (job.id, committed.lease, committed.round)
    require((leaf.job, leaf.lease, leaf.round) == unit, Reason.WRONG_BINDING)
    require((leaf.window, leaf.step) == place, Reason.WRONG_BINDING)
    if job.propose.kind in {TRAIN, EVAL}:
        before = committed.round if job.propose.kind == TRAIN else lease.seat
        cursor = before * job.propose.steps + leaf.step
        require(leaf.cursor == cursor, Reason.WRONG_BINDING)


def _chain_broken(book: Book, lease: Lease, unit: Unit) -> bool:
    """Whether the unit started from other optimizer state than zeros or the lease's last."""
    before = book.state.units.get((lease.id, Round(unit.round - 1)))
    if before is None or before.opened is None or unit.commit is None:
        return False
    ended = decode(Leaf, before.opened.last.leaf)
    return decode(Leaf, unit.commit.first.leaf).optimizer not in {ended.optimizer, NO_DIGEST}


def _seat_of(unit: Unit, verifier: NodeId) -> Seat:
    for seat in unit.seats:
        if seat.verifier == verifier:
            return seat
    raise Refused(Reason.NOT_SEATED)


def _sealed(unit: Unit) -> list[Seat]:
    return [seat for seat in unit.seats if seat.sealed is not None]
