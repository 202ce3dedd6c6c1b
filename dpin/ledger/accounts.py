"""The state that the log leads to: accounts, jobs, leases, units. Data only; `rules.py` moves it.

Everybody may read it; nobody but `rules.py` may write it. Other machines compare it with what they
have done so far and do the rest: they follow states, not messages, so a restart loses nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import IntEnum

from typing_extensions import override

from dpin.base.ids import NO_DIGEST, BlobId, Digest, JobId, NodeId, Round
from dpin.base.units import MILLION, LedgerMillis, MicroTokens, Tick
from dpin.ledger.checkpoint import CommitteeRecord
from dpin.ledger.standing import Epoch, Validator, nobody
from dpin.ledger.transactions import Commit, OpenLeaf, Propose, Register, VerifyReveal

UnitKey = tuple[Digest, Round]  # lease and round


class JobState(IntEnum):
    """Life of a job."""

    OPEN = 1  # funded; some seats may be leased, no round has started
    RUNNING = 2
    SETTLING = 3  # no further round; units are still being checked
    DONE = 4
    EXPIRED = 5  # nobody could be found for its seats
    CANCELLED = 6

    @property
    def ended(self) -> bool:
        """Whether nothing more can happen to the job."""
        return self in {JobState.DONE, JobState.EXPIRED, JobState.CANCELLED}


class LeaseState(IntEnum):
    """Life of a lease."""

    AWARDED = 1
    READY = 2  # in the roster from the next round on
    RUNNING = 3  # in the roster of the current round
    ENDED = 4


class UnitState(IntEnum):
    """Life of a unit: the only thing that carries money."""

    RUNNING = 1
    COMMITTED = 2  # waits for the mix of the next tick to seat verifiers
    SEATED = 3  # waits for verify-commits
    SEALED = 4  # waits for the provider to open the leaves
    OPENED = 5  # waits for reveals
    PAID = 6
    VOID = 7
    SLASHED = 8
    LAPSED = 9

    @property
    def settled(self) -> bool:
        """Whether the unit's money has moved for the last time."""
        return self >= UnitState.PAID


class Phase(IntEnum):
    """Where a job's current round stands (S1)."""

    TRAIN = 1  # until all of the roster, or a quorum and its grace, or the deadline
    EXCHANGE = 2  # updates are released; until all haves, or the deadline


@dataclass(slots=True)
class Account:
    """Money of one key. `locked` is the part of `stake` that bonds hold.

    `credit` pays for jobs and for nothing else.
    """

    free: MicroTokens = MicroTokens(0)
    stake: MicroTokens = MicroTokens(0)
    locked: MicroTokens = MicroTokens(0)
    credit: MicroTokens = MicroTokens(0)
    sequence_high: int = 0  # highest sequence used
    sequence_mask: int = 0  # bit i: sequence_high - 1 - i was used
    registration: Register | None = None
    absences: tuple[bool, ...] = ()  # last 3 seatings, newest last
    faults: int = 0
    units_ok: int = 0

    @property
    def spendable(self) -> MicroTokens:
        """What can pay for a job: credit first."""
        return MicroTokens(self.free + self.credit)

    @property
    def worth(self) -> int:
        """Everything that is the account's, however bound."""
        return self.free + self.stake + self.credit

    @property
    def only_balance(self) -> bool:
        """Whether `free` says it all: nobody has ever sent, staked or registered with it."""
        return self == Account(free=self.free)


class Accounts(MutableMapping[NodeId, Account]):
    """All accounts, in the order in which they were opened.

    Most of a million only hold a balance: after `pack` they are kept as that number. What is found
    here is to be read; an account that is to be changed comes from `opened`.
    """

    __slots__ = ("_held",)

    def __init__(self, accounts: Mapping[NodeId, Account] | None = None) -> None:
        self._held: dict[NodeId, Account | MicroTokens] = dict(accounts or {})

    @override
    def __getitem__(self, node: NodeId) -> Account:
        held = self._held[node]
        return held if isinstance(held, Account) else Account(free=held)

    @override
    def __setitem__(self, node: NodeId, account: Account) -> None:
        self._held[node] = account.free if account.only_balance else account

    @override
    def __delitem__(self, node: NodeId) -> None:
        del self._held[node]

    @override
    def __iter__(self) -> Iterator[NodeId]:
        return iter(self._held)

    @override
    def __len__(self) -> int:
        return len(self._held)

    @override
    def __contains__(self, node: object) -> bool:
        return node in self._held

    @override
    def popitem(self) -> tuple[NodeId, Account]:
        """The newest."""
        node = next(reversed(self._held))
        return node, self.pop(node)

    def held(self, node: NodeId) -> Account | MicroTokens | None:
        """An account as it is kept: one that only holds a balance may be that number."""
        return self._held.get(node)

    def opened(self, node: NodeId) -> Account:
        """An account to change, made where there was none."""
        held = self._held.get(node)
        if not isinstance(held, Account):
            held = self._held[node] = Account(free=held or MicroTokens(0))
        return held


def registered(accounts: Accounts) -> Iterator[NodeId]:
    """Those that have announced a provider; a look at each account, but none is unpacked."""
    for node in accounts:
        held = accounts.held(node)
        if isinstance(held, Account) and held.registration is not None:
            yield node


