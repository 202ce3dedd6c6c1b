"""Anybody does anything in any order: money is conserved, states follow their edges, all ends."""

from collections import Counter
from copy import deepcopy

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from dpin.base.crypto import digest
from dpin.base.ids import NO_BLOB, NO_DIGEST, BlobId, Digest, JobId, NodeId, Round
from dpin.base.units import MILLION, MicroTokens, Tick
from dpin.ledger.accounts import LeaseState, State, Unit, UnitKey, UnitState
from dpin.ledger.candidacy import (
    BondValidator,
    ReadyValidator,
    RetireValidator,
    WithdrawBond,
)
from dpin.ledger.money import MAX_SUPPLY, supply
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.reasons import Reason
from dpin.ledger.roots import root_of
from dpin.ledger.standing import Validator
from dpin.ledger.transactions import (
    EVAL,
    TRAIN,
    Award,
    Bid,
    Cancel,
    Have,
    LastState,
    LeafPath,
    OpenLeaf,
    Operation,
    Propose,
    Ready,
    Stake,
    Stop,
    Transfer,
    Unstake,
    VerifyCommit,
    VerifyReveal,
    seal,
    sign_bid,
)
from dpin.ledger.views import LATE_AGE_MAX, ended_in, made_in, offers
from tests.support.accounting import EDGES, earnings
from tests.support.ledgers import (
    JOB,
    OTHER,
    PRICE,
    SALT,
    STAKE,
    START,
    UPDATE,
    Ledger,
    Work,
    bonds,
    found_in,
    peopled,
    registration,
    reveal_of,
    work,
)
from tests.support.validators import close_epoch, registering, twins

PEOPLE = ("req", "ann", "bob", "cat", "dan")
END = digest("test/state", b"end")
WORDS = {reason.word for reason in Reason}
who = st.sampled_from(PEOPLE)
pick = st.integers(0, 1 << 20)
amounts = st.sampled_from([-1, 0, 1, 7, PRICE, 3 * PRICE + 1, STAKE, 10 * STAKE, 2**63 - 1])
prices = st.dictionaries(who, st.integers(0, 5), max_size=5)
terms = st.builds(
    Propose,
    kind=st.sampled_from([TRAIN, TRAIN, EVAL]),
    manifest=st.just(JOB.manifest),
    state_hash=st.just(JOB.state_hash),
    fingerprint=st.just(JOB.fingerprint),
    seats=st.integers(1, 3),
    rounds=st.integers(1, 3),
    steps=st.just(41),
    windows=st.just(4),
    verifiers=st.integers(1, 2),
    quorum=st.integers(0, 3),
    unit_ms=st.just(1_000),
    memory_bytes=st.just(0),
    disk_bytes=st.just(1),
    price_cap=st.sampled_from([MicroTokens(1), MicroTokens(7), MicroTokens(999), PRICE]),
)
HONEST, OTHERWISE, ABSENT = "h", "o", "-"
plans = st.text("hhhhho-", min_size=8, max_size=8) | st.just(8 * HONEST) | st.just(8 * OTHERWISE)
often = st.sampled_from([True, True, True, True, False])


class People(RuleBasedStateMachine):
    """Five people, of whom each may be requester, provider and verifier."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger: Ledger = peopled(*PEOPLE)
        self.given: Counter[NodeId] = Counter()
        self.states: dict[UnitKey, UnitState] = {}
        self.ended_in: dict[JobId, Digest | None] = {}

    def do(self, name: str, operation: Operation) -> str:
        before = deepcopy(self.ledger.state)
        detail = self.ledger.do(name, operation)
        assert detail in WORDS
        now = self.ledger.state
        if detail != "ok" and (before.tick, before.epoch) == (now.tick, now.epoch):
            self.nothing_changed(before, self.ledger.id(name))
        return detail

    def nothing_changed(self, before: State, sender: NodeId) -> None:
        """Nothing but the sender's sequence and what every commit moves."""
        now = self.ledger.state
        before.height, before.time, before.mix = now.height, now.time, now.mix
        before.timestamp_ms = now.timestamp_ms
        before.fee_commits, before.fee_bytes = now.fee_commits, now.fee_bytes
        before.term, before.sequence = now.term, now.sequence
        before.committees = now.committees
        before.accounts.opened(sender).sequence_high = now.accounts[sender].sequence_high
        before.accounts.opened(sender).sequence_mask = now.accounts[sender].sequence_mask
        assert before == now

    def job(self, number: int) -> JobId:
        jobs = [*sorted(self.ledger.state.live_jobs), *sorted(self.ledger.state.jobs)]
        return jobs[number % len(jobs)] if jobs else JobId(OTHER)

    def lease(self, number: int) -> Digest:
        leases = list(self.ledger.state.leases)
        return leases[number % len(leases)] if leases else OTHER

    def provider(self, lease: Digest) -> str:
        return self.ledger.name(self.ledger.state.leases[lease].provider)


