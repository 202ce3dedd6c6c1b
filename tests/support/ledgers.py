"""A ledger in the hand: people with keys, operations one by one, and time as fast as one likes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import msgspec

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.ids import NO_DIGEST, BlobId, Digest, JobId, NodeId, Round
from dpin.base.leaf import Leaf, leaf_digest, leaf_path, leaves_root, window_bounds
from dpin.base.units import MicroTokens, Tick
from dpin.ledger import fees
from dpin.ledger.accounts import Account, Job, Lease, State, Unit, UnitKey
from dpin.ledger.beacon import Chain, OwnChain
from dpin.ledger.execute import Applied, Executor
from dpin.ledger.genesis import Genesis, found
from dpin.ledger.order import OrderedBlock, OrderedCommit
from dpin.ledger.params import DEVELOPMENT, Params
from dpin.ledger.transactions import (
    TRAIN,
    Award,
    Bid,
    Commit,
    Have,
    LeafPath,
    OpenLeaf,
    Operation,
    Propose,
    Ready,
    Register,
    Stake,
    VerifyCommit,
    VerifyReveal,
    seal,
    sign,
    sign_bid,
)

CREATED_MS = 1_700_000_000_000
FINGERPRINT = digest("test/fingerprint", b"cpu")
START = digest("test/state", b"start")
UPDATE = BlobId(bytes([7]) * 32)
OTHER = digest("test/other", b"")
CHAIN = Chain(1 << 16)
PRICE = MicroTokens(1_000_000)
STAKE = MicroTokens(1_000_000_000)
SALT = bytes(16)

JOB = Propose(
    kind=TRAIN,
    manifest=BlobId(bytes([1]) * 32),
    state_hash=START,
    fingerprint=FINGERPRINT,
    seats=1,
    rounds=1,
    steps=40,
    windows=4,
    verifiers=2,
    quorum=0,
    unit_ms=4_000,
    memory_bytes=0,
    disk_bytes=1 << 20,
    price_cap=MicroTokens(2 * PRICE),
)


def registration(*, provides: bool = True, fingerprint: Digest = FINGERPRINT) -> Register:
    """What a node says of itself."""
    return Register("node", "cpu", 1 << 30, fingerprint, provides, NO_DIGEST, Round(0))


@cache
def chain_table(seed: bytes) -> bytes:
    """The reveals of whoever has this id."""
    return CHAIN.build(seed)


class Ledger:
    """One executor with everybody's keys. All people are founders: each has the founder's grant."""

    def __init__(self, *people: str, params: Params = DEVELOPMENT) -> None:
        self.keys = {name: SigningKey(digest("test/key", name.encode())) for name in people}
        tables = {key.node_id: chain_table(key.node_id) for key in self.keys.values()}
        members = {node: CHAIN.anchor(table) for node, table in tables.items()}
        self.genesis: Genesis = found("test", CREATED_MS, members, params)
        self.reveals = {node: OwnChain(CHAIN, table) for node, table in tables.items()}
        self.round = Round(0)  # of the newest leader
        self.executor = Executor(self.genesis)
        self.commits: list[OrderedCommit] = []
        self.applied: list[Applied] = []
        self.now_ms = CREATED_MS
        self._sequences = dict.fromkeys(people, 0)

    @property
    def state(self) -> State:
        """As of the last commit."""
        return self.executor.state

    def id(self, name: str) -> NodeId:
        """Somebody's account."""
        return self.keys[name].node_id

    def name(self, node: NodeId) -> str:
        """Whose account that is."""
        return next(name for name, key in self.keys.items() if key.node_id == node)

    def account(self, name: str) -> Account:
        """Somebody's money."""
        return self.state.accounts[self.id(name)]

    def signed(self, name: str, operation: Operation) -> bytes:
        """A transaction with the sender's next sequence number."""
        self._sequences[name] += 1
        key = self.keys[name]
        terms = fees.terms(self.state, self.genesis.params, (operation,))
        return encode(sign(key, self.executor.chain, self._sequences[name], operation, terms))

    def commit(
        self, *transactions: bytes, after_ms: int = 1, blocks: Sequence[OrderedBlock] = ()
    ) -> Applied:
        """One commit, so long after the last."""
        self.now_ms += after_ms
        height, committee = len(self.commits) + 1, self.state.term.committee
        leader = height % len(committee.members)
        self.round = Round(max(self.round, committee.base) + 2)
        reveal = self.reveals[committee.members[leader].node].at(self.round)
        commit = OrderedCommit(
            height,
            self.round,
            leader,
            reveal,
            self.now_ms,
            digest("test/commit", height.to_bytes(8)),
            list(transactions),
            committee.epoch,
            blocks,
        )
        self.commits.append(commit)
        self.applied.append(self.executor.apply(commit))
        return self.applied[-1]

    def do(self, name: str, *operations: Operation) -> str:
        """Have these done in one commit, each in a transaction; what became of the last."""
        applied = self.commit(*[self.signed(name, operation) for operation in operations])
        codes = [one for one in applied.receipts if one.code == 0 or one.code >= 100]
        return codes[-1].detail

    def wait(self, ticks: int) -> None:
        """Let so many ticks pass, one commit a tick."""
        target = self.state.tick + ticks
        while self.state.tick < target:
            self.commit(after_ms=self.genesis.params.tick_ms)