def pack(accounts: Accounts, nodes: Iterable[NodeId]) -> None:
    """Whoever held one of these to change it must ask for it again."""
    for node in nodes:
        accounts[node] = accounts[node]


@dataclass(slots=True)
class Seat:
    """One verifier of one unit."""

    verifier: NodeId
    bond: MicroTokens
    sealed: Digest | None = None
    reveal: VerifyReveal | None = None


@dataclass(slots=True)
class Unit:
    """One round of one lease."""

    lease: Digest
    round: Round
    price: MicroTokens
    verifier_fee: MicroTokens
    state: UnitState
    deadline: Tick  # of the present state
    commit: Commit | None = None
    committed_at: Tick = Tick(0)
    window: int = -1  # the checked window ends at leaf `window` (1..leaves - 1); -1: not drawn
    seats: list[Seat] = field(default_factory=list)
    used: set[NodeId] = field(default_factory=set)  # everybody seated so far
    refilled: bool = False
    opened: OpenLeaf | None = None
    reason: str = ""  # why it settled as it did, e.g. "verified", "unverified", "bad-window"
    paid: MicroTokens = MicroTokens(0)  # to the provider, after the fee
    lost: MicroTokens = MicroTokens(0)  # from the provider's bond


@dataclass(slots=True)
class Lease:
    """A provider's hold on a seat of a job."""

    id: Digest
    job: JobId
    number: int
    seat: int
    provider: NodeId
    price: MicroTokens
    bond: MicroTokens
    state: LeaseState
    deadline: Tick
    first_round: Round = Round(-1)  # -1: no round yet
    pending: int = 0  # units not yet settled; the bond is held until there are none
    stopped: bool = False
    reason: str = ""  # why it ended


@dataclass(slots=True)
class Included:
    """An update that a round's outer step takes: whose, and how much work it stands for."""

    lease: Digest
    provider: NodeId
    steps: int
    update: BlobId
    age: int = 0  # rounds ago that it was made; its weight falls with it


@dataclass(slots=True)
class RoundRecord:
    """One round of a job. `included` is final once `closed`; it may be empty."""

    round: Round
    roster: list[Digest]  # leases, ascending
    deadline: Tick  # of the present phase
    phase: Phase = Phase.TRAIN
    quorum_at: Tick | None = None
    state_hash: Digest | None = None  # what most commits started from
    candidates: list[Digest] = field(default_factory=list)  # leases whose commits came in time
    haves: dict[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    closed: bool = False
    included: list[Included] = field(default_factory=list)
    late: list[UnitKey] = field(default_factory=list)  # of earlier rounds, offered with this one's
    beacon: Digest = NO_DIGEST  # the mix when it closed: draws what of its updates is looked at


@dataclass(slots=True)
class Job:
    """A funded job and its history."""

    id: JobId
    requester: NodeId
    propose: Propose
    state: JobState
    opened_at: LedgerMillis
    escrow: MicroTokens
    deadline: Tick  # of open seats: the job expires for want of an award; then of `said`
    leases: list[Digest] = field(default_factory=list)  # all, in order of award
    rounds: list[RoundRecord] = field(default_factory=list)
    cancelled: bool = False
    reason: str = ""
    credit: MicroTokens = MicroTokens(0)  # the part of the escrow that goes back to credit
    # What the last round led to, by each lease that was there to the end; NO_DIGEST: not said.
    said: dict[Digest, Digest] = field(default_factory=dict)

    @property
    def current(self) -> RoundRecord | None:
        """The round under way, if any."""
        return self.rounds[-1] if self.rounds and not self.rounds[-1].closed else None


@dataclass(slots=True)
class State:
    """All that the ledger knows after a commit.

    Conserved: reserve + treasury + sum(worth) + sum(bond) + sum(escrow) == MAX_SUPPLY.
    """

    reserve: MicroTokens
    treasury: MicroTokens
    accounts: Accounts = field(default_factory=Accounts)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    leases: dict[Digest, Lease] = field(default_factory=dict)
    units: dict[UnitKey, Unit] = field(default_factory=dict)
    live_jobs: set[JobId] = field(default_factory=set)  # not ended
    height: int = 0  # commits applied
    time: LedgerMillis = LedgerMillis(0)
    timestamp_ms: int = 0  # of the newest commit; ledger time moves by how far this does (C5)
    tick: Tick = Tick(0)
    mix: Digest = Digest(bytes(32))
    fee_multiplier: int = MILLION  # ppm of the opening price of a transaction
    fee_commits: int = 0  # since the multiplier moved
    fee_bytes: int = 0  # of transactions in these
    validators: dict[NodeId, Validator] = field(default_factory=dict)
    term: Epoch = field(default_factory=nobody)  # the present epoch
    committees: dict[int, CommitteeRecord] = field(default_factory=dict)  # within unbonding time
    sequence: int = 0  # of the newest checkpoint
    in_accounts: int = field(default=0, compare=False)  # their worth; see `money.audit`

    @property
    def epoch(self) -> int:
        """The number of the present epoch."""
        return self.term.number
