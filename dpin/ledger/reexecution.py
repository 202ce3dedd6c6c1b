"""The ledger made again from its blocks alone, by somebody who trusts nobody who had them.

Every header's form and signature, every body's root, every link, the order, every transaction's
signature, its rules and the sum of all tokens are checked here, on the same code that a validator
runs, with nothing taken from a node's memory. The signatures over checkpoints that the blocks carry
say whether the validators came to the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dpin.base.codec import Wire
from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import NO_DIGEST, Digest, short
from dpin.ledger import money
from dpin.ledger.blocks import Vertex, check_block, read_block
from dpin.ledger.certificates import Certificate
from dpin.ledger.certifier import made
from dpin.ledger.checkpoint import Checkpoint, checkpoint_digest
from dpin.ledger.core import Core, Opening, first_opening
from dpin.ledger.execute import Applied, Executor
from dpin.ledger.genesis import Genesis
from dpin.ledger.order import OrderedCommit

# Whether the committee changes where an epoch closes. Until then the founders order all commits.
TURNS: Final = False


class Difference(Misuse):
    """A ledger and its re-execution do not agree; the message names the first place."""

    code = "difference"


class Told(Wire, frozen=True, tag=3):
    """What one commit led to, in so few words that all of it can be compared."""

    height: int
    epoch: int
    commit: Digest  # chained over all commits before, and over the blocks of each
    timestamp_ms: int
    receipts: int  # leaves of the receipts log after the commit
    log_root: Digest  # over these
    state_root: Digest  # NO_DIGEST where the commit has none


@dataclass(frozen=True, slots=True)
class Step:
    """One commit, and what came of it."""

    commit: OrderedCommit
    applied: Applied
    told: Told


class Reexecution:
    """Blocks in an order in which each follows its ancestors; commits with what they did."""

    def __init__(self, genesis: Genesis, *, turns: bool = TURNS) -> None:
        self.genesis = genesis
        self.executor = Executor(genesis)
        self.commit = Digest(self.executor.chain)  # the last, chained over all before
        self.blocks = 0
        self.transactions = 0
        self.certificate: Certificate | None = None  # of the newest checkpoint that has one
        self._core = Core(self.executor.chain, genesis.params.consensus, first_opening(genesis))
        self._past: Core | None = None  # its validators still sign its last checkpoint
        self._turns = turns

    @property
    def height(self) -> int:
        """Commits so far."""
        return self.executor.state.height

    @property
    def equivocators(self) -> frozenset[int]:
        """Author indices of the present epoch that signed two blocks of one round."""
        return frozenset(self._core.dag.equivocators)

    def take(self, data: bytes) -> Iterator[Step]:
        """Check and take one block; the commits that it decides. Raises Difference."""
        self.blocks += 1
        vertex = self._read(data)
        core = self._core_of(vertex)
        try:
            check_block(vertex, core.rules)
        except PeerFault as fault:
            raise Difference(f"{self._named(vertex)}: {fault}") from None
        core.restore(vertex)
        if core.dag.get(vertex.digest) is None and vertex.round > core.dag.gc_round:
            raise Difference(f"{self._named(vertex)} follows a block that is not there")
        self._certified(core)
        yield from self._execute()

    def _read(self, data: bytes) -> Vertex:
        try:
            return read_block(data)
        except PeerFault as fault:
            raise Difference(f"block {self.blocks}: {fault}") from None

    def _core_of(self, vertex: Vertex) -> Core:
        """The epoch that a block belongs to: the present one, or that which has just closed."""
        epoch = vertex.block.header.epoch
        for core in (self._core, self._past):
            if core is not None and core.rules.committee.epoch == epoch:
                return core
        raise Difference(f"{self._named(vertex)} is of epoch {epoch}, which is not the present one")

    def _named(self, vertex: Vertex) -> str:
        place = f"round {vertex.round}, author {vertex.author}, {short(vertex.digest)}"
        return f"block {self.blocks} ({place})"

    def _execute(self) -> Iterator[Step]:
        while (ordered := self._core.next_commit(self.executor.mix)) is not None:
            applied = self.executor.apply(ordered.commit)
            self.commit = ordered.commit.digest
            self.transactions += len(ordered.commit.transactions)
            yield Step(ordered.commit, applied, self._told(ordered.commit, applied))
            if applied.checkpoint is not None:
                self._checkpoint(ordered.commit, applied, applied.checkpoint)

    def _told(self, commit: OrderedCommit, applied: Applied) -> Told:
        leaves = self.executor.receipts
        root = applied.state_root or NO_DIGEST
        place = (commit.height, commit.epoch, commit.digest, commit.timestamp_ms)
        return Told(*place, len(leaves), leaves.root, root)

    def _checkpoint(self, commit: OrderedCommit, applied: Applied, checkpoint: Checkpoint) -> None:
        core = self._core
        if checkpoint.epoch == core.rules.committee.epoch:
            core.certifier.made(made(checkpoint, self.executor.receipts))
            self._certified(core)
        if self._turns and applied.closing is not None:
            opening = Opening(
                committee=applied.closing,
                seal=checkpoint_digest(checkpoint),
                height=commit.height,
                commit=commit.digest,
                timestamp_ms=commit.timestamp_ms,
                sequence=checkpoint.sequence,
            )
            self._past = core
            self._core = Core(self.executor.chain, self.genesis.params.consensus, opening)

    def _certified(self, core: Core) -> None:
        """Look at what the validators signed; raises Difference where it is something else."""
        if core.certifier.divergence is not None:
            raise Difference(core.certifier.divergence.report)
        newest, before = core.certifier.newest, self.certificate
        if newest is not None and (
            before is None or newest.checkpoint.sequence > before.checkpoint.sequence
        ):
            self.certificate = newest

    def conserved(self) -> int:
        """All tokens, added up; raises Difference unless they are as many as there ever were."""
        found = money.supply(self.executor.state)
        if found != money.MAX_SUPPLY:
            raise Difference(f"commit {self.height}: {found} u in all, not {money.MAX_SUPPLY}")
        return found