# --- steps of a job ----------------------------------------------------------------------------


def peopled(*people: str, params: Params = DEVELOPMENT) -> Ledger:
    """A ledger on which all these are registered and have staked."""
    ledger = Ledger(*people, params=params)
    for name in people:
        assert ledger.do(name, registration(), Stake(STAKE)) == "ok"
    return ledger


def propose(ledger: Ledger, name: str, **changes: object) -> JobId:
    """Open a job like JOB, but for these fields."""
    signed = ledger.signed(name, msgspec.structs.replace(JOB, **changes))
    [receipt] = ledger.commit(signed).receipts
    assert receipt.detail == "ok", receipt.detail
    return JobId(receipt.subject)


def award(ledger: Ledger, job: JobId, **prices: int) -> str:
    """Award the job's open seats among these bids."""
    bids = []
    for name, price in prices.items():
        until = Tick(ledger.state.tick + 1_000)
        bid = Bid(job, ledger.id(name), MicroTokens(price), until)
        bids.append(sign_bid(ledger.keys[name], ledger.executor.chain, bid))
    requester = ledger.name(ledger.state.jobs[job].requester)
    return ledger.do(requester, Award(job, tuple(bids)))


def lease_of(ledger: Ledger, job: JobId, name: str) -> Lease:
    """Somebody's newest lease on a job."""
    leases = [ledger.state.leases[lease] for lease in ledger.state.jobs[job].leases]
    return [lease for lease in leases if lease.provider == ledger.id(name)][-1]


def make_ready(ledger: Ledger, job: JobId, *names: str) -> None:
    """These providers say that they are ready."""
    for name in names:
        assert ledger.do(name, Ready(lease_of(ledger, job, name).id)) == "ok"


def running(ledger: Ledger, requester: str, *names: str, **changes: object) -> JobId:
    """A job whose seats are leased to these, each at PRICE, in round 0."""
    job = propose(ledger, requester, **{"seats": len(names), **changes})
    assert award(ledger, job, **dict.fromkeys(names, PRICE)) == "ok"
    make_ready(ledger, job, *names)
    return job


@dataclass(frozen=True)
class Work:
    """What somebody did in one unit: its leaves and the operations that show them."""

    leaves: tuple[Leaf, ...]
    update: BlobId = UPDATE

    def opened(self, window: int) -> LeafPath:
        """One leaf as the ledger takes it."""
        return LeafPath(encode(self.leaves[window]), leaf_path(self.leaves, window))

    def commit(self) -> Commit:
        """The unit's commit."""
        first, last = self.leaves[0], self.leaves[-1]
        root = leaves_root(self.leaves)
        shown = self.opened(0)
        return Commit(
            first.lease, first.round, root, len(self.leaves), last.step, shown, self.update
        )

    def open_leaf(self, window: int) -> OpenLeaf:
        """The opening of the checked and the last leaf."""
        first = self.leaves[0]
        return OpenLeaf(
            first.lease, first.round, self.opened(window), self.opened(len(self.leaves) - 1)
        )


