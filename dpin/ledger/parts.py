"""The state back from the values of its parts: what `roots.snapshot` writes, read again.

A value has the fields of the thing it stands for, in order. Whatever moves a state is in one of its
parts, so that a state put together from them goes on as the one they were taken from.
"""

from typing import Final

from msgspec.structs import astuple

from dpin.base.codec import Wire, decode
from dpin.base.errors import PeerFault
from dpin.base.ids import BlobId, Digest, JobId, NodeId, Round
from dpin.base.units import LedgerMillis, MicroTokens, Tick
from dpin.ledger.accounts import (
    Account,
    Included,
    Job,
    JobState,
    Lease,
    LeaseState,
    Phase,
    RoundRecord,
    Seat,
    State,
    Unit,
    UnitState,
)
from dpin.ledger.book import Kind, Part
from dpin.ledger.checkpoint import CommitteeRecord
from dpin.ledger.offences import Offence
from dpin.ledger.standing import Epoch, Noted, Seated, Validator
from dpin.ledger.transactions import Commit, OpenLeaf, Propose, Register, VerifyReveal


class ChainValue(Wire, frozen=True):
    """Pools, clock and fees."""

    reserve: MicroTokens
    treasury: MicroTokens
    height: int
    time: LedgerMillis
    tick: Tick
    timestamp_ms: int
    mix: Digest
    epoch: int
    fee_multiplier: int
    fee_commits: int
    fee_bytes: int


class AccountValue(Wire, frozen=True):
    """An account."""

    free: MicroTokens
    stake: MicroTokens
    locked: MicroTokens
    credit: MicroTokens
    sequence_high: int
    sequence_mask: int
    registration: Register | None
    absences: tuple[bool, ...]
    faults: int
    units_ok: int


class JobValue(Wire, frozen=True):
    """A job without its leases and rounds, which are parts of their own."""

    id: JobId
    requester: NodeId
    propose: Propose
    opened_at: LedgerMillis
    state: JobState
    escrow: MicroTokens
    deadline: Tick
    cancelled: bool
    reason: str
    credit: MicroTokens
    leases: int
    rounds: int
    said: tuple[tuple[Digest, Digest], ...]


class LeaseValue(Wire, frozen=True):
    """A lease."""

    id: Digest
    job: JobId
    number: int
    seat: int
    provider: NodeId
    price: MicroTokens
    bond: MicroTokens
    state: LeaseState
    deadline: Tick
    first_round: Round
    pending: int
    stopped: bool
    reason: str


class SeatValue(Wire, frozen=True):
    """A verifier of a unit."""

    verifier: NodeId
    bond: MicroTokens
    sealed: Digest | None
    reveal: VerifyReveal | None


class UnitValue(Wire, frozen=True):
    """A unit."""

    lease: Digest
    round: Round
    price: MicroTokens
    verifier_fee: MicroTokens
    state: UnitState
    deadline: Tick
    commit: Commit | None
    committed_at: Tick
    window: int
    seats: tuple[SeatValue, ...]
    used: tuple[NodeId, ...]
    refilled: bool
    opened: OpenLeaf | None
    reason: str
    paid: MicroTokens
    lost: MicroTokens


class IncludedValue(Wire, frozen=True):
    """An update that a round took."""

    lease: Digest
    provider: NodeId
    steps: int
    update: BlobId
    age: int


class RoundValue(Wire, frozen=True):
    """A round of a job."""

    round: Round
    roster: tuple[Digest, ...]
    deadline: Tick
    phase: Phase
    quorum_at: Tick | None
    state_hash: Digest | None
    candidates: tuple[Digest, ...]
    haves: tuple[tuple[Digest, tuple[Digest, ...]], ...]
    closed: bool
    included: tuple[IncludedValue, ...]
    late: tuple[tuple[Digest, Round], ...]
    beacon: Digest


class ValidatorValue(Wire, frozen=True):
    """Whoever has a validator bond."""

    bond: MicroTokens
    signer: NodeId
    anchor: Digest
    anchor_round: Round
    new_chain: bool
    ready_for: int
    retired: bool
    last_epoch: int
    jailed_until: int
    faults: int
    offences: tuple[Offence, ...]


class SeatedValue(Wire, frozen=True):
    """A member of the present committee."""

    round: Round
    reveal: Digest
    next_round: Round
    next_reveal: Digest
    cosigned: int
    faults: int


class NotedValue(Wire, frozen=True):
    """A checkpoint that can still be signed."""

    sequence: int
    checkpoint: Digest
    height: int
    size: int
    root: Digest
    cosigners: int


class EpochValue(Wire, frozen=True):
    """The present epoch, without its committee."""

    sequence: int
    number: int
    opened_ms: LedgerMillis
    opened_height: int
    seated: tuple[SeatedValue, ...]
    noted: tuple[NotedValue, ...]
    counted: int
    fees: MicroTokens


class CommitteeValue(Wire, frozen=True):
    """A committee."""

    record: CommitteeRecord


