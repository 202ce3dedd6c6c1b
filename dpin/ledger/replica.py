"""The replica: one node's copy of the ledger as a machine.

A member of the committee makes blocks and sends them to the others and to its followers. Any other
node follows two members, checks every block and decides every commit itself, and hands its own
transactions to a member. The log holds accepted blocks only: replaying it gives the same state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Roll, Send, Store, Tick, Wake
from dpin.base.units import NEVER, Instant
from dpin.ledger.beacon import Chain, OwnChain
from dpin.ledger.blocks import check_block, read_block
from dpin.ledger.dag import Fate, encoded
from dpin.ledger.engine import Engine, Executed
from dpin.ledger.fetch import Fetch
from dpin.ledger.genesis import Genesis, chain_id
from dpin.ledger.intake import Intake, Refusals
from dpin.ledger.links import Links
from dpin.ledger.messages import (
    AskBlocks,
    AskNewest,
    AskRange,
    BlockMessage,
    Blocks,
    Newest,
    SubmitTransaction,
    Subscribe,
    Subscribed,
    read_message,
)
from dpin.ledger.offload import CheckSignatures, SignaturesChecked
from dpin.ledger.order import Executor, OrderedCommit, Receipt
from dpin.ledger.outbox import GivenUp, Outbox
from dpin.ledger.proposer import Author
from dpin.ledger.serve import Allowance, answer_blocks, answer_newest, answer_range
from dpin.ledger.sync import Ahead, Ranges, Triggers


@dataclass(frozen=True, slots=True)
class Submit:
    """Put this encoded transaction on the ledger."""

    transaction: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A submitted transaction will not be on the ledger by this node's doing, and why."""

    id: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A commit was executed. `replayed`: it is the last of the log, done when the node began."""

    commit: OrderedCommit
    receipts: Sequence[Receipt]
    state_root: Digest | None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Silenced:
    """A member that signs no more in its epoch; it goes on as an observer."""

    reason: str


Event = Received | PeerUp | PeerDown | Tick | Submit | SignaturesChecked
Effect = Send | Store | Roll | Wake | Blame | Applied | Refused | Silenced | CheckSignatures


class Replica:
    """See dpin.base.machine.Machine.

    A key outside the committee makes an observer. `beacon` is the table of a member's own chain of
    reveals; `records` is the log, oldest first.
    """

    def __init__(
        self,
        genesis: Genesis,
        key: SigningKey,
        executor: Executor,
        beacon: bytes | None,
        records: Iterable[bytes],
    ) -> None:
        members = [founder.node for founder in genesis.founders]
        author = None
        if key.node_id in members:
            chain = OwnChain(Chain(), beacon) if beacon is not None else None
            author = Author(members.index(key.node_id), key, chain)
        self.chain = chain_id(genesis)
        self.engine = Engine(genesis, author, executor)
        self._core = self.engine.core
        self._committee = self._core.rules.committee
        self._links = Links(self._committee, key.node_id)
        self._ahead = Ahead(self._committee)
        self._fetch = Fetch()
        self._ranges = Ranges(self._core.dag)
        self._triggers = Triggers(self._core.dag, self._ranges)
        self._outbox = Outbox(executor.check)
        self._intake = Intake(self.engine, self._outbox)
        self._allowance = Allowance()
        self._silenced = False  # whether that was said
        self._wake_at = NEVER  # the earliest Tick that is on its way
        self._replayed: list[Effect] = [
            _applied(executed, replayed=True) for executed in self.engine.replay(records)
        ]

    def step(self, event: Event, now: Instant) -> Sequence[Effect]:
        """Take one event. The first call also returns the last commit of the log, as replayed."""
        effects, self._replayed = self._replayed, []
        match event:
            case Received(peer, payload):
                effects += self._receive(peer, payload, now)
            case PeerUp(peer):
                effects += self._greet(peer)
            case PeerDown(peer):
                self._links.down(peer)
                self._ranges.left(peer)
                effects += self._links.follow()
            case Tick():
                self._wake_at = NEVER
            case Submit(transaction):
                effects += _refused(self._intake.submit(transaction, now))
            case SignaturesChecked():
                effects += _refused(self._intake.checked(event, now))
            case _:
                assert_never(event)
        if self._intake.queued_only:
            self._intake.queued_only = False
            return [*effects, *self._intake.batches()]
        effects += self._advance(now)
        effects += self._intake.batches()
        effects += self._catch_up(now)
        effects += self._sleep(now)
        return effects

    # --- peers ---

    def _greet(self, peer: NodeId) -> list[Effect]:
        """Tell a new peer where we stand, and look whether it knows more."""
        self._links.up(peer)
        index = self._committee.index(peer)
        effects: list[Effect] = [*self._links.follow()]
        last, restart = self.engine.last, self.engine.restart
        if index is not None and last is not None:
            effects.append(Send(peer, encode(BlockMessage(encoded(last)))))
        if restart is not None and restart.waiting:
            effects.append(Send(peer, encode(AskNewest())))
        if peer in self._links.sources:
            self._ranges.probe(peer)
        return effects

    def _receive(self, peer: NodeId, payload: bytes, now: Instant) -> list[Effect]:
        try:
            message = read_message(payload)
            if isinstance(message, AskBlocks | AskRange | AskNewest | Subscribe):
                return [*self._answer(peer, message, now)]
            return self._handle(peer, message, now)
        except PeerFault as fault:
            return [Blame(peer, str(fault))]

    def _answer(
        self, peer: NodeId, question: AskBlocks | AskRange | AskNewest | Subscribe, now: Instant
    ) -> list[Send]:
        if not self._allowance.spend(peer, now):
            return []  # It asks again.
        dag = self._core.dag
        match question:
            case AskBlocks():
                return [Send(peer, encode(answer_blocks(dag, question)))]
            case AskRange():
                return [Send(peer, encode(answer_range(dag, question)))]
            case AskNewest():
                return [Send(peer, encode(answer_newest(dag, self._committee.index(peer))))]
            case Subscribe():
                taken = self.engine.restart is not None and self._links.followers.add(peer)
                return [Send(peer, encode(Subscribed(taken)))]

    def _handle(
        self,
        peer: NodeId,
        message: BlockMessage | Blocks | Newest | Subscribed | SubmitTransaction,
        now: Instant,
    ) -> list[Effect]:
        match message:
            case BlockMessage(block):
                _, effects = self._take(peer, block, now)
                return effects
            case Blocks():
                return self._page(peer, message, now)
            case Newest():
                self._learn(peer, message)
            case Subscribed(taken):
                if not taken:
                    self._links.refused(peer)
                    return [*self._links.follow()]
            case SubmitTransaction(transaction):
                self._intake.receive(transaction)
        return []

    def _learn(self, peer: NodeId, newest: Newest) -> None:
        """Somebody says what it knows of our blocks, and how far it is."""
        index, restart = self._committee.index(peer), self.engine.restart
        if index is not None:
            self._ahead.saw(index, newest.highest)
        if restart is not None and self.engine.role is not None:
            restart.answer(index, newest, self.engine.role.proposer.last)

    def _page(self, peer: NodeId, page: Blocks, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        useful = False
        for block in page.blocks:
            fate, asked = self._take(peer, block, now)
            useful = useful or fate in {Fate.ACCEPTED, Fate.SUSPENDED}
            effects += asked
        return [*effects, *self._ranges.answered(peer, page, useful=useful, now=now)]

    def _take(self, peer: NodeId, data: bytes, now: Instant) -> tuple[Fate, list[Effect]]:
        """Check a block and take it; raises PeerFault for one that no honest node passes on."""
        vertex = read_block(data)
        if vertex.digest in self._core.dag:
            return Fate.KNOWN, []
        check_block(vertex, self._core.rules)
        self._ahead.saw(vertex.author, vertex.round)
        offered = self.engine.take(vertex, peer, now)
        if offered.accepted:
            self._triggers.accepted(now)
        return offered.fate, [*self._fetch.want(offered.missing, peer, now)]

    # --- what follows from every event, but from a transaction that waits behind others ---

    def _advance(self, now: Instant) -> list[Effect]:
        """Execute, propose, and pass on what was accepted."""
        progress = self.engine.advance(now, behind=self._ahead.behind(self._core.dag.highest))
        dropped = self.engine.mempool.dropped()
        effects: list[Effect] = [Refused(gone.id, gone.reason) for gone in dropped]
        for effect in progress.effects:
            if isinstance(effect, Executed):
                self._outbox.committed(effect.commit.transactions)
                effects.append(_applied(effect, replayed=False))
            else:
                effects.append(effect)
        for vertex in progress.accepted:
            audience = self._links.audience(own=vertex in progress.made)
            if audience:
                message = encode(BlockMessage(encoded(vertex)))
                effects += [Send(peer, message) for peer in audience]
        if progress.accepted:
            self._triggers.accepted(now)
        return [*effects, *self._fall_silent(now)]

    def _fall_silent(self, now: Instant) -> list[Effect]:
        """Once, when this member finds that it must not sign: others take its transactions."""
        restart = self.engine.restart
        if restart is None or restart.silenced is None or self._silenced:
            return []
        self._silenced = True
        return [Silenced(restart.silenced), *_refused(self._intake.divert(now))]

    def _catch_up(self, now: Instant) -> list[Effect]:
        """Ask for what is missing or overdue."""
        sources, triggers = self._links.sources, self._triggers
        effects: list[Effect] = [*self._fetch.step(self._core.dag, sources, now)]
        triggers.suspended(sources, now)
        if self._ahead.behind(self._core.dag.highest):
            triggers.behind(sources, now)
        if triggers.quiet(sources, now, pending=self.engine.pending):
            effects += self._repeat()
        effects += self._ranges.step(now)
        for tried in self._outbox.step(self._links.members, now):
            effects.append(Refused(tried.id, tried.reason) if isinstance(tried, GivenUp) else tried)
        restart = self.engine.restart
        if restart is not None and restart.due(now):
            effects += [Send(peer, encode(AskNewest())) for peer in self._links.all]
        return effects

    def _repeat(self) -> list[Send]:
        """Nothing has come for a while, though something should: was our last block lost?"""
        last = self.engine.last
        if last is None or not self.engine.pending:
            return []
        message = encode(BlockMessage(encoded(last)))
        return [Send(peer, message) for peer in self._links.members]

    def _sleep(self, now: Instant) -> list[Wake]:
        """Ask to be woken when the next thing is due, unless an earlier Tick is on its way."""
        behind = self._ahead.behind(self._core.dag.highest)
        at = min(
            NEVER if behind else self.engine.next_at(now),
            self.engine.restart.next_at if self.engine.restart is not None else NEVER,
            self._fetch.next_at,
            self._ranges.next_at,
            self._triggers.next_at(behind=behind),
            self._outbox.next_at,
        )
        if at >= self._wake_at:
            return []
        self._wake_at = at
        return [Wake(at)]


def _applied(executed: Executed, *, replayed: bool) -> Applied:
    done = executed.done
    return Applied(executed.commit, done.receipts, done.state_root, replayed)


def _refused(refusals: Refusals) -> list[Effect]:
    return [Refused(identity, reason) for identity, reason in refusals]