class Accounts(People):
    """What people do with their own money, and time."""

    @rule(name=who, to=who, amount=amounts)
    def transfer(self, name: str, to: str, amount: int) -> None:
        operation = Transfer(self.ledger.id(to), MicroTokens(amount), b"")
        if self.do(name, operation) == "ok":
            self.given[self.ledger.id(name)] -= amount
            self.given[self.ledger.id(to)] += amount

    @rule(name=who, amount=amounts)
    def stake(self, name: str, amount: int) -> None:
        self.do(name, Stake(MicroTokens(amount)))

    @rule(name=who, amount=amounts)
    def unstake(self, name: str, amount: int) -> None:
        self.do(name, Unstake(MicroTokens(amount)))

    @rule(name=who, provides=often)
    def register(self, *, name: str, provides: bool) -> None:
        self.do(name, registration(provides=provides))

    @rule(ticks=st.sampled_from([1, 1, 1, 1, 5, 12, 30, 70]))
    def wait(self, ticks: int) -> None:
        self.ledger.wait(ticks)


class Candidates(Accounts):
    """What people do about being validators."""

    @rule(name=who, amount=amounts)
    def bond(self, name: str, amount: int) -> None:
        self.do(name, BondValidator(MicroTokens(amount)))

    @rule(name=who, start=st.sampled_from([0, 1, 1 << 20]))
    def register_validator(self, name: str, start: int) -> None:
        self.do(name, registering(self.ledger, name, start))

    @rule(name=who)
    def retire(self, name: str) -> None:
        self.do(name, RetireValidator())

    @rule(name=who)
    def withdraw(self, name: str) -> None:
        self.do(name, WithdrawBond())

    @rule(name=who, ahead=st.integers(0, 2))
    def say_ready(self, name: str, ahead: int) -> None:
        self.do(name, ReadyValidator(self.ledger.state.epoch + ahead))

    @rule(name=who, offender=who)
    def accuse(self, name: str, offender: str) -> None:
        """Somebody makes two blocks of a round, and somebody shows them."""
        node = self.ledger.id(offender)
        if not any(one.node == node for one in self.ledger.state.term.committee.members):
            return
        before = self.ledger.state.validators[node].bond
        if self.do(name, twins(self.ledger, offender)) == "ok":
            taken = before - self.ledger.state.validators[node].bond
            assert before == 0 or taken * MILLION >= before * DEVELOPMENT.slash_min_ppm
            self.given[node] -= taken
            if name != offender:
                self.given[self.ledger.id(name)] += taken * DEVELOPMENT.reporter_ppm // MILLION

    @rule()
    def let_an_epoch_pass(self) -> None:
        close_epoch(self.ledger)


