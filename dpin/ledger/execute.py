"""From the agreed order to the state: the same commits give the same state on every node."""

from dataclasses import dataclass
from typing import Final

from dpin.base.codec import encode
from dpin.base.crypto import digest
from dpin.base.ids import NO_DIGEST, Digest, NodeId, Round
from dpin.base.units import LedgerMillis, MicroTokens, Tick
from dpin.ledger import closing, cosigning, evidence, fees, money, rules
from dpin.ledger.accounts import Account, Accounts, State, pack
from dpin.ledger.admission import Gate, Invalid, Rejected, check_sender, use
from dpin.ledger.assembly import Restored
from dpin.ledger.book import Book, Kind, Part
from dpin.ledger.checkpoint import Checkpoint, CommitteeRecord
from dpin.ledger.committee import first_record
from dpin.ledger.deadlines import agenda_of
from dpin.ledger.frozen import Frozen, FrozenStates
from dpin.ledger.genesis import Founder, Genesis, chain_id
from dpin.ledger.order import OrderedCommit, Receipt
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.roots import StateRoot
from dpin.ledger.standing import Epoch, Noted, Validator, opened
from dpin.ledger.statetree import StateProof
from dpin.ledger.transactions import Register

MIX_TAG: Final = "dpin/mix/v1"
OF_FOUNDERS: Final = (Kind.ACCOUNT, Kind.VALIDATOR)


@dataclass(frozen=True, slots=True)
class Applied:
    """What one commit did."""

    height: int
    receipts: tuple[Receipt, ...]  # in order: transactions, then what fell due
    state_root: Digest | None  # with each checkpoint
    checkpoint: Checkpoint | None = None  # every `root_every` commits, and at an epoch's end
    closing: CommitteeRecord | None = None  # at an epoch's end: who validates the next


