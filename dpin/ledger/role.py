"""A member's part in one epoch: its blocks, and its signatures over checkpoints."""

from dpin.base.units import Instant
from dpin.ledger.blocks import Vertex
from dpin.ledger.certifier import Made
from dpin.ledger.core import Core
from dpin.ledger.cosigner import Cosigner
from dpin.ledger.mempool import Mempool
from dpin.ledger.payload import Payload, Standing
from dpin.ledger.proposer import Author, Content, Need, Proposer


class Role:
    """What the member with this author index signs."""

    def __init__(self, core: Core, author: Author) -> None:
        self.index = author.index
        self.proposer = Proposer(core.rules, core.dag, author)
        self.cosigner = Cosigner(core.rules.chain, author.key)
        self._consensus = core.rules.consensus
        self._core = core
        self._base = core.dag.base
        self._payload = Payload(core.rules.consensus, core.dag)

    @property
    def last(self) -> Vertex | None:
        """The newest own block of the epoch, if any was made."""
        last = self.proposer.last
        return last if last.round > self._base else None

    def restore(self, vertex: Vertex) -> None:
        """An own block from the log."""
        self.proposer.restore(vertex)
        self.cosigner.restore(vertex.block.header)

    def made(self, own: Made) -> None:
        """The node has come to a checkpoint of this epoch: it is signed with the next block."""
        self.cosigner.made(own)

    def when(self, need: Need, now: Instant) -> Instant:
        """When the next block may be made; NEVER while none is of use or possible."""
        self.proposer.observe(now)
        return self.proposer.when(need)

    def make(self, mempool: Mempool, now: Instant, *, void: bool) -> Vertex:
        """Sign the block that is due, an empty one if the epoch has closed."""
        most = self._consensus
        bytes_max = self._payload.next(Standing(self.proposer.last, self._core.decided, now))
        payload = () if void else mempool.take(most.block_transactions_max, bytes_max)
        return self.proposer.make(Content(payload, self.cosigner.take(), void), now)