class Jobs(Candidates):
    """What requesters and providers do about jobs and leases."""

    @rule(name=who, terms=terms, prices=prices)
    def launch(self, name: str, terms: Propose, prices: dict[str, int]) -> None:
        """A job that starts at once, if its requester can pay and enough people bid."""
        known = set(self.ledger.state.jobs)
        self.do(name, terms)
        for job in sorted(set(self.ledger.state.jobs) - known):
            self.bid(job, prices)
            for lease in self.ledger.state.jobs[job].leases:
                self.do(self.provider(lease), Ready(lease))

    @rule(name=who, terms=terms)
    def propose(self, name: str, terms: Propose) -> None:
        self.do(name, terms)

    @rule(number=pick, prices=prices)
    def award(self, number: int, prices: dict[str, int]) -> None:
        if self.job(number) in self.ledger.state.jobs:
            self.bid(self.job(number), prices)

    def bid(self, identity: JobId, prices: dict[str, int]) -> None:
        job, until, bids = self.ledger.state.jobs[identity], self.ledger.state.tick + 50, []
        for name, less in prices.items():
            price = MicroTokens(job.propose.price_cap - less)
            bid = Bid(identity, self.ledger.id(name), price, Tick(until))
            bids.append(sign_bid(self.ledger.keys[name], self.ledger.executor.chain, bid))
        self.do(self.ledger.name(job.requester), Award(identity, tuple(bids)))

    @rule(number=pick)
    def ready(self, number: int) -> None:
        leases = self.ledger.state.leases.values()
        waiting = [lease.id for lease in leases if lease.state == LeaseState.AWARDED]
        if waiting:
            lease = waiting[number % len(waiting)]
            self.do(self.provider(lease), Ready(lease))

    @rule(plan=plans)
    def have(self, plan: str) -> None:
        jobs = self.ledger.state.jobs.values()
        records = [job.current for job in jobs if job.current is not None]
        members = [(record, lease) for record in records for lease in record.roster]
        for one, (record, lease) in zip(plan, members, strict=False):
            if one != ABSENT:
                held = tuple(sorted(offers(record))[: None if one == HONEST else 1])
                self.do(self.provider(lease), Have(lease, record.round, held))

    @invariant()
    def an_update_is_taken_once_and_at_most_two_rounds_late(self) -> None:
        for job in self.ledger.state.jobs.values():
            taken = [(made_in(it, one), one) for it in job.rounds for one in it.included]
            assert len({key for key, _ in taken}) == len(taken)
            for key, one in taken:
                commit = self.ledger.state.units[key].commit
                assert commit is not None
                assert (one.update, one.steps) == (commit.update, commit.steps)
                late = job.propose.kind == TRAIN and job.propose.verifiers > 0
                assert 0 <= one.age <= (LATE_AGE_MAX if late else 0)

    @rule(number=pick, name=who)
    def stop(self, number: int, name: str) -> None:
        self.do(name, Stop(self.lease(number)))

    @rule(number=pick, name=who)
    def cancel(self, number: int, name: str) -> None:
        self.do(name, Cancel(self.job(number)))


class Ends(Jobs):
    """What those who were there to the end say of it, the truth or not."""

    @rule(plan=plans)
    def last_state(self, plan: str) -> None:
        jobs = self.ledger.state.jobs.values()
        members = [(job, lease) for job in jobs for lease in job.said]
        for one, (job, lease) in zip(plan, members, strict=False):
            if one != ABSENT:
                said = job.said[lease]
                state = END if one == HONEST else OTHER
                found = self.do(self.provider(lease), LastState(lease, state))
                assert found in {"ok" if said == NO_DIGEST else "already-said", "too-late"}

    @invariant()
    def what_was_said_of_a_last_state_stays(self) -> None:
        for job in self.ledger.state.jobs.values():
            assert not job.said or job.rounds[-1].closed
            assert set(job.said) <= set(job.rounds[-1].roster if job.rounds else ())
            assert self.ended_in.get(job.id) in {None, ended_in(job)}
            self.ended_in[job.id] = ended_in(job)


class Units(Ends):
    """What providers and verifiers do about units."""

    @rule(plan=plans, windows=st.integers(0, 4))
    def commit(self, plan: str, windows: int) -> None:
        for one, unit in zip(plan, self.all(UnitState.RUNNING), strict=False):
            if one != ABSENT:
                start = START if one == HONEST else OTHER
                key = (unit.lease, unit.round)
                done = work(self.ledger, key, windows=windows or 4, start=start)
                self.do(self.provider(unit.lease), done.commit())

    @rule(plan=plans)
    def seal(self, plan: str) -> None:
        seats = [(unit, seat) for unit in self.all(UnitState.SEATED) for seat in unit.seats]
        for one, (unit, seat) in zip(plan, seats, strict=False):
            if one != ABSENT and unit.state == UnitState.SEATED:
                found = self.truth(unit) if one == HONEST else OTHER
                sealed = seal(unit.lease, unit.round, seat.verifier, found, SALT)
                operation = VerifyCommit(unit.lease, unit.round, sealed)
                self.do(self.ledger.name(seat.verifier), operation)

    @rule(plan=plans)
    def open_leaf(self, plan: str) -> None:
        for one, unit in zip(plan, self.all(UnitState.SEALED), strict=False):
            if one != ABSENT:
                done = self.done(unit)
                assert self.do(self.provider(unit.lease), done.open_leaf(unit.window)) == "ok"

    @rule(plan=plans)
    def reveal(self, plan: str) -> None:
        seats = [(unit, seat) for unit in self.all(UnitState.OPENED) for seat in unit.seats]
        for one, (unit, seat) in zip(plan, seats, strict=False):
            update = UPDATE if one == HONEST else NO_BLOB
            for found in (self.truth(unit), OTHER) if one != ABSENT else ():
                if seal(unit.lease, unit.round, seat.verifier, found, SALT) == seat.sealed:
                    operation = reveal_of(unit, found, update)
                    self.do(self.ledger.name(seat.verifier), operation)

    @rule(plan=plans, other=plans)
    def press_on(self, plan: str, other: str) -> None:
        """All of it at once, so that verdicts are reached."""
        self.commit(plan, 4)
        self.wait(1)
        self.seal(other)
        self.open_leaf(HONEST * 8)
        self.reveal(other[::-1])

    def all(self, state: UnitState) -> list[Unit]:
        return [unit for unit in self.ledger.state.units.values() if unit.state == state]

    @rule(name=who, number=pick, kind=st.integers(0, 6), round_=st.integers(-1, 3))
    def meddle(self, name: str, number: int, kind: int, round_: int) -> None:
        """Anything about anybody's lease, mostly refused."""
        lease, at = self.lease(number), Round(round_)
        shown = LeafPath(bytes(number % 40), (OTHER,) * (number % 3))
        operations: list[Operation] = [
            Ready(lease),
            VerifyCommit(lease, at, OTHER),
            VerifyReveal(lease, at, OTHER, BlobId(OTHER), SALT),
            OpenLeaf(lease, at, shown, shown),
            Have(lease, at, ()),
            Have(lease, at, (OTHER,)),
            LastState(lease, OTHER),
        ]
        self.do(name, operations[kind])

    def truth(self, unit: Unit) -> Digest:
        return found_in(self.done(unit), unit)

    def done(self, unit: Unit) -> Work:
        """The work that was committed."""
        assert unit.commit is not None
        key = (unit.lease, unit.round)
        for start in (START, OTHER):
            done = work(self.ledger, key, windows=unit.commit.leaves - 1, start=start)
            if done.commit() == unit.commit:
                return done
        raise AssertionError("only such work is committed here")


