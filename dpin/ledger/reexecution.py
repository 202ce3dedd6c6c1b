"""The ledger made again from its blocks alone, by somebody who trusts nobody who had them.

Every header's form and signature, every body's root, every link, the order, every transaction's
signature, its rules and the sum of all tokens are checked here, on the same code that a validator
runs, with nothing taken from a node's memory. The signatures over checkpoints that the blocks carry
say whether the validators came to the same.

Memory does not grow with the log, only with the state: blocks that no commit can take any more are
forgotten, and receipts but the newest, of which the roots are all that is compared.
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
from dpin.ledger.certifier import Made, made
from dpin.ledger.checkpoint import Checkpoint, CommitteeRecord, checkpoint_digest
from dpin.ledger.core import Core, Opening, first_opening
from dpin.ledger.dag import count
from dpin.ledger.execute import Applied, Executor
from dpin.ledger.genesis import Genesis
from dpin.ledger.handover import Handover, check_handover
from dpin.ledger.order import OrderedCommit
from dpin.ledger.receipts import ReceiptLog

PRUNED_EVERY: Final = 64  # commits
LEAVES_KEPT: Final = 4_096  # of the receipts log
NOT_WHOLE_FIX: Final = (
    "whoever joined by a state has no more: take the archive of a node that had "
    "ledger.archive = true from the first block on"
)


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

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self.executor = Executor(genesis)
        self.commit = Digest(self.executor.chain)  # the last, chained over all before
        self.blocks = 0
        self.transactions = 0
        self.certificate: Certificate | None = None  # of the newest checkpoint that has one
        self._core = Core(self.executor.chain, genesis.params.consensus, first_opening(genesis))
        self._timestamp_ms = genesis.created_ms  # of the last commit
        self._past: Core | None = None  # its validators still sign its last checkpoint
        self._closed: Made | None = None  # that checkpoint

    @property
    def height(self) -> int:
        """Commits so far."""
        return self.executor.state.height

    @property
    def equivocators(self) -> frozenset[int]:
        """Author indices of the present epoch that signed two blocks of one round."""
        return frozenset(self._core.dag.equivocators)

    @property
    def kept(self) -> int:
        """Blocks and receipts in memory."""
        leaves = self.executor.receipts
        cores = [self._core] if self._past is None else [self._core, self._past]
        return sum(count(core.dag) for core in cores) + len(leaves) - leaves.tree.first

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
            if core is not None and core.epoch == epoch:
                return core
        _refuse_a_gap(f"{self._named(vertex)} is of epoch {epoch}", epoch, self)
        raise Difference(f"{self._named(vertex)} is of epoch {epoch}, which is not the present one")

    def _named(self, vertex: Vertex) -> str:
        place = f"round {vertex.round}, author {vertex.author}, {short(vertex.digest)}"
        return f"block {self.blocks} ({place})"

    def _execute(self) -> Iterator[Step]:
        leaves = self.executor.receipts
        while (ordered := self._core.next_commit(self.executor.mix)) is not None:
            applied = self.executor.apply(ordered.commit)
            self.commit = ordered.commit.digest
            self._timestamp_ms = ordered.commit.timestamp_ms
            self.transactions += len(ordered.commit.transactions)
            yield Step(ordered.commit, applied, _told(ordered.commit, applied, leaves))
            if applied.checkpoint is not None:
                self._checkpoint(applied, applied.checkpoint)
            if self.height % PRUNED_EVERY == 0:
                self._core.prune()
                leaves.forget(len(leaves) - LEAVES_KEPT)

    def _checkpoint(self, applied: Applied, checkpoint: Checkpoint) -> None:
        core, own = self._core, made(checkpoint, self.executor.receipts)
        core.certifier.made(own)
        self._certified(core)
        if applied.closing is not None:
            self._closed = own
            self._past, self._core = core, self._next(core, checkpoint, applied.closing)

    def _next(self, core: Core, checkpoint: Checkpoint, record: CommitteeRecord) -> Core:
        """The order of the next epoch; nothing more commits in this one."""
        opening = Opening(
            committee=record,
            seal=checkpoint_digest(checkpoint),
            height=self.height,
            commit=self.commit,
            timestamp_ms=self._timestamp_ms,
            sequence=checkpoint.sequence,
        )
        return Core(self.executor.chain, core.rules.consensus, opening)

    def handover(self, handover: Handover) -> None:
        """What a quorum signed at the end of an epoch; raises Difference unless it is our end."""
        past, own = self._past, self._closed
        _refuse_a_gap(f"here is the end of epoch {handover.epoch}", handover.epoch, self)
        if past is None or own is None or handover.epoch != past.epoch:
            raise Difference(f"the end of epoch {handover.epoch} is signed where it does not end")
        try:
            check_handover(handover, past.rules.chain, past.rules.committee)
        except PeerFault as fault:
            raise Difference(f"the end of epoch {handover.epoch}: {fault}") from None
        signed = handover.certificate
        if (signed.checkpoint, signed.size, signed.root) != (own.checkpoint, own.size, own.root):
            name = checkpoint_digest(signed.checkpoint).hex()
            raise Difference(
                f"commit {own.checkpoint.height} closes epoch {handover.epoch} with "
                f"{own.name.hex()}, and a quorum signed {name}"
            )
        self._take(signed)

    def _certified(self, core: Core) -> None:
        """Look at what the validators signed; raises Difference where it is something else."""
        if core.certifier.divergence is not None:
            raise Difference(core.certifier.divergence.report)
        if core.certifier.newest is not None:
            self._take(core.certifier.newest)

    def _take(self, certificate: Certificate) -> None:
        before = self.certificate
        if before is None or certificate.checkpoint.sequence > before.checkpoint.sequence:
            self.certificate = certificate

    def conserved(self) -> int:
        """All tokens, added up; raises Difference unless they are as many as there ever were."""
        found = money.supply(self.executor.state)
        if found != money.MAX_SUPPLY:
            raise Difference(f"commit {self.height}: {found} u in all, not {money.MAX_SUPPLY}")
        return found


def _refuse_a_gap(what: str, epoch: int, run: Reexecution) -> None:
    """Raises Difference; a node that joined by a state has such a ledger, forged by nobody."""
    present = run.executor.state.epoch
    if epoch > present:
        begins = "this ledger does not begin at genesis"
        told = begins if run.height == 0 else f"the end of epoch {present} is missing"
        raise Difference(f"{what}: {told}", fix=NOT_WHOLE_FIX)


def _told(commit: OrderedCommit, applied: Applied, leaves: ReceiptLog) -> Told:
    root = applied.state_root or NO_DIGEST
    place = (commit.height, commit.epoch, commit.digest, commit.timestamp_ms)
    return Told(*place, len(leaves), leaves.root, root)
