"""One node's ledger without its peers: accept, order, execute, propose, remember, epoch by epoch.

The log's records are written when a block is accepted, so every record's ancestors precede it. The
own block's record is synced before the block leaves this node; foreign blocks can be had again. The
end of an epoch is synced before the first own block of the next: the log begins anew, with the
state that the next epoch starts from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dpin.base.codec import decode, encode
from dpin.base.errors import PeerFault
from dpin.base.ids import NodeId
from dpin.base.machine import Store
from dpin.base.units import NEVER, Instant
from dpin.ledger.annals import (
    CLOSED,
    END,
    FOREIGN,
    OPENING,
    OWN,
    REMEMBERED,
    STATE,
    Annals,
    Record,
    Written,
)
from dpin.ledger.assembly import Restored
from dpin.ledger.blocks import Vertex, read_block
from dpin.ledger.certificates import Certificate
from dpin.ledger.checkpoint import checkpoint_digest
from dpin.ledger.core import Core, Opening, first_opening
from dpin.ledger.dag import Offered, encoded
from dpin.ledger.genesis import Genesis, chain_id
from dpin.ledger.handover import Handover
from dpin.ledger.identity import Identity
from dpin.ledger.keeper import Keeper
from dpin.ledger.membership import Membership
from dpin.ledger.mempool import Mempool
from dpin.ledger.offload import Offload
from dpin.ledger.order import Done, Executor, OrderedCommit
from dpin.ledger.proposer import Need
from dpin.ledger.runner import Runner

LOST: Final = "the log says that an epoch ended where executing it again does not end it"


@dataclass(frozen=True, slots=True)
class Executed:
    """A commit and what came of it."""

    commit: OrderedCommit
    done: Done


@dataclass(slots=True)
class Progress:
    """What one advance has done; it stops when an epoch ends, `turned`."""

    effects: list[Written | Executed] = field(default_factory=list)
    accepted: list[Vertex] = field(default_factory=list)  # all, own ones too
    made: list[Vertex] = field(default_factory=list)  # own blocks, to be sent
    turned: Handover | None = None
    due: tuple[Instant, bool] | None = None  # the next block, and whether transactions waited then


class Engine:
    """All local parts of a replica."""

    def __init__(
        self, genesis: Genesis, identity: Identity, executor: Executor, keeper: Keeper | None = None
    ) -> None:
        """Without a keeper, no state is kept: the log goes on from epoch to epoch."""
        self.core = Core(chain_id(genesis), genesis.params.consensus, first_opening(genesis))
        self.mempool = Mempool(executor.check, executor.funds)
        self.member = Membership(identity)
        self.runner = Runner(executor)
        self.offload: Offload | None = None  # for signatures that are checked elsewhere
        self.resumed_at: int | None = None  # height of the state with which the log began
        self.keeper = keeper
        self.annals = Annals(self.core, keeper)
        self._accepted: list[Vertex] = []  # not in the log yet
        self.member.enter(self.core)

    def replay(self, records: Iterable[bytes]) -> list[Executed]:
        """Do again what the log says; returns the last commit, if there was one.

        Signatures in the log were checked before they were written.
        """
        executed: list[Executed] = []
        for data in records:
            record = decode(Record, data)
            if record.kind not in {OWN, FOREIGN}:
                self._replay(record)
                if self.runner.diverged is not None:
                    break
                continue
            vertex = read_block(record.body)
            self.member.restore(vertex, own=record.kind == OWN)
            self.core.restore(vertex)
            executed = [*executed, *self._execute()][-1:]
        self._accepted.clear()
        return executed

    def _replay(self, record: Record) -> None:
        """Where an epoch ends, or the log begins."""
        if record.kind == END:
            self.runner.awaited = decode(Handover, record.body)
            handover = self.runner.handover(self.core)
            if handover is None:
                self.runner.diverged = self.runner.diverged or LOST
            else:
                self._turn(handover)
        elif record.kind == CLOSED:
            self.annals.close(decode(Handover, record.body))
        elif record.kind in {REMEMBERED, STATE}:
            assert self.keeper is not None, "a log with a state is read by who kept it"
            take = self.keeper.read if record.kind == STATE else self.keeper.recall
            take(record.body)
        elif record.kind == OPENING:
            opening = decode(Opening, record.body)
            self.resumed_at = opening.height
            self._open(opening)
        else:
            raise PeerFault(f"records of a kind {record.kind}, which is not known")

    @property
    def certificate(self) -> Certificate | None:
        """Of the newest checkpoint that a quorum is known to have signed."""
        return self.core.certifier.newest or self.annals.newest

    @property
    def may_sign(self) -> bool:
        """Whether this node makes blocks at present."""
        return self.runner.diverged is None and self.member.may_sign

    @property
    def serves(self) -> bool:
        """Whether transactions may be left with this node."""
        silenced = self.runner.diverged or self.member.silenced
        return silenced is None and self.member.role is not None

    @property
    def pending(self) -> bool:
        """Whether transactions wait, here or in anybody's block, or the next epoch does."""
        waiting = self.runner.closed is not None or self.runner.awaited is not None
        return waiting or self.core.unfinished or (self.serves and self.mempool.queued > 0)

    def take(self, vertex: Vertex, sender: NodeId, now: Instant) -> Offered:
        """Take a valid block of the present epoch that is not known yet."""
        self.member.saw(vertex)
        offered = self.core.offer(vertex, sender, now)
        self._accepted += offered.accepted
        return offered

    def advance(self, now: Instant, *, behind: bool) -> Progress:
        """Execute what is decided, and make blocks as long as one is due."""
        progress = Progress()
        self._settle(progress)
        at = NEVER
        while progress.turned is None and not behind and (at := self.due(now)) <= now:
            assert self.member.role is not None, "only a member is due to make blocks"
            void = self.runner.closed is not None
            vertex = self.member.role.make(self.mempool, now, void=void)
            progress.effects.append(Store(encode(Record(OWN, encoded(vertex))), sync=True))
            progress.made.append(vertex)
            progress.accepted.append(vertex)
            offered = self.core.offer(vertex, NodeId(b""), now)
            assert offered.accepted == [vertex], "an own block links to accepted blocks alone"
            self._settle(progress)
        progress.due = None if behind else (at, self.mempool.queued > 0)
        return progress

    def due(self, now: Instant) -> Instant:
        """When the next block may be due."""
        if self.member.role is None or not self.may_sign:
            return NEVER
        closed = self.runner.closed is not None
        need = Need(
            queued=0 if closed else self.mempool.queued,
            unfinished=self.core.unfinished and not closed,
            deadlines=closed or self.runner.has_deadlines,
            uncertified=self.runner.uncertified(self.core),
        )
        return self.member.role.when(need, now)

    def _settle(self, progress: Progress) -> None:
        """Write down what is accepted, and execute what that decides; perhaps the epoch ends."""
        for execute in (True, False):  # Executing accepts blocks that wait no more.
            for vertex in self._accepted:
                if self.offload is not None:
                    self.offload.want(vertex.block.body)
                # An own block comes here again where its record preceded what it links to. One
                # that this log lacks silenced us when it came, and must do so after every start.
                kind = OWN if self.member.made(vertex) else FOREIGN
                progress.effects.append(Store(encode(Record(kind, encoded(vertex)))))
            progress.accepted += self._accepted
            self._accepted = []
            if execute:
                progress.effects += self._execute()
        progress.turned = self.runner.handover(self.core)
        if progress.turned is not None:
            self._turn(progress.turned)
            progress.effects += self.annals.begun(self.core.opening)

    def jump(self, handovers: Sequence[Handover], restored: Restored) -> Progress:
        """Go to the epoch after the last of these, whose state is there, without its blocks."""
        assert self.keeper is not None, "only who keeps states joins at one"
        for handover in handovers:
            self.annals.close(handover)
        self.keeper.install(restored)
        state, checkpoint = restored.state, restored.checkpoint
        opening = Opening(
            handovers[-1].record,
            checkpoint_digest(checkpoint),
            checkpoint.height,
            checkpoint.commit,
            state.timestamp_ms,
            checkpoint.sequence,
        )
        self._accepted.clear()
        self._open(opening)
        return Progress([*self.annals.begun(opening, joined=True)], turned=handovers[-1])

    def _turn(self, handover: Handover) -> None:
        """Go to the next epoch. What commits no more waits again."""
        core, role = self.core, self.member.role
        void = core.left(role.index) if role is not None else []
        self.annals.close(handover)
        self._open(core.after(handover))
        for vertex in void:
            self.mempool.put_back(vertex.block.body)

    def _open(self, opening: Opening) -> None:
        self.core = Core(self.core.rules.chain, self.core.rules.consensus, opening)
        self.annals.open(self.core)
        self.runner.open()
        self.member.enter(self.core)

    def _execute(self) -> list[Executed]:
        executed: list[Executed] = []
        role = self.member.role
        while (ran := self.runner.next(self.core, self.offload)) is not None:
            ordered = ran.ordered
            executed.append(Executed(ordered.commit, ran.done))
            self.mempool.committed(ordered.commit.transactions)
            for vertex in ordered.fallen:
                if role is not None and vertex.author == role.index:
                    self.mempool.put_back(vertex.block.body)
            if role is not None and ran.made is not None:
                role.made(ran.made)
            if ran.done.closing is not None:
                self.mempool.expire(ran.done.closing.epoch)
        self._accepted += self.runner.accepted()
        return executed