VALUES: Final[dict[Kind, type[Wire]]] = {
    Kind.CHAIN: ChainValue,
    Kind.ACCOUNT: AccountValue,
    Kind.JOB: JobValue,
    Kind.LEASE: LeaseValue,
    Kind.UNIT: UnitValue,
    Kind.ROUND: RoundValue,
    Kind.EPOCH: EpochValue,
    Kind.VALIDATOR: ValidatorValue,
    Kind.COMMITTEE: CommitteeValue,
}
_KEPT_APART: Final = "a part of the state does not fit the others"


class Parts:
    """Takes the parts of a state, in any order, and puts it together when all are there."""

    def __init__(self) -> None:
        self._state = State(MicroTokens(0), MicroTokens(0))
        self._leases: dict[JobId, list[Lease]] = {}
        self._rounds: dict[JobId, list[RoundRecord]] = {}
        self._counts: dict[JobId, tuple[int, int]] = {}
        self._epoch: EpochValue | None = None
        self._chain: ChainValue | None = None

    def take(self, part: Part, value: bytes) -> None:
        """One part and its value; raises PeerFault for what is not the value of such a part."""
        kind, identity, round_ = part
        match kind:
            case Kind.ACCOUNT:
                account = Account(*astuple(decode(AccountValue, value)))
                self._state.accounts[NodeId(identity)] = account
            case Kind.JOB:
                self._take_job(decode(JobValue, value))
            case Kind.LEASE | Kind.UNIT | Kind.ROUND:
                self._take_work(part, value)
            case Kind.VALIDATOR:
                validator = Validator(*astuple(decode(ValidatorValue, value)))
                self._state.validators[NodeId(identity)] = validator
            case Kind.COMMITTEE:
                self._state.committees[round_] = decode(CommitteeValue, value).record
            case Kind.CHAIN:
                self._chain = decode(ChainValue, value)
            case Kind.EPOCH:
                self._epoch = decode(EpochValue, value)

    def _take_job(self, value: JobValue) -> None:
        self._state.jobs[value.id] = Job(
            id=value.id,
            requester=value.requester,
            propose=value.propose,
            state=value.state,
            opened_at=value.opened_at,
            escrow=value.escrow,
            deadline=value.deadline,
            cancelled=value.cancelled,
            reason=value.reason,
            credit=value.credit,
            said=dict(value.said),
        )
        self._counts[value.id] = (value.leases, value.rounds)
        if not value.state.ended:
            self._state.live_jobs.add(value.id)

    def _take_work(self, part: Part, data: bytes) -> None:
        kind, identity, round_ = part
        if kind == Kind.LEASE:
            lease = Lease(*astuple(decode(LeaseValue, data)))
            self._state.leases[lease.id] = lease
            self._leases.setdefault(lease.job, []).append(lease)
        elif kind == Kind.UNIT:
            self._state.units[Digest(identity), Round(round_)] = _unit(decode(UnitValue, data))
        else:
            record = _record(decode(RoundValue, data))
            self._rounds.setdefault(JobId(identity), []).append(record)

    def state(self) -> State:
        """The whole; raises PeerFault where something is missing."""
        state = self._state
        if self._chain is None or self._epoch is None:
            raise PeerFault(_KEPT_APART)
        self._set_chain(self._chain)
        state.term = _epoch(self._epoch, state)
        state.sequence = self._epoch.sequence
        for identity, job in state.jobs.items():
            leases = sorted(self._leases.get(identity, ()), key=lambda lease: lease.number)
            rounds = sorted(self._rounds.get(identity, ()), key=lambda record: record.round)
            if (len(leases), len(rounds)) != self._counts[identity]:
                raise PeerFault(_KEPT_APART)
            job.leases, job.rounds = [lease.id for lease in leases], rounds
        return state

    def _set_chain(self, chain: ChainValue) -> None:
        state = self._state
        state.reserve, state.treasury = chain.reserve, chain.treasury
        state.height, state.time, state.tick = chain.height, chain.time, chain.tick
        state.timestamp_ms, state.mix = chain.timestamp_ms, chain.mix
        state.fee_multiplier = chain.fee_multiplier
        state.fee_commits, state.fee_bytes = chain.fee_commits, chain.fee_bytes


def _unit(value: UnitValue) -> Unit:
    unit = Unit(*astuple(value))
    unit.seats = [Seat(*astuple(seat)) for seat in value.seats]
    unit.used = set(value.used)
    return unit


def _record(value: RoundValue) -> RoundRecord:
    record = RoundRecord(*astuple(value))
    record.roster, record.candidates = list(value.roster), list(value.candidates)
    record.haves = dict(value.haves)
    record.included = [Included(*astuple(one)) for one in value.included]
    record.late, record.beacon = list(value.late), value.beacon
    return record


def _epoch(value: EpochValue, state: State) -> Epoch:
    committee = state.committees.get(value.number)
    if committee is None:
        raise PeerFault(_KEPT_APART)
    return Epoch(
        committee,
        value.opened_ms,
        value.opened_height,
        [Seated(*astuple(one)) for one in value.seated],
        [Noted(*astuple(one)) for one in value.noted],
        value.counted,
        value.fees,
    )
