"""Replicas in one process: a heap of events, a network that delays and loses, logs that survive."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from heapq import heappop, heappush
from itertools import count

from dpin.base.chance import Chance
from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_DIGEST, ChainId, Digest, NodeId, Round
from dpin.base.machine import Blame, PeerDown, PeerUp, Received, Send, Store, Tick, Wake
from dpin.base.units import NEVER, Instant, Micros, MicroTokens, after, seconds
from dpin.ledger.blocks import read_block
from dpin.ledger.checkpoint import Checkpoint, CommitteeRecord, Member, committee_digest
from dpin.ledger.committee import SEED_TAG, first_record
from dpin.ledger.genesis import Genesis, chain_id, found
from dpin.ledger.identity import Identity
from dpin.ledger.inquest import Dump
from dpin.ledger.mempool import identify
from dpin.ledger.messages import BlockMessage, read_message
from dpin.ledger.money import MAX_SUPPLY
from dpin.ledger.order import OrderedCommit, Receipt
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.replica import Applied, Diverged, Event, Refused, Replica, Silenced, Submit
from dpin.ledger.transactions import Terms, Transfer, sign

START = Instant(1_700_000_000_000_000)
LONG = Terms(1_000, MicroTokens(0))  # longer than any test lasts
LATENCY = Micros(2_000)
ROOT_EVERY = DEVELOPMENT.consensus.root_every


def key(number: int) -> SigningKey:
    return SigningKey(sha256(f"cluster {number}".encode()).digest())


def network(members: int) -> tuple[Genesis, list[SigningKey]]:
    """A genesis and its founders' keys, in the order of the committee."""
    keys = sorted((key(number) for number in range(members)), key=lambda one: one.node_id)
    anchors = {one.node_id: NO_DIGEST for one in keys}
    return found("cluster", START // 1_000, anchors, DEVELOPMENT), keys


def transfer(sender: SigningKey, chain: ChainId, sequence: int) -> bytes:
    """A signed transfer that no other number gives."""
    operation = Transfer(sender.node_id, MicroTokens(1), b"")
    return encode(sign(sender, chain, sequence, operation, LONG))


@dataclass(frozen=True)
class FakeDone:
    receipts: Sequence[Receipt]
    state_root: Digest | None
    checkpoint: Checkpoint | None = None
    closing: CommitteeRecord | None = None


@dataclass(frozen=True)
class Plan:
    """When epochs end, and who validates the next: the same for all of a cluster."""

    first: CommitteeRecord
    commits: int  # in an epoch
    committees: dict[int, Sequence[NodeId]] = field(default_factory=dict)  # from that epoch on

    def after(self, record: CommitteeRecord, commit: OrderedCommit) -> CommitteeRecord:
        """The committee that follows `record`'s; the commit closes its epoch."""
        epoch = record.epoch + 1
        nodes = self.committees.get(epoch, [member.node for member in record.members])
        return CommitteeRecord(
            epoch,
            digest(SEED_TAG, commit.digest),
            Round(commit.leader_round + DEVELOPMENT.consensus.gc_depth),
            tuple(Member(node, node, 1, NO_DIGEST, Round(0)) for node in sorted(nodes)),
        )


class FakeExecutor:
    """Remembers the order, refuses nothing, and stirs the mix by each commit."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan
        self.record = plan.first if plan is not None else None
        self.opened = 0  # height of the last commit of the epoch before
        self.mix = NO_DIGEST
        self.has_deadlines = False
        self.commits: list[OrderedCommit] = []
        self.transactions: list[bytes] = []
        self.refused: dict[bytes, str] = {}
        self._seen: set[bytes] = set()
        self.receipts = ReceiptLog()
        self.sequence = 0
        self.lie = b""  # with one, its checkpoints are not those of others

    def check(self, transaction: bytes) -> str | None:
        try:
            identify(transaction)
        except PeerFault:
            return "malformed"
        return "used" if transaction in self._seen else self.refused.get(transaction)

    def funds(self, account: NodeId) -> MicroTokens:
        del account
        return MAX_SUPPLY

    def apply(self, commit: OrderedCommit) -> FakeDone:
        assert commit.height == len(self.commits) + 1
        self.mix = digest("test/mix", self.mix + commit.digest)
        self.commits.append(commit)
        fresh = [one for one in dict.fromkeys(commit.transactions) if one not in self._seen]
        self._seen.update(fresh)
        self.transactions += fresh
        receipts = [Receipt(commit.height, identify(one)[0], 0, "ok") for one in fresh]
        for receipt in receipts:
            self.receipts.append(receipt)
        closing = self._close(commit)
        if commit.height % ROOT_EVERY and closing is None:
            return FakeDone(receipts, None)
        checkpoint = self._checkpoint(commit, closing)
        return FakeDone(receipts, checkpoint.state_root, checkpoint, closing)

    def _close(self, commit: OrderedCommit) -> CommitteeRecord | None:
        if self.plan is None or self.record is None:
            return None
        assert commit.epoch == self.record.epoch
        if commit.height < self.opened + self.plan.commits:
            return None
        self.opened = commit.height
        self.record = self.plan.after(self.record, commit)
        return self.record

    def _checkpoint(self, commit: OrderedCommit, closing: CommitteeRecord | None) -> Checkpoint:
        self.sequence += 1
        checkpoint = Checkpoint(
            sequence=self.sequence,
            epoch=commit.epoch,
            height=commit.height,
            commit=commit.digest,
            state_root=digest("test/root", self.mix + self.lie),
            time_ms=commit.timestamp_ms,
            params=NO_DIGEST,
            committee=NO_DIGEST,
            next_committee=NO_DIGEST if closing is None else committee_digest(closing),
        )
        self.receipts.append(checkpoint)
        return checkpoint


@dataclass
class Place:
    """Where a replica lives: its log and identity outlast it."""

    key: SigningKey
    records: list[bytes] = field(default_factory=list)
    unsynced: int = 0  # records at the end that a crash takes
    replica: Replica | None = None
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    wake: Instant = NEVER
    effects: list[object] = field(default_factory=list)  # since the start, but Store and Wake
    fuse: int | None = None  # effects until it crashes


@lru_cache(maxsize=64)  # The same goes to several.
def _block_in(payload: bytes) -> tuple[tuple[int, int, int], Digest] | None:
    """Epoch, round and author of the block that a message is, and its name."""
    message = read_message(payload)
    if not isinstance(message, BlockMessage):
        return None
    block = read_block(message.block)
    return (block.block.header.epoch, block.round, block.author), block.digest


class Cluster:
    """Replicas joined by a network; `deliver` may drop what it returns False for."""

    def __init__(self, members: int, observers: int = 0, seed: int = 0, commits: int = 0) -> None:
        """With `commits`, an epoch has so many."""
        self.genesis, keys = network(members)
        self.chain = chain_id(self.genesis)
        keys += [key(1_000 + number) for number in range(observers)]
        self.places = {one.node_id: Place(one) for one in keys}
        self.nodes = [one.node_id for one in keys]
        self.now = START
        self.plan: Plan | None = None
        if commits:
            self.plan = Plan(first_record(self.genesis, self.chain), commits)
        self.deadlines = False  # whether executors that start have some
        self.loss_percent = 0
        self.cut: Callable[[NodeId, NodeId], bool] = lambda _from, _to: False
        self.slower: Callable[[NodeId, NodeId], Micros] = lambda _from, _to: Micros(0)
        self.sent = 0
        self.blocks_sent: dict[tuple[int, int, int], set[Digest]] = {}  # by epoch, round, author
        self._chance = Chance(seed.to_bytes(8))
        self._heap: list[tuple[Instant, int, Callable[[], None]]] = []
        self._order = count()

    def start(self, *numbers: int) -> None:
        for number in numbers or range(len(self.nodes)):
            self._start(self.nodes[number])

    def _start(self, node: NodeId) -> None:
        place = self.places[node]
        place.executor = FakeExecutor(self.plan)
        place.executor.has_deadlines = self.deadlines
        place.unsynced, place.wake, place.effects = 0, NEVER, []
        replica = Replica(self.genesis, Identity(place.key), place.executor, list(place.records))
        place.replica = replica
        self.feed(node, Tick())
        for peer in self.nodes:
            if peer != node and self.places[peer].replica is not None:
                self._meet(node, peer)

    def _meet(self, one: NodeId, other: NodeId) -> None:
        for node, peer in ((one, other), (other, one)):
            self.feed(node, PeerUp(peer))

    def crash(self, number: int) -> None:
        node = self.nodes[number]
        place = self.places[node]
        place.replica = None
        if place.unsynced:
            del place.records[-place.unsynced :]
        for peer in self.nodes:
            if peer != node and self.places[peer].replica is not None:
                self.feed(peer, PeerDown(node))

    def _at(self, when: Instant, action: Callable[[], None]) -> None:
        heappush(self._heap, (when, next(self._order), action))

    def feed(self, node: NodeId, event: Event) -> None:
        """Let an event happen to a replica that runs."""
        place = self.places[node]
        replica = place.replica
        if replica is None:
            return
        effects = replica.step(event, self.now)
        # Law 1: what a batch stores is durable before anything else of it happens.
        stores = [effect for effect in effects if isinstance(effect, Store)]
        for effect in [*stores, *(one for one in effects if not isinstance(one, Store))]:
            if place.fuse == 0:
                place.fuse = None
                self.crash(self.nodes.index(node))
                return
            if place.fuse is not None:
                place.fuse -= 1
            self._perform(node, place, effect)

    def _perform(self, node: NodeId, place: Place, effect: object) -> None:
        match effect:
            case Send(peer, payload):
                self._send(node, peer, payload)
            case Store(record, sync):
                place.records.append(record)
                place.unsynced = 0 if sync else place.unsynced + 1
            case Wake(when):
                place.wake = min(place.wake, when)
                self._at(max(when, self.now), lambda: self._tick(node))
            case Applied() | Refused() | Silenced() | Diverged() | Blame() | Dump():
                place.effects.append(effect)
            case _:
                raise AssertionError(effect)

    def _send(self, node: NodeId, peer: NodeId, payload: bytes) -> None:
        self.sent += 1
        block = _block_in(payload)
        if block is not None:
            self.blocks_sent.setdefault(block[0], set()).add(block[1])
        if self.cut(node, peer) or self._chance.below(100) < self.loss_percent:
            return
        delay = Micros(LATENCY + self._chance.below(LATENCY) + self.slower(node, peer))
        self._at(after(self.now, delay), lambda: self.feed(peer, Received(node, payload)))

    def _tick(self, node: NodeId) -> None:
        place = self.places[node]
        if place.wake <= self.now:
            place.wake = NEVER
            self.feed(node, Tick())

    def run(self, length: float) -> None:
        """Play so many seconds."""
        end = after(self.now, seconds(length))
        while self._heap and self._heap[0][0] <= end:
            when, _, action = heappop(self._heap)
            self.now = max(self.now, when)
            action()
        self.now = end

    def submit(self, number: int, sequence: int) -> bytes:
        node = self.nodes[number]
        data = transfer(self.places[node].key, self.chain, sequence)
        self.feed(node, Submit(data))
        return data

    def executor(self, number: int) -> FakeExecutor:
        return self.places[self.nodes[number]].executor

    def replica(self, number: int) -> Replica:
        replica = self.places[self.nodes[number]].replica
        assert replica is not None
        return replica

    def check_agreement(self) -> None:
        """Every two nodes agree on all commits that both have."""
        logs = [
            [commit.digest for commit in place.executor.commits] for place in self.places.values()
        ]
        longest = max(logs, key=len)
        for log in logs:
            assert log == longest[: len(log)], "two nodes disagree"
