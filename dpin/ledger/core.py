"""From blocks to the log: accept, decide, order. No network, no clock, no execution.

`Core.next_commit` gives one commit at a time, because the order inside a commit depends on the mix
that the commit before it leaves behind (M11).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from dpin.base.codec import Wire
from dpin.base.ids import ChainId, Digest, NodeId, Round
from dpin.base.units import Instant
from dpin.ledger.blocks import Rules, Vertex, check_block, opening_blocks
from dpin.ledger.certifier import Certifier
from dpin.ledger.checkpoint import CommitteeRecord, checkpoint_digest
from dpin.ledger.commit import (
    CommitRecord,
    CommitRule,
    Decision,
    Slot,
    before_all,
    commit_digest,
    commit_time,
    decided,
    gc_limit,
    linearise,
    ordered,
)
from dpin.ledger.committee import committee_of, first_record
from dpin.ledger.dag import Dag, Offered
from dpin.ledger.genesis import Genesis, chain_id
from dpin.ledger.handover import Handover
from dpin.ledger.order import OrderedBlock, OrderedCommit
from dpin.ledger.params import Consensus
from dpin.ledger.watch import Watch


class Opening(Wire, frozen=True):
    """Where the order of an epoch begins: after the last commit of the epoch before."""

    committee: CommitteeRecord
    seal: Digest  # of the checkpoint that closed the epoch before, or the chain's id
    height: int  # commits so far
    commit: Digest  # of the last of them
    timestamp_ms: int  # of the last of them
    sequence: int  # of the last checkpoint


def first_opening(genesis: Genesis) -> Opening:
    """Before the first commit of a network."""
    chain = chain_id(genesis)
    record = first_record(genesis, chain)
    return Opening(record, Digest(chain), 0, Digest(chain), genesis.created_ms, 0)


@dataclass(frozen=True, slots=True)
class Ordered:
    """One more commit, and what it did to the DAG."""

    commit: OrderedCommit
    accepted: Sequence[Vertex]  # blocks that need not wait for their ancestors any more
    fallen: Sequence[Vertex]  # blocks whose transactions can never commit


class Core:
    """The DAG of one epoch and the order found in it so far."""

    def __init__(self, chain: ChainId, consensus: Consensus, opening: Opening) -> None:
        committee = committee_of(opening.committee)
        first = opening_blocks(committee, opening.timestamp_ms, opening.seal)
        self.opening = opening
        self.epoch = committee.epoch  # whose order this is
        self.rules = Rules(chain, committee, consensus)
        self.dag = Dag(first, committee, consensus.gc_depth)
        self.certifier = Certifier(chain, committee, opening.sequence)
        self.watch = Watch()
        self.height = opening.height
        self._rule = CommitRule(committee, committee.leaders)
        self._last: Slot = before_all(committee.base)
        self._digest = opening.commit
        self._time_ms = opening.timestamp_ms
        self._committed: set[Digest] = set()
        self._unfinished: dict[Digest, Vertex] = {}  # accepted, with transactions, not committed
        self._decisions: deque[Decision] = deque()
        self._changed = False

    def after(self, handover: Handover) -> Opening:
        """Where the next epoch begins; the last commit of this one has been given out."""
        checkpoint = handover.certificate.checkpoint
        return Opening(
            handover.record,
            checkpoint_digest(checkpoint),
            self.height,
            self._digest,
            self._time_ms,
            checkpoint.sequence,
        )

    def left(self, author: int) -> list[Vertex]:
        """Accepted blocks of one author with transactions that no commit has taken."""
        return [vertex for vertex in self._unfinished.values() if vertex.author == author]

    @property
    def unfinished(self) -> bool:
        """Whether transactions in accepted blocks, anybody's, wait to be committed (M10)."""
        return bool(self._unfinished)

    @property
    def decided(self) -> Round:
        """The round of the last slot that a commit was taken for, or that was skipped."""
        return self._last.round

    def offer(self, vertex: Vertex, sender: NodeId, now: Instant) -> Offered:
        """Take a valid block."""
        offered = self.dag.offer(vertex, sender, now)
        self.watch.compare(vertex, self.dag.slot(vertex.round, vertex.author))
        self._note(offered.accepted)
        return offered

    def late(self, vertex: Vertex) -> None:
        """A block came when the epoch was over: it may be its author's second of a round.

        Raises PeerFault where it only seems to be, for it is not valid.
        """
        if vertex.author in self.watch.twins or vertex.digest in self.dag:
            return
        accepted = self.dag.slot(vertex.round, vertex.author)
        if accepted:
            check_block(vertex, self.rules)
            self.watch.compare(vertex, accepted)

    def restore(self, vertex: Vertex) -> None:
        """Take a block from the log."""
        self._note(self.dag.restore(vertex))

    def _note(self, accepted: Sequence[Vertex]) -> None:
        for vertex in accepted:
            # It may have waited, like its twin.
            self.watch.compare(vertex, self.dag.slot(vertex.round, vertex.author))
            self._changed = self._changed or self._may_decide(vertex)
            if vertex.block.header.checkpoint_signatures:
                self.certifier.take(vertex.block.header)
                self.watch.take(vertex)
            if vertex.block.body:
                self._unfinished[vertex.digest] = vertex

    def _may_decide(self, vertex: Vertex) -> bool:
        """Whether a slot can be decided now that could not before.

        A slot is decided by a quorum of the round after it (skipped) or of the second (committed),
        or by what these decide: so a block counts where its round weighs a quorum, if the slot two
        rounds before waits, or the slot before does and the block is against it.
        """
        if self.dag.weight(vertex.round) < self.rules.committee.quorum:
            return False
        last = self._last.round
        if vertex.round - 2 > last:
            return True
        before = Round(vertex.round - 1)
        leader = vertex.links.get(self.rules.committee.leader(before))
        return before > last and (leader is None or leader.round != before)

    def next_commit(self, mix: Digest) -> Ordered | None:
        """The next commit, if one is decided; `mix` is that after the commit before it."""
        if not self._decisions and self._changed:
            self._changed = False
            self._decisions.extend(decided(self._rule.decide(self.dag, self._last)))
        while self._decisions:
            decision = self._decisions.popleft()
            self._last = decision.slot
            if decision.block is not None:
                return self._commit(decision.block, mix)
        return None

    def _commit(self, leader: Vertex, mix: Digest) -> Ordered:
        committee = self.rules.committee
        limit = gc_limit(leader, self.rules.consensus.gc_depth)
        floor = Round(max(limit, committee.base))
        found = linearise(self.dag, leader, self._committed, floor)
        blocks = ordered(found, mix, len(committee))
        self._time_ms = commit_time(self.dag, leader, committee, self._time_ms)
        self.height += 1
        references = tuple(block.reference for block in blocks)
        record = CommitRecord(
            self.height, self._digest, leader.reference, references, self._time_ms
        )
        self._digest = commit_digest(record)
        for block in blocks:
            self._committed.add(block.digest)
            self._unfinished.pop(block.digest, None)
        accepted = self.dag.collect(limit)
        self._note(accepted)
        return Ordered(self._commit_of(leader, blocks), accepted, self._fall())

    def _commit_of(self, leader: Vertex, blocks: Sequence[Vertex]) -> OrderedCommit:
        return OrderedCommit(
            height=self.height,
            leader_round=leader.round,
            leader=leader.author,
            reveal=leader.block.header.reveal,
            timestamp_ms=self._time_ms,
            digest=self._digest,
            transactions=[tx for block in blocks for tx in block.block.body],
            epoch=self.epoch,
            blocks=[_facts(block) for block in blocks],
        )

    def prune(self) -> None:
        """Forget blocks that no commit can take any more, for who serves them to nobody."""
        for vertex in self.dag.prune():
            self._committed.discard(vertex.digest)
        self.watch.forget(self.dag.gc_round)

    def _fall(self) -> list[Vertex]:
        """Forget the transactions of blocks that no later commit can take."""
        limit = self.dag.gc_round
        fallen = [vertex for vertex in self._unfinished.values() if vertex.round <= limit]
        for vertex in fallen:
            del self._unfinished[vertex.digest]
        return fallen


def _facts(vertex: Vertex) -> OrderedBlock:
    header = vertex.block.header
    return OrderedBlock(
        header.author, header.round, header.transactions, header.checkpoint_signatures
    )
