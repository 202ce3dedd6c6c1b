"""When a validator makes its next block, and to what it links.

A block is made only when it is of use: transactions wait here, transactions in somebody's block
wait to be committed, receipts wait for a certificate, another validator has a block of this round
already (so that all stand in the same round when the network falls silent, and any of them can wake
it), or, slowly, a deadline of the ledger is to come.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.crypto import SigningKey
from dpin.base.ids import NO_DIGEST, Digest, Round
from dpin.base.units import MICROS_PER_MILLI, NEVER, Instant, Micros, after
from dpin.ledger.beacon import OwnChain
from dpin.ledger.blocks import (
    BLOCK_VERSION,
    Header,
    Reference,
    Rules,
    Vertex,
    payload_root,
    sign_block,
)
from dpin.ledger.checkpoint import CheckpointSignature
from dpin.ledger.dag import Dag
from dpin.ledger.pace import Pace
from dpin.ledger.params import ROUND_MARGIN_MAX

DOWN_ROUNDS: Final = 3  # a leader that was silent so long is not waited for


@dataclass(frozen=True, slots=True)
class Need:
    """What a new block would be good for."""

    queued: int  # transactions that wait in the own mempool
    unfinished: bool  # transactions in accepted blocks wait to be committed
    deadlines: bool  # something fires by itself as ledger time goes on
    uncertified: bool = False  # receipts, or the end of the epoch, wait for a certificate


@dataclass(frozen=True, slots=True)
class Content:
    """What a block carries. `void`: it is never committed, so it must reveal nothing."""

    payload: tuple[bytes, ...] = ()
    signatures: tuple[CheckpointSignature, ...] = ()
    void: bool = False


@dataclass(frozen=True, slots=True)
class Author:
    """Who signs, and what it reveals when it leads."""

    index: int
    key: SigningKey
    chain: OwnChain | None


class Proposer:
    """Makes own blocks: never two of one round, `last` is the guard."""

    def __init__(self, rules: Rules, dag: Dag, author: Author) -> None:
        self.last = dag.slot(dag.base, author.index)[0]  # the newest block we ever signed
        self._rules = rules
        self._dag = dag
        self._author = author
        self._pace = Pace(rules.consensus, dag)
        self._reached = Round(dag.base + 1)
        self._reached_at = Instant(0)

    def restore(self, vertex: Vertex) -> None:
        """An own block from the log."""
        if vertex.round > self.last.round:
            self.last = vertex

    def observe(self, now: Instant) -> None:
        """Look at the DAG: which round could a block be made for?"""
        # A clock that was set back must not postpone the next block.
        self._pace.observe(now)
        self._reached_at = min(self._reached_at, now)
        highest = self._dag.highest
        full = self._dag.weight(highest) >= self._rules.committee.quorum
        reached = Round(highest + 1) if full else highest
        if reached > self._reached:
            self._reached, self._reached_at = reached, now

    @property
    def reached(self) -> Round:
        """The highest round whose predecessor has blocks of a quorum."""
        return self._reached

    def when(self, need: Need) -> Instant:
        """When the next block may be made; NEVER while none is of use or possible."""
        if self.last.round >= self._reached or not self._has_last():
            return NEVER
        at = self._due(need)
        if at < NEVER and self._leader_awaited():
            patience = Micros(self._rules.consensus.leader_timeout_ms * MICROS_PER_MILLI)
            return max(at, after(self._reached_at, patience))
        return at

    def _has_last(self) -> bool:
        """Whether the own last block can be linked to, or need not be."""
        return self._too_old(self.last.round) or self._dag.get(self.last.digest) is not None

    def _too_old(self, round_: Round) -> bool:
        return round_ < self._reached - ROUND_MARGIN_MAX

    def _due(self, need: Need) -> Instant:
        if need.queued or need.unfinished:
            alone = len(self._rules.committee) == 1
            if alone and need.unfinished and not need.queued:
                # Nobody else can add to what is to be committed.
                return self._pace.since(Micros(0))
            return self._pace.haste(need.queued, self.last, self._reached)
        if need.uncertified or self._dag.at(self._reached):
            return self._pace.usual()
        if need.deadlines:
            idle = self._rules.consensus.idle_round_ms
            return self._pace.since(Micros(idle * MICROS_PER_MILLI))
        return NEVER

    def _leader_awaited(self) -> bool:
        """Whether the leader of the round before has no block here and may still make one."""
        before = Round(self._reached - 1)
        leader = self._rules.committee.leader(before)
        if leader == self._author.index or self._dag.slot(before, leader):
            return False
        # One that has a later block came too late for this round, and makes none for it any more.
        return before - DOWN_ROUNDS <= self._dag.newest[leader] < before

    def make(self, content: Content, now: Instant) -> Vertex:
        """Sign the block of the round that is reached. The caller stores it before it is sent."""
        payload = content.payload
        assert self.last.round < self._reached, "never two blocks of one round"
        own_gap = self._too_old(self.last.round)
        header = Header(
            version=BLOCK_VERSION,
            epoch=self._rules.committee.epoch,
            round=self._reached,
            author=self._author.index,
            timestamp_ms=max(0, now // MICROS_PER_MILLI),
            ancestors=self._ancestors(own_gap=own_gap),
            payload_root=payload_root(payload),
            payload_bytes=sum(map(len, payload)),
            transactions=len(payload),
            own_gap=int(own_gap),
            reveal=NO_DIGEST if content.void else self._reveal(),
            checkpoint_signatures=content.signatures,
            evidence=(),
        )
        self.last = sign_block(self._author.key, self._rules.chain, header, payload)
        self._pace.made(now)
        return self.last

    def _reveal(self) -> Digest:
        leads = self._rules.committee.leader(self._reached) == self._author.index
        return self._author.chain.at(self._reached) if leads and self._author.chain else NO_DIGEST

    def _ancestors(self, *, own_gap: bool) -> tuple[Reference, ...]:
        own = [] if own_gap else [self.last.reference]
        others = list(range(len(self._rules.committee)))
        others.remove(self._author.index)
        links = {author: self._newest(author) for author in others}
        shunned = self._shunned([*own, *(link for link in links.values() if link)])
        named = [link for author, link in links.items() if link and author not in shunned]
        return (*own, *named)

    def _newest(self, author: int) -> Reference | None:
        """The newest block of an author below the round reached that may be linked to."""
        for number in range(self._reached - 1, self._reached - 1 - ROUND_MARGIN_MAX, -1):
            twins = self._dag.slot(Round(number), author)
            if twins:
                return twins[0].reference
        return None

    def _shunned(self, links: Sequence[Reference]) -> set[int]:
        """Authors proven to equivocate, less those needed for a quorum of the round before."""
        direct = {link.author for link in links if link.round == self._reached - 1}
        shunned = self._dag.equivocators - {self._author.index}
        for author in sorted(shunned):
            if self._rules.committee.weigh(direct - shunned) >= self._rules.committee.quorum:
                break
            shunned = shunned - {author}
        return shunned
