"""The state root: one digest over everything that all nodes must agree on.

A part of the state has the key H(kind || id) and, in the tree over all keys, the digest of what it
holds. Only buckets in which something has changed are hashed again.
"""

from collections.abc import Iterable
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import Digest, JobId, NodeId, Round
from dpin.ledger.accounts import Account, Job, Lease, RoundRecord, State, Unit
from dpin.ledger.book import Kind, Part
from dpin.ledger.standing import Validator
from dpin.ledger.statetree import BUCKETS, Bucket, StateProof, StateTree

KEY_TAG: Final = "dpin/state-key/v1"
VALUE_TAG: Final = "dpin/state-value/v1"
CHAIN_PART: Final[Part] = (Kind.CHAIN, b"", 0)  # pools, height, time and mix
EPOCH_PART: Final[Part] = (Kind.EPOCH, b"", 0)  # how the present epoch has gone so far
EVER_NEW: Final = (CHAIN_PART, EPOCH_PART)  # what every commit changes
FEW: Final = (Kind.CHAIN, Kind.EPOCH, Kind.VALIDATOR, Kind.COMMITTEE)  # kinds of which are few


class StateRoot:
    """The tree over all parts, as of the last `update`, and the parts of each bucket but the few.

    `standing[bucket]` only grows: an account stands there by its id, anything else as its part.
    """

    def __init__(self) -> None:
        self._tree = StateTree()
        self.standing: list[list[NodeId | Part]] = [[] for _ in range(BUCKETS)]

    @property
    def digest(self) -> Digest:
        """The root."""
        return self._tree.root

    def update(self, state: State, changed: Iterable[Part]) -> Digest:
        """Take over these parts of the state; returns the new root."""
        for part in [*changed, *EVER_NEW]:
            key, value = key_of(part), snapshot(state, part)
            if not value:
                self._tree.remove(key)
            elif self._tree.put(key, digest(VALUE_TAG, encode(value))):
                self._note(part, key)
        return self.digest

    def adopt(self, bucket: Bucket, parts: Iterable[Part]) -> None:
        """Take over a whole bucket, and which parts stand in it."""
        self._tree.adopt(bucket)
        for part in parts:
            self._note(part, bytes([bucket.number]))

    def _note(self, part: Part, key: bytes) -> None:
        kind, identity, _ = part
        if kind not in FEW:
            self.standing[key[0]].append(NodeId(identity) if kind == Kind.ACCOUNT else part)

    def above_buckets(self) -> tuple[bytes, ...]:
        """Where the hashes of all buckets stand, which lead to the root; see `statetree`."""
        return self._tree.above_buckets()

    def prove(self, part: Part) -> StateProof:
        """What stands at a part's key under the root, or that nothing does."""
        return self._tree.prove(key_of(part))


def root_of(state: State) -> Digest:
    """The root of a whole state, from nothing."""
    parts: list[Part] = [(Kind.ACCOUNT, node, 0) for node in state.accounts]
    parts += [(Kind.JOB, job, 0) for job in state.jobs]
    parts += [(Kind.LEASE, lease, 0) for lease in state.leases]
    parts += [(Kind.UNIT, lease, round_) for lease, round_ in state.units]
    parts += [
        (Kind.ROUND, job.id, record.round) for job in state.jobs.values() for record in job.rounds
    ]
    return StateRoot().update(state, [*parts, *few_of(state)])


def few_of(state: State) -> list[Part]:
    """The parts of those kinds of which there are few."""
    validators: list[Part] = [(Kind.VALIDATOR, node, 0) for node in state.validators]
    committees: list[Part] = [(Kind.COMMITTEE, b"", epoch) for epoch in state.committees]
    return [*EVER_NEW, *validators, *committees]


def key_of(part: Part) -> Digest:
    """Where a part stands."""
    kind, identity, round_ = part
    return digest(KEY_TAG, encode([int(kind), identity, round_]))


# --- what of each part is covered --------------------------------------------------------------