def work(
    ledger: Ledger,
    key: UnitKey,
    *,
    windows: int | None = None,
    start: Digest = START,
    optimizer: Digest | None = None,
) -> Work:
    """Work on a unit; so many windows of it, from this state."""
    lease = ledger.state.leases[key[0]]
    terms = ledger.state.jobs[lease.job].propose
    bounds = window_bounds(terms.steps, terms.windows)[: (windows or terms.windows) + 1]
    begun = optimizer_after(key[0], key[1] - 1) if key[1] > lease.first_round else NO_DIGEST
    before = key[1] if terms.kind == TRAIN else lease.seat
    leaves = []
    for window, step in enumerate(bounds):
        parameters = start if window == 0 else digest("test/parameters", encode([*key, window]))
        state = (optimizer or begun) if window == 0 else optimizer_after(*key)
        cursor = before * terms.steps + step
        leaves.append(Leaf(lease.job, *key, window, step, parameters, state, NO_DIGEST, cursor))
    return Work(tuple(leaves))


def optimizer_after(lease: Digest, round_: int) -> Digest:
    """The optimizer state in which a unit ends."""
    return digest("test/optimizer", encode([lease, round_]))


def key_of(ledger: Ledger, job: JobId, name: str) -> UnitKey:
    """Somebody's unit in the job's newest round."""
    return lease_of(ledger, job, name).id, Round(len(ledger.state.jobs[job].rounds) - 1)


def unit_of(ledger: Ledger, job: JobId, name: str) -> Unit:
    """Somebody's unit in the job's newest round."""
    return ledger.state.units[key_of(ledger, job, name)]


def finish(ledger: Ledger, job: JobId, *names: str) -> None:
    """These providers commit their units of the newest round."""
    for name in names:
        done = work(ledger, key_of(ledger, job, name))
        assert ledger.do(name, done.commit()) == "ok"


def exchange(ledger: Ledger, job: JobId, *names: str) -> None:
    """These providers say that they hold all candidates of the current round."""
    current = ledger.state.jobs[job].rounds[-1]
    for name in names:
        lease = lease_of(ledger, job, name).id
        assert ledger.do(name, Have(lease, current.round, tuple(current.candidates))) == "ok"


def reveal_of(unit: Unit, found: Digest, update: BlobId = UPDATE) -> VerifyReveal:
    """What a verifier found."""
    return VerifyReveal(unit.lease, unit.round, found, update, SALT)


def found_in(done: Work, unit: Unit) -> Digest:
    """What an honest verifier finds."""
    return leaf_digest(done.leaves[unit.window])


def seal_all(ledger: Ledger, unit: Unit, found: Sequence[Digest]) -> None:
    """The first of the seated seal what they found, in order of their seats."""
    for seat, one in zip(unit.seats, found, strict=False):
        sealed = seal(unit.lease, unit.round, seat.verifier, one, SALT)
        operation = VerifyCommit(unit.lease, unit.round, sealed)
        assert ledger.do(ledger.name(seat.verifier), operation) == "ok"


def reveal_all(ledger: Ledger, unit: Unit, found: Sequence[Digest]) -> None:
    """The first of the seated reveal what they found, in order of their seats."""
    for seat, one in zip(list(unit.seats), found, strict=False):
        assert ledger.do(ledger.name(seat.verifier), reveal_of(unit, one)) == "ok"


def check_honestly(ledger: Ledger, key: UnitKey) -> None:
    """From committed to paid: seats drawn, sealed, opened, revealed."""
    unit, done = ledger.state.units[key], work(ledger, key)
    ledger.wait(1)
    found = [found_in(done, unit)] * len(unit.seats)
    seal_all(ledger, unit, found)
    provider = ledger.name(ledger.state.leases[key[0]].provider)
    assert ledger.do(provider, done.open_leaf(unit.window)) == "ok"
    reveal_all(ledger, unit, found)


def bonds(state: State) -> int:
    """What bonds hold in all: the same as what accounts have locked."""
    leases = sum(lease.bond for lease in state.leases.values())
    return leases + sum(seat.bond for unit in state.units.values() for seat in unit.seats)


def is_quiet(state: State, job: Job) -> bool:
    """Whether a job has ended and holds nothing back."""
    pending = any(state.leases[lease].pending for lease in job.leases)
    return job.state.ended and not job.escrow and not pending
