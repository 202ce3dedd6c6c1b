"""The replica: one node's copy of the ledger as a machine.

A member of the committee makes blocks and sends them to the others and to its followers. Any other
node follows two members, checks every block and decides every commit itself, and hands its own
transactions to a member. The log holds accepted blocks and how epochs ended: replaying it gives the
same state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Send, Tick, Wake
from dpin.base.units import NEVER, Instant
from dpin.ledger.annals import Written
from dpin.ledger.answers import Answers, Question
from dpin.ledger.arrival import Arrival
from dpin.ledger.blocks import Vertex, check_block, read_block
from dpin.ledger.chase import Chase
from dpin.ledger.dag import Fate, encoded
from dpin.ledger.disputes import Disputes, Shown
from dpin.ledger.early import Early
from dpin.ledger.engine import Engine, Executed, Progress
from dpin.ledger.genesis import Genesis, chain_id
from dpin.ledger.handover import Handover
from dpin.ledger.identity import Identity
from dpin.ledger.inquest import Dump
from dpin.ledger.intake import Intake, Refusals
from dpin.ledger.keeper import Keeper
from dpin.ledger.links import Links
from dpin.ledger.messages import (
    AskBlocks,
    AskHandover,
    AskNewest,
    BlockMessage,
    Blocks,
    Handed,
    Newest,
    SubmitTransaction,
    Subscribed,
    read_message,
)
from dpin.ledger.offload import CheckSignatures, SignaturesChecked
from dpin.ledger.order import Executor, OrderedCommit, Receipt
from dpin.ledger.outbox import GivenUp, Outbox
from dpin.ledger.pursuit import Pursuit


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
class Resumed:
    """The node goes on from a whole state: that with which its log began, or one it has joined."""

    height: int
    joined: bool


@dataclass(frozen=True, slots=True)
class Silenced:
    """A member that signs no more in its epoch; it goes on as an observer."""

    reason: str


@dataclass(frozen=True, slots=True)
class Diverged:
    """The node has come to another state than others that must be right: it stands still."""

    report: str


Event = Received | PeerUp | PeerDown | Tick | Submit | SignaturesChecked
Change = Applied | Resumed | Refused | Silenced | Diverged | Dump
Effect = Send | Written | Wake | Blame | Change | CheckSignatures


class Replica:
    """See dpin.base.machine.Machine.

    A key outside the committee makes an observer. `beacon` is the table of a member's own chain of
    reveals; `records` is the log, oldest first.
    """

    def __init__(
        self,
        genesis: Genesis,
        identity: Identity,
        executor: Executor,
        records: Iterable[bytes],
        keeper: Keeper | None = None,
    ) -> None:
        self.chain = chain_id(genesis)
        self.engine = Engine(genesis, identity, executor, keeper)
        self._early = Early()
        self._chase = Chase()
        self._outbox = Outbox(executor.check)
        self._intake = Intake(self.engine, self._outbox)
        self.owes = False  # what was received has not been acted on
        self._said: str | None = None  # why this node signs nothing, as told
        self._wake_at = NEVER  # the earliest Tick that is on its way
        self._due: tuple[Instant, bool] | None = None  # see `Progress`
        self._replayed: list[Effect] = [
            _applied(executed, replayed=True) for executed in self.engine.replay(records)
        ]
        if self.engine.resumed_at is not None:
            self._replayed.insert(0, Resumed(self.engine.resumed_at, joined=False))
        self._links = Links(self.engine.core.rules.committee, identity.key.node_id)
        self._pursuit = Pursuit(self.engine.core)
        self._arrival = Arrival(self.engine)
        self.disputes = Disputes(self._arrival, self.engine, identity.key.node_id)
        self._answers = Answers(self.engine, self._links, self._early, self._chase)

    def step(self, event: Event, now: Instant, *, more: bool = False) -> Sequence[Effect]:
        """Take one event. The first call also returns the last commit of the log, as replayed.

        With `more`, another one is at hand: what follows from both is left to that, `owes` says so.
        """
        effects, self._replayed = self._replayed, []
        match event:
            case Received(peer, payload):
                effects += self._receive(peer, payload, now)
            case PeerUp(peer):
                effects += self._greet(peer)
            case PeerDown(peer):
                self._links.down(peer)
                self._pursuit.ranges.left(peer)
                self._chase.left(peer)
                self._arrival.left(peer)
                effects += self._links.follow()
            case Tick():
                self._wake_at = NEVER
            case Submit(transaction):
                effects += _refused(self._intake.submit(transaction, now))
            case SignaturesChecked():
                effects += _refused(self._intake.checked(event, now))
            case _:
                assert_never(event)
        queued_only, self._intake.queued_only = self._intake.queued_only, False
        if more or (queued_only and not self.owes):
            self.owes = self.owes or not queued_only
            return [*effects, *self._intake.batches()]
        self.owes = False
        effects += self._advance(now)
        effects += self._intake.batches()
        effects += self._catch_up(now)
        effects += self._sleep(now)
        return effects

    # --- peers ---

    def _greet(self, peer: NodeId) -> list[Effect]:
        """Tell a new peer where we stand, and look whether it knows more."""
        self._links.up(peer)
        core, member = self.engine.core, self.engine.member
        effects: list[Effect] = [*self._links.follow(), *self.disputes.greet(peer)]
        if core.rules.committee.index(peer) is not None and member.last is not None:
            effects.append(Send(peer, encode(BlockMessage(encoded(member.last)))))
        if member.restart.waiting:
            effects.append(Send(peer, encode(AskNewest())))
        if peer in self._links.sources:
            self._pursuit.ranges.probe(peer)
        return [*effects, Send(peer, encode(AskHandover(core.epoch)))]

    def _receive(self, peer: NodeId, payload: bytes, now: Instant) -> list[Effect]:
        try:
            message = read_message(payload)
            if isinstance(message, AskBlocks):
                self._pursuit.asked(peer, message.references)
            if isinstance(message, Question):
                return [*self._answers.reply(peer, message, now)]
            if isinstance(message, Newest | Handed):
                self._learn(peer, message, now)
                return []
            if isinstance(message, Shown):
                return [*self.disputes.receive(peer, message, now)]
            return self._handle(peer, message, now)
        except PeerFault as fault:
            return [Blame(peer, str(fault))]

    def _handle(
        self,
        peer: NodeId,
        message: BlockMessage | Blocks | Subscribed | SubmitTransaction,
        now: Instant,
    ) -> list[Effect]:
        match message:
            case BlockMessage(block):
                return self._take(peer, read_block(block), now)[1]
            case Blocks():
                return self._page(peer, message, now)
            case Subscribed(taken):
                if not taken:
                    self._links.refused(peer)
                    return [*self._links.follow()]
            case SubmitTransaction(transaction):
                self._intake.receive(transaction)
        return []

    def _learn(self, peer: NodeId, message: Newest | Handed, now: Instant) -> None:
        """Somebody says how an epoch ended; or what it knows of our blocks, and how far it is."""
        core, member = self.engine.core, self.engine.member
        if message.epoch > core.epoch:
            self._chase.heard(peer)
        self._arrival.heard(peer, message.epoch)
        if isinstance(message, Handed):
            self.disputes.hear(peer, message.handover.certificate, now)
            self._arrival.handed(message, now)
            if self.engine.runner.learn(core, message.handover):
                self._pursuit.ranges.probe(peer)
            return
        index = core.rules.committee.index(peer)
        if index is not None and message.epoch == core.epoch:
            self._pursuit.ahead.saw(index, message.highest)
        if member.role is not None:
            member.restart.answer(index, message, member.role.proposer.last)

    def _page(self, peer: NodeId, page: Blocks, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        vertices = [read_block(block) for block in page.blocks]
        useful = False
        for vertex in vertices:
            fate, asked = self._take(peer, vertex, now)
            useful = useful or fate in {Fate.ACCEPTED, Fate.SUSPENDED}
            effects += asked
        epoch = self.engine.core.epoch
        if vertices and all(vertex.block.header.epoch != epoch for vertex in vertices):
            return effects  # It answers a question of an epoch that is over.
        answered = self._pursuit.ranges.answered(peer, page, useful=useful, now=now)
        return [*effects, *answered]

    def _take(self, peer: NodeId, vertex: Vertex, now: Instant) -> tuple[Fate, list[Effect]]:
        """Check a block and take it; raises PeerFault for one that no honest node passes on."""
        core, epoch = self.engine.core, vertex.block.header.epoch
        if self.engine.annals.over(vertex) or vertex.digest in core.dag:
            return Fate.KNOWN, []
        if epoch > core.epoch:
            self._chase.heard(peer)
            if epoch == core.epoch + 1:
                self._early.add(peer, vertex)
            return Fate.FAR, []
        check_block(vertex, core.rules)
        offered = self.engine.take(vertex, peer, now)
        return offered.fate, [*self._pursuit.took(vertex, offered, peer, now)]

    # --- what follows from every event, but from a transaction that waits behind others ---

    def _advance(self, now: Instant) -> list[Effect]:
        """Execute, propose, and pass on what was accepted, perhaps through the end of epochs."""
        progress = self.engine.advance(now, behind=_behind(self.engine, self._pursuit))
        effects = self._publish(progress, now)
        while progress.turned is not None:
            effects += self._enter(progress.turned, now)
            progress = self.engine.advance(now, behind=_behind(self.engine, self._pursuit))
            effects += self._publish(progress, now)
        self._due = progress.due
        dropped = [Refused(gone.id, gone.reason) for gone in self.engine.mempool.dropped()]
        return [*effects, *dropped, *self._settle_role(now)]

    def _publish(self, progress: Progress, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for effect in progress.effects:
            if isinstance(effect, Executed):
                self._outbox.committed(effect.commit.transactions)
                effects.append(_applied(effect, replayed=False))
            else:
                effects.append(effect)
        for vertex in progress.accepted:
            own = vertex in progress.made
            effects += self._pursuit.spread(vertex, self._links, own=own)
        if progress.accepted:
            self._pursuit.triggers.accepted(now)
        return effects

    def _enter(self, handover: Handover, now: Instant) -> list[Effect]:
        """The next epoch begins: tell everybody how the last one ended, take what came early."""
        core = self.engine.core
        message = encode(Handed(core.epoch, handover))
        effects: list[Effect] = [Send(peer, message) for peer in self._links.all]
        self._links.enter(core.rules.committee)
        self._pursuit = Pursuit(core)
        self._chase.moved()
        self._arrival.enter()
        early = list(self._early)
        self._early.clear()
        for peer, vertex in early:
            try:
                effects += self._take(peer, vertex, now)[1]
            except PeerFault as fault:
                effects.append(Blame(peer, str(fault)))
        for peer in self._links.sources[:1]:
            self._pursuit.ranges.probe(peer)
        return [*effects, *self._links.follow()]

    def _settle_role(self, now: Instant) -> list[Effect]:
        """Say it, once, when this node must not sign; whoever makes no blocks has none to fill."""
        effects: list[Effect] = []
        diverged = self.engine.runner.diverged
        reason = diverged or self.engine.member.silenced
        if reason is not None and reason != self._said:
            effects.append(Diverged(diverged) if diverged is not None else Silenced(reason))
        self._said = reason
        return [*effects, *_refused(self._intake.settle(now))]

    def _catch_up(self, now: Instant) -> list[Effect]:
        """Ask for what is missing or overdue."""
        engine, pursuit = self.engine, self._pursuit
        sources = self._links.all if engine.runner.awaited is not None else self._links.sources
        effects: list[Effect] = [
            *pursuit.step(sources, now, behind=_behind(self.engine, self._pursuit))
        ]
        if pursuit.triggers.quiet(sources, now, pending=engine.pending):
            effects += _repeated(engine, self._links)
        effects += pursuit.ranges.step(now)
        if engine.runner.awaited is None:
            effects += self._chase.step(engine.core.epoch, now)
        for tried in self._outbox.step(self._links.members, now):
            effects.append(Refused(tried.id, tried.reason) if isinstance(tried, GivenUp) else tried)
        if engine.member.restart.due(now):
            effects += [Send(peer, encode(AskNewest())) for peer in self._links.all]
        effects += self.disputes.go(self._links.all, now)
        asked, progress = self._arrival.go(now)
        effects += asked
        if progress is not None and progress.turned is not None:
            self._due = None
            effects += self._publish(progress, now)
            effects.append(Resumed(engine.core.height, joined=True))
            effects += self._enter(progress.turned, now)
        return effects

    def _sleep(self, now: Instant) -> list[Wake]:
        """Ask to be woken when the next thing is due, unless an earlier Tick is on its way."""
        behind = _behind(self.engine, self._pursuit)
        # Nothing but the mempool has changed since that was found.
        if self._due is not None and self._due[1] == (self.engine.mempool.queued > 0):
            due = self._due[0]
        else:
            due = self.engine.due(now)
        at = min(
            NEVER if behind else due,
            self.engine.member.restart.next_at,
            self._pursuit.next_at(behind=behind),
            NEVER if self.engine.runner.awaited is not None else self._chase.next_at,
            self._outbox.next_at,
            self._arrival.next_at,
            self.disputes.next_at,
        )
        if at >= self._wake_at:
            return []
        self._wake_at = at
        return [Wake(at)]


def _behind(engine: Engine, pursuit: Pursuit) -> bool:
    """Whether others are further on, in this epoch or in a later one."""
    return pursuit.behind or engine.runner.awaited is not None


def _repeated(engine: Engine, links: Links) -> list[Send]:
    """Nothing has come for a while, though something should: was our last block lost?"""
    last = engine.member.last
    if last is None or not engine.pending:
        return []
    message = encode(BlockMessage(encoded(last)))
    return [Send(peer, message) for peer in links.members]


def _applied(executed: Executed, *, replayed: bool) -> Applied:
    done = executed.done
    return Applied(executed.commit, done.receipts, done.state_root, replayed)


def _refused(refusals: Refusals) -> list[Effect]:
    return [Refused(identity, reason) for identity, reason in refusals]