def snapshot(state: State, part: Part) -> list[object]:
    """A part as a list of values that have one encoding; empty for a part that is not there."""
    kind, identity, _ = part
    match kind:
        case Kind.CHAIN:
            pools = [state.reserve, state.treasury]
            fees = [state.fee_multiplier, state.fee_commits, state.fee_bytes]
            clock = [state.height, state.time, state.tick, state.timestamp_ms, state.mix]
            return [*pools, *clock, state.epoch, *fees]
        case Kind.ACCOUNT:
            account = state.accounts.get(NodeId(identity))
            return [] if account is None else account_fields(account)
        case Kind.JOB | Kind.LEASE | Kind.UNIT | Kind.ROUND:
            return _of_work(state, part)
        case Kind.EPOCH | Kind.VALIDATOR | Kind.COMMITTEE:
            return _of_validation(state, part)


def _of_work(state: State, part: Part) -> list[object]:
    kind, identity, round_ = part
    if kind == Kind.JOB:
        return _job(state.jobs[JobId(identity)])
    if kind == Kind.LEASE:
        return _lease(state.leases[Digest(identity)])
    if kind == Kind.UNIT:
        return _unit(state.units[Digest(identity), Round(round_)])
    return _record(state.jobs[JobId(identity)].rounds[round_])


def _of_validation(state: State, part: Part) -> list[object]:
    kind, identity, epoch = part
    if kind == Kind.EPOCH:
        return _epoch(state)
    if kind == Kind.VALIDATOR:
        validator = state.validators.get(NodeId(identity))
        return [] if validator is None else _validator(validator)
    committee = state.committees.get(epoch)
    return [] if committee is None else [committee]


def account_fields(account: Account) -> list[object]:
    """What of an account is covered, in order."""
    money = [account.free, account.stake, account.locked, account.credit]
    sequence = [account.sequence_high, account.sequence_mask]
    record = [account.absences, account.faults, account.units_ok]
    return [*money, *sequence, account.registration, *record]


def _job(job: Job) -> list[object]:
    """Leases and rounds are parts of their own; here stands how many there are."""
    terms = [job.id, job.requester, job.propose, job.opened_at]
    life = [int(job.state), job.escrow, job.deadline, job.cancelled, job.reason]
    said = [[lease, job.said[lease]] for lease in sorted(job.said)]
    return [*terms, *life, job.credit, len(job.leases), len(job.rounds), said]


def _lease(lease: Lease) -> list[object]:
    terms = [lease.id, lease.job, lease.number, lease.seat, lease.provider, lease.price]
    life = [lease.bond, int(lease.state), lease.deadline, lease.first_round]
    return [*terms, *life, lease.pending, lease.stopped, lease.reason]


def _unit(unit: Unit) -> list[object]:
    terms = [unit.lease, unit.round, unit.price, unit.verifier_fee]
    life = [int(unit.state), unit.deadline, unit.commit, unit.committed_at]
    seats = [[seat.verifier, seat.bond, seat.sealed, seat.reveal] for seat in unit.seats]
    check = [unit.window, seats, sorted(unit.used), unit.refilled, unit.opened]
    return [*terms, *life, *check, unit.reason, unit.paid, unit.lost]


def _record(record: RoundRecord) -> list[object]:
    life = [record.round, record.roster, record.deadline, int(record.phase), record.quorum_at]
    haves = [[lease, record.haves[lease]] for lease in sorted(record.haves)]
    included = [
        [one.lease, one.provider, one.steps, one.update, one.age] for one in record.included
    ]
    late = [list(key) for key in record.late]
    taken = [record.closed, included, late, record.beacon]
    return [*life, record.state_hash, record.candidates, haves, *taken]


def _validator(validator: Validator) -> list[object]:
    keys = [validator.signer, validator.anchor, validator.anchor_round, validator.new_chain]
    life = [validator.ready_for, validator.retired, validator.last_epoch, validator.jailed_until]
    return [validator.bond, *keys, *life, validator.faults, validator.offences]


def _epoch(state: State) -> list[object]:
    """The committee is a part of its own; here stands which it is."""
    epoch = state.term
    seated = [
        [one.round, one.reveal, one.next_round, one.next_reveal, one.cosigned, one.faults]
        for one in epoch.seated
    ]
    noted = [
        [one.sequence, one.checkpoint, one.height, one.size, one.root, one.cosigners]
        for one in epoch.noted
    ]
    opening = [epoch.number, epoch.opened_ms, epoch.opened_height]
    return [state.sequence, *opening, seated, noted, epoch.counted, epoch.fees]
