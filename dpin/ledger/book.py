"""The state in the hands of the rules: who is changed, what falls due, what is to be reported.

Rules read `book.state` and write through `account`, `job`, `lease`, `unit`, `record`: what is
handed out there is marked as changed, so that the next state root covers it; what it was worth is
noted, so that a commit is audited by what it touched; and while several operations go together it
is copied, so that all they have done can be taken back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from dpin.base.ids import ChainId, Digest, JobId, NodeId, Round
from dpin.base.units import Tick
from dpin.ledger.accounts import Account, Job, Lease, LeaseState, RoundRecord, State, Unit
from dpin.ledger.agenda import Agenda, unit_due
from dpin.ledger.order import Receipt
from dpin.ledger.params import Params
from dpin.ledger.reasons import Reason, Refused
from dpin.ledger.undo import Undo


class Kind(IntEnum):
    """What a part of the state is; the first byte of its key in the state root."""

    CHAIN = 0
    ACCOUNT = 1
    JOB = 2
    LEASE = 3
    UNIT = 4
    ROUND = 5
    EPOCH = 6
    VALIDATOR = 7
    COMMITTEE = 8


Part = tuple[Kind, bytes, int]  # kind, id, round


@dataclass(slots=True)
class Book:
    """State, and what one commit does to it."""

    chain: ChainId
    params: Params
    state: State
    agenda: Agenda = field(default_factory=Agenda)
    changed: set[Part] = field(default_factory=set)  # since the last state root
    stirred: set[JobId] = field(default_factory=set)  # jobs whose next step may be possible
    receipts: list[Receipt] = field(default_factory=list)  # of the present commit
    # Accounts handed out in it, and what each was worth before.
    touched: dict[NodeId, tuple[Account, int]] = field(default_factory=dict)
    escrows: dict[JobId, int] = field(default_factory=dict)  # of jobs handed out in it, before
    bonds: dict[NodeId, int] = field(default_factory=dict)  # of validators handed out, before
    pools: int = 0  # reserve and treasury when money was last checked
    before: Callable[[Part], None] | None = None  # told of a part before it may be changed
    undo: Undo | None = None  # while several operations go together; see `atomic.py`

    def in_ticks(self, ticks: int) -> Tick:
        """The tick that lies so far ahead."""
        return Tick(self.state.tick + ticks)

    def account(self, node: NodeId) -> Account:
        """An account to change, opened where there was none."""
        touched = self.touched.get(node)
        account = self._touch(node) if touched is None else touched[0]
        if self.undo is not None:
            self.undo.keep((Kind.ACCOUNT, node, 0), account)
        return account

    def _touch(self, node: NodeId) -> Account:
        """For the first time in a commit."""
        part, accounts = (Kind.ACCOUNT, node, 0), self.state.accounts
        if self.before is not None and node in accounts:
            self.before(part)
        account = accounts.opened(node)
        self.touched[node] = account, account.worth
        self.changed.add(part)
        return account

    def job(self, job: JobId) -> Job:
        """A job to change; one that does not exist refuses the operation."""
        found = self.state.jobs.get(job)
        if found is None:
            raise Refused(Reason.UNKNOWN_JOB)
        part = (Kind.JOB, job, 0)
        self.escrows.setdefault(job, found.escrow)
        self.changed.add(part)
        self.stirred.add(job)
        self._keep(part, found)
        return found

    def lease(self, lease: Digest) -> Lease:
        """A lease to change; one that does not exist refuses the operation."""
        found = self.state.leases.get(lease)
        if found is None:
            raise Refused(Reason.UNKNOWN_LEASE)
        part = (Kind.LEASE, lease, 0)
        self.changed.add(part)
        self.stirred.add(found.job)
        self._keep(part, found)
        return found

    def unit(self, lease: Digest, round_: Round) -> Unit:
        """A unit to change; one that does not exist refuses the operation."""
        found = self.state.units.get((lease, round_))
        if found is None:
            raise Refused(Reason.UNKNOWN_UNIT)
        part = (Kind.UNIT, lease, round_)
        self.changed.add(part)
        self.stirred.add(self.state.leases[lease].job)
        self._keep(part, found)
        return found

    def record(self, job: Job) -> RoundRecord | None:
        """The job's current round, to change."""
        record = job.current
        if record is not None:
            part = (Kind.ROUND, job.id, record.round)
            self.changed.add(part)
            self._keep(part, record)
        return record

    def _keep(self, part: Part, what: Account | Job | Lease | Unit | RoundRecord) -> None:
        if self.before is not None:
            self.before(part)
        if self.undo is not None:
            self.undo.keep(part, what)

    def own_lease(self, lease: Digest, sender: NodeId) -> Lease:
        """A lease that the sender holds, to change."""
        found = self.lease(lease)
        if found.provider != sender:
            raise Refused(Reason.NOT_THE_PROVIDER)
        return found

    def own_job(self, job: JobId, sender: NodeId) -> Job:
        """A job that the sender pays for, to change."""
        found = self.job(job)
        if found.requester != sender:
            raise Refused(Reason.NOT_THE_REQUESTER)
        return found

    def leases_of(self, job: Job, *states: LeaseState) -> list[Lease]:
        """The job's leases in one of these states, by number."""
        leases = (self.state.leases[lease] for lease in job.leases)
        return [lease for lease in leases if lease.state in states]

    def put_off(self, unit: Unit, ticks: int) -> None:
        """Give the unit's present state so long from now."""
        unit.deadline = self.in_ticks(ticks)
        self.agenda.set(unit_due(unit.lease, unit.round), unit.deadline)
