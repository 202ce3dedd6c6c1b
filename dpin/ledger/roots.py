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
from dpin.ledger.statetree import StateProof, StateTree

KEY_TAG: Final = "dpin/state-key/v1"
VALUE_TAG: Final = "dpin/state-value/v1"
CHAIN_PART: Final[Part] = (Kind.CHAIN, b"", 0)  # pools, height, time and mix; changes every commit


class StateRoot:
    """The tree over all parts, as of the last `update`."""

    def __init__(self) -> None:
        self._tree = StateTree()

    @property
    def digest(self) -> Digest:
        """The root."""
        return self._tree.root

    def update(self, state: State, changed: Iterable[Part]) -> Digest:
        """Take over these parts of the state; returns the new root."""
        for part in [*changed, CHAIN_PART]:
            key, value = key_of(part), snapshot(state, part)
            if value:
                self._tree.put(key, digest(VALUE_TAG, encode(value)))
            else:
                self._tree.remove(key)
        return self.digest

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
    return StateRoot().update(state, parts)


def key_of(part: Part) -> Digest:
    """Where a part stands."""
    kind, identity, round_ = part
    return digest(KEY_TAG, encode([int(kind), identity, round_]))


# --- what of each part is covered --------------------------------------------------------------


def snapshot(state: State, part: Part) -> list[object]:
    """A part as a list of values that have one encoding; empty for a part that is not there."""
    kind, identity, round_ = part
    match kind:
        case Kind.CHAIN:
            pools = [state.reserve, state.treasury]
            fees = [state.fee_multiplier, state.fee_commits, state.fee_bytes]
            clock = [state.height, state.time, state.tick, state.mix, state.epoch]
            return [*pools, *clock, *fees]
        case Kind.ACCOUNT:
            account = state.accounts.get(NodeId(identity))
            return [] if account is None else _account(account)
        case Kind.JOB:
            return _job(state.jobs[JobId(identity)])
        case Kind.LEASE:
            return _lease(state.leases[Digest(identity)])
        case Kind.UNIT:
            return _unit(state.units[Digest(identity), Round(round_)])
        case Kind.ROUND:
            return _record(state.jobs[JobId(identity)].rounds[round_])


def _account(account: Account) -> list[object]:
    money = [account.free, account.stake, account.locked, account.credit]
    sequence = [account.sequence_high, account.sequence_mask]
    record = [account.absences, account.faults, account.units_ok]
    return [*money, *sequence, account.registration, *record]


def _job(job: Job) -> list[object]:
    """Leases and rounds are parts of their own; here stands how many there are."""
    terms = [job.id, job.requester, job.propose, job.opened_at]
    life = [int(job.state), job.escrow, job.deadline, job.cancelled, job.reason]
    return [*terms, *life, job.credit, len(job.leases), len(job.rounds)]


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
    included = [[one.lease, one.provider, one.steps, one.update] for one in record.included]
    return [*life, record.state_hash, record.candidates, haves, record.closed, included]