class Executor:
    """The state of one network, moved by ordered commits and by nothing else."""

    def __init__(self, genesis: Genesis) -> None:
        self.chain = chain_id(genesis)
        self._book = Book(self.chain, genesis.params, birth(genesis))
        self.gate = Gate(self.chain)
        self._root = StateRoot()
        self.rooted: tuple[int, Digest] | None = None  # the newest state root and its height
        self._book.changed.add((Kind.COMMITTEE, b"", 0))
        for founder in genesis.founders:
            self._book.changed |= {(kind, founder.node, 0) for kind in OF_FOUNDERS}
        self.receipts = ReceiptLog()
        self._unnoted: Noted | None = None
        self.frozen = FrozenStates()  # as the newest epochs and checkpoints found it
        money.audit(self._book)
        self._audited = 0  # the height of the last full audit

    def resume(self, restored: Restored) -> None:
        """Go on from a state that somebody, perhaps this node itself, had after a closing commit.

        Every commit from there on does to it what it does to the state where it came about.
        """
        state, root = restored.state, restored.root
        self._book = Book(self.chain, self._book.params, state)
        self._root, self.receipts = root, restored.receipts
        self._unnoted = None
        self.rooted = (state.height, root.digest)
        money.audit(self._book)
        self._audited = state.height
        self.frozen = FrozenStates()
        frozen = Frozen(state, restored.checkpoint, root, self.receipts.tree)
        _begin_epoch(self._book, self.frozen, frozen)

    @property
    def state(self) -> State:
        """Everybody may read it; nobody else may write it."""
        return self._book.state

    @property
    def mix(self) -> Digest:
        """The newest draw that nobody could choose."""
        return self._book.state.mix

    @property
    def has_deadlines(self) -> bool:
        """Whether something will happen by itself, so that time must go on: an epoch's end."""
        return True

    @property
    def next_deadline(self) -> Tick | None:
        """The tick of the first thing of jobs, leases and units that will."""
        return self._book.agenda.first

    def prove(self, part: Part) -> StateProof:
        """What stood at a part's key when the newest state root was taken, or that nothing did."""
        return self._root.prove(part)

    def check(self, transaction: bytes) -> str | None:
        """Why this signed transaction cannot be applied now, in kebab-case; None if it may."""
        try:
            _, read = self.gate.read(transaction)
            check_sender(self.state, self._book.params, read, len(transaction))
        except Rejected as rejected:
            return str(rejected)
        return None

    def funds(self, account: NodeId) -> MicroTokens:
        """What an account has free to pay fees with."""
        found = self.state.accounts.get(account)
        return found.free if found is not None else MicroTokens(0)

    def apply(self, commit: OrderedCommit) -> Applied:
        """Apply the next commit: time, mix, transactions, what fell due, the epoch's end."""
        assert commit.height == self.state.height + 1, "commits are applied in order"
        self._book.receipts = []
        self.state.height = commit.height
        self._note()
        self._move_time(commit.timestamp_ms)
        self._stir_mix(commit)
        fees.note(self.state, commit.transactions)
        for block in commit.blocks:
            cosigning.count(self.state, self.chain, block)
        invalid = [
            place
            for place, data in enumerate(commit.transactions)
            if not self._transact(data, commit.leader_round)
        ]
        evidence.note_invalid(self.state.term, commit.blocks, invalid)
        rules.expire(self._book)
        epoch = self.state.term
        record = closing.close(self._book, commit) if closing.is_due(self._book) else None
        money.check(self._book)
        self.receipts.append(*self._book.receipts)
        receipts = tuple(self._book.receipts)
        if record is None and commit.height % self._book.params.consensus.root_every:
            return Applied(commit.height, receipts, None)
        checkpoint = self._checkpoint(commit, epoch, record)
        return Applied(commit.height, receipts, checkpoint.state_root, checkpoint, record)

    def _move_time(self, timestamp_ms: int) -> None:
        """C5: an outage stops the clock instead of letting every deadline pass at once."""
        params, state = self._book.params, self.state
        step = max(0, timestamp_ms - state.timestamp_ms)
        state.timestamp_ms = max(state.timestamp_ms, timestamp_ms)
        state.time = LedgerMillis(state.time + min(step, params.consensus.time_step_max_ms))
        state.tick = Tick(state.time // params.tick_ms)

    def _stir_mix(self, commit: OrderedCommit) -> None:
        """A reveal that does not belong to its chain adds nothing."""
        leader = self.state.term.seated[commit.leader]
        if leader.accepts(commit.leader_round, commit.reveal):
            self.state.mix = digest(MIX_TAG, self.state.mix + commit.reveal)

    def _transact(self, data: bytes, leader_round: Round) -> bool:
        """Apply one transaction; one that may not be applied leaves no trace, a refused one does.

        A refusal uses the sequence number: nobody may have it applied at a later, better time. It
        costs the fee too. False: no state could apply it.
        """
        book = self._book
        try:
            identity, transaction = self.gate.read(data)
            _, fee = check_sender(book.state, book.params, transaction, len(data))
        except Rejected as rejected:
            return not isinstance(rejected, Invalid)
        self.gate.forget(data)
        sender, operations = transaction.sender, transaction.operations
        account = book.account(sender)
        use(account, transaction.sequence)
        if fee:
            money.pay_fee(book, account, fees.split(fee))
        place = len(book.receipts)
        reason, failed = rules.apply(book, sender, operations, identity)
        detail = (
            f"{reason.word} operation={failed + 1}" if reason and operations[1:] else reason.word
        )
        # Before the settlements that it brought about.
        book.receipts.insert(place, Receipt(book.state.height, identity, int(reason), detail))
        for operation in operations:
            if isinstance(operation, Register) and not reason:
                _renew(self.state, sender, operation, leader_round)
        return True

    def _checkpoint(
        self, commit: OrderedCommit, epoch: Epoch, record: CommitteeRecord | None
    ) -> Checkpoint:
        """Of the state as it is now; the newest leaf of the log."""
        self.state.sequence += 1
        fees.move(self.state, self._book.params)
        if money.audit_is_due(self.state, self.state.height - self._audited):
            money.audit(self._book)
            self._audited = self.state.height
        root = self._root.update(self.state, self._book.changed)
        touched = sorted(self._book.changed)
        pack(self.state.accounts, (NodeId(one[1]) for one in touched if one[0] == Kind.ACCOUNT))
        self._book.changed.clear()
        self.rooted = (self.state.height, root)
        checkpoint = cosigning.make_checkpoint(self._book, commit, root, epoch, record)
        self.receipts.append(checkpoint)
        frozen = Frozen(self.state, checkpoint, self._root, self.receipts.tree)
        if record is None:
            self._unnoted = cosigning.noted(checkpoint, self.receipts)
            self.frozen.pass_by(frozen)
            self._book.before = self.frozen.keep
        else:
            _begin_epoch(self._book, self.frozen, frozen)
        return checkpoint

    def _note(self) -> None:
        """The newest checkpoint is noted now, and not before: its state root cannot cover it."""
        if self._unnoted is not None:
            cosigning.note(self.state.term, self._unnoted)
            self._unnoted = None


def _renew(state: State, sender: NodeId, register: Register, leader_round: Round) -> None:
    """A validator changes to another chain, from a round that is still to come."""
    epoch, ahead = state.term, register.anchor_round >= leader_round
    if register.anchor == NO_DIGEST or not ahead:
        return
    for member, seated in zip(epoch.committee.members, epoch.seated, strict=True):
        if member.node == sender:
            seated.next_round, seated.next_reveal = register.anchor_round, register.anchor


def _begin_epoch(book: Book, states: FrozenStates, frozen: Frozen) -> None:
    """Have what whoever joins here has, and hold on to what they will ask for."""
    book.agenda = agenda_of(book.state)
    states.add(frozen)
    book.before = states.keep


def birth(genesis: Genesis) -> State:
    """The state before the first commit: founders have grant and bond, the reserve has the rest."""
    bond, record = genesis.params.validator_bond_min, first_record(genesis, chain_id(genesis))
    granted = sum(founder.grant + bond for founder in genesis.founders)
    return State(
        MicroTokens(money.MAX_SUPPLY - granted),
        MicroTokens(0),
        Accounts({founder.node: Account(free=founder.grant) for founder in genesis.founders}),
        timestamp_ms=genesis.created_ms,
        mix=digest(MIX_TAG, encode(genesis)),
        validators={founder.node: _bonded(founder, bond) for founder in genesis.founders},
        term=opened(record, LedgerMillis(0), 0),
        committees={0: record},
    )


def _bonded(founder: Founder, bond: MicroTokens) -> Validator:
    """A founder is a registered validator from the start; its node key is its consensus key."""
    return Validator(bond, founder.node, founder.anchor, last_epoch=0)