class Anything(Units):
    """What must hold after whatever anybody does."""

    @invariant()
    def money_is_where_the_terms_of_units_say(self) -> None:
        state = self.ledger.state
        assert supply(state) == MAX_SUPPLY
        moved = earnings(state, DEVELOPMENT)
        escrow = Counter[NodeId]()
        for job in state.jobs.values():
            escrow[job.requester] += job.escrow
        for node, account in state.accounts.items():
            expected = DEVELOPMENT.founder_grant + self.given[node] + moved[node]
            validator = state.validators.get(node, Validator())
            bonded = validator.bond - DEVELOPMENT.validator_bond_min
            assert account.free + account.stake + escrow[node] + bonded == expected
            assert 0 <= account.locked <= account.stake
            assert account.free >= 0

    @invariant()
    def accounts_lock_what_bonds_hold(self) -> None:
        state = self.ledger.state
        locked = Counter[NodeId]()
        for lease in state.leases.values():
            locked[lease.provider] += lease.bond
        for unit in state.units.values():
            for seat in unit.seats:
                locked[seat.verifier] += seat.bond
        for node, account in state.accounts.items():
            assert account.locked == locked[node]

    @invariant()
    def units_move_along_their_edges(self) -> None:
        for key, unit in self.ledger.state.units.items():
            before = self.states.get(key, UnitState.RUNNING)
            assert unit.state == before or reachable(before, unit.state), (before, unit.state)
            self.states[key] = unit.state

    @invariant()
    def escrow_covers_every_unit_that_is_pending(self) -> None:
        state = self.ledger.state
        owed = Counter[JobId]()
        for unit in state.units.values():
            if not unit.state.settled:
                owed[state.leases[unit.lease].job] += unit.price + unit.verifier_fee
        for job in state.jobs.values():
            assert job.escrow >= owed[job.id]
            assert job.state.ended == (job.id not in state.live_jobs)
            assert not job.state.ended or not job.escrow

    @invariant()
    def roots_by_bucket_are_roots_of_the_whole(self) -> None:
        if self.ledger.applied[-1].state_root is not None:
            assert self.ledger.applied[-1].state_root == root_of(self.ledger.state)

    @override
    def teardown(self) -> None:
        """All signers are gone: everything ends by itself."""
        self.ledger.wait(500)
        state = self.ledger.state
        assert not state.live_jobs
        assert self.ledger.executor.next_deadline is None
        assert bonds(state) == 0
        assert all(account.locked == 0 for account in state.accounts.values())
        assert all(unit.state.settled for unit in state.units.values())
        assert supply(state) == MAX_SUPPLY


def reachable(before: UnitState, after: UnitState) -> bool:
    """Whether one state leads to the other along the edges."""
    return any(after == step or reachable(step, after) for step in sorted(EDGES.get(before, set())))


TestAnything = Anything.TestCase
TestAnything.settings = settings(
    max_examples=40,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow],
)
