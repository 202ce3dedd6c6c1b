"""One node's ledger without its peers: accept, order, execute, propose, remember.

The log's records are written when a block is accepted, so every record's ancestors precede it. The
own block's record is synced before the block leaves this node; foreign blocks can be had again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from dpin.base.codec import Wire, decode, encode
from dpin.base.ids import NodeId
from dpin.base.machine import Store
from dpin.base.units import NEVER, Instant
from dpin.ledger.blocks import Vertex, read_block
from dpin.ledger.certificates import Certificate
from dpin.ledger.core import Core, first_opening
from dpin.ledger.dag import Offered, encoded
from dpin.ledger.genesis import Genesis, chain_id
from dpin.ledger.mempool import Mempool
from dpin.ledger.offload import Offload
from dpin.ledger.order import Done, Executor, OrderedCommit
from dpin.ledger.proposer import Author, Need
from dpin.ledger.restart import Restart
from dpin.ledger.role import Role
from dpin.ledger.runner import Runner

OWN: Final = 1
FOREIGN: Final = 2


class Record(Wire, frozen=True):
    """One record of the log: an accepted block, our own (OWN) or another's (FOREIGN)."""

    kind: int
    block: bytes


@dataclass(frozen=True, slots=True)
class Executed:
    """A commit and what came of it."""

    commit: OrderedCommit
    done: Done


@dataclass(slots=True)
class Progress:
    """What one advance has done."""

    effects: list[Store | Executed] = field(default_factory=list)
    accepted: list[Vertex] = field(default_factory=list)  # all, own ones too
    made: list[Vertex] = field(default_factory=list)  # own blocks, to be sent


class Engine:
    """All local parts of a replica; `author` is None for a node outside the committee."""

    def __init__(self, genesis: Genesis, author: Author | None, executor: Executor) -> None:
        self.core = Core(chain_id(genesis), genesis.params.consensus, first_opening(genesis))
        self.mempool = Mempool(executor.check, executor.funds)
        self.role: Role | None = None
        self.restart: Restart | None = None
        self.offload: Offload | None = None  # for signatures that are checked elsewhere
        self._runner = Runner(executor)
        self._accepted: list[Vertex] = []  # not in the log yet
        if author is not None:
            self.role = Role(self.core, author)
            self.restart = Restart(self.core.rules, author.index)
        self._index = author.index if author else None

    def replay(self, records: Iterable[bytes]) -> list[Executed]:
        """Do again what the log says; returns the last commit, if there was one.

        Signatures in the log were checked before they were written.
        """
        executed: list[Executed] = []
        for data in records:
            record = decode(Record, data)
            vertex = read_block(record.block)
            if vertex.author == self._index and self.role and self.restart:
                self.role.restore(vertex)
                if record.kind == FOREIGN:  # Others brought it back: this log is not the whole.
                    self.restart.silence(vertex.round)
            self.core.restore(vertex)
            executed = [*executed, *self._execute()][-1:]
        self._accepted.clear()
        return executed

    @property
    def last(self) -> Vertex | None:
        """The newest own block, if any was made."""
        return self.role.last if self.role else None

    @property
    def certificate(self) -> Certificate | None:
        """Of the newest checkpoint that a quorum is known to have signed."""
        return self.core.certifier.newest

    @property
    def may_sign(self) -> bool:
        """Whether this node makes blocks at present."""
        return self.restart is not None and self.restart.may_sign

    @property
    def serves(self) -> bool:
        """Whether transactions may be left with this node."""
        return self.restart is not None and self.restart.silenced is None

    @property
    def pending(self) -> bool:
        """Whether transactions wait, here or in anybody's block."""
        return self.core.unfinished or (self.serves and self.mempool.queued > 0)

    def take(self, vertex: Vertex, sender: NodeId, now: Instant) -> Offered:
        """Take a valid block that is not known yet."""
        if vertex.author == self._index and self.restart is not None:
            self.restart.silence(vertex.round)
        offered = self.core.offer(vertex, sender, now)
        self._accepted += offered.accepted
        return offered

    def advance(self, now: Instant, *, behind: bool) -> Progress:
        """Execute what is decided, and make blocks as long as one is due."""
        progress = Progress()
        self._settle(progress)
        while not behind and self.may_sign and self._when(now) <= now:
            self._make(progress, now)
            self._settle(progress)
        return progress

    def next_at(self, now: Instant) -> Instant:
        """When the next block may be due."""
        return self._when(now) if self.may_sign else NEVER

    def _when(self, now: Instant) -> Instant:
        assert self.role is not None
        need = Need(
            queued=self.mempool.queued > 0,
            unfinished=self.core.unfinished,
            deadlines=self._runner.has_deadlines,
            uncertified=self._runner.uncertified(self.core),
        )
        return self.role.when(need, now)

    def _make(self, progress: Progress, now: Instant) -> None:
        assert self.role is not None
        vertex = self.role.make(self.mempool, now, void=False)
        progress.effects.append(Store(encode(Record(OWN, encoded(vertex))), sync=True))
        progress.made.append(vertex)
        progress.accepted.append(vertex)
        offered = self.core.offer(vertex, NodeId(b""), now)
        assert offered.accepted == [vertex], "an own block links to accepted blocks alone"

    def _settle(self, progress: Progress) -> None:
        """Write down what is accepted, and execute what that decides."""
        self._write(progress)
        progress.effects += self._execute()
        self._write(progress)

    def _write(self, progress: Progress) -> None:
        for vertex in self._accepted:
            if self.offload is not None:
                self.offload.want(vertex.block.body)
            # An own block comes here again where its record preceded what it links to. One that
            # this log lacks silenced us when it came, and must do so after every start.
            mine = vertex.author == self._index and self.serves
            kind = OWN if mine else FOREIGN
            progress.effects.append(Store(encode(Record(kind, encoded(vertex)))))
        progress.accepted += self._accepted
        self._accepted = []

    def _execute(self) -> list[Executed]:
        executed: list[Executed] = []
        while (ran := self._runner.next(self.core, self.offload)) is not None:
            ordered = ran.ordered
            executed.append(Executed(ordered.commit, ran.done))
            self.mempool.committed(ordered.commit.transactions)
            for vertex in ordered.fallen:
                if vertex.author == self._index:
                    self.mempool.put_back(vertex.block.body)
            if self.role is not None and ran.made is not None:
                self.role.made(ran.made)
            if ran.done.closing is not None:
                self.mempool.expire(ran.done.closing.epoch)
        self._accepted += self._runner.accepted()
        return executed
