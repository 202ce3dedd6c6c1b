"""A replica and its state in a simulated world, stating as facts what the checks look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Final, Protocol

import msgspec

from dpin.base.codec import decode, encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, ChainId, Digest, NodeId
from dpin.base.machine import PeerDown, PeerUp, Preserve, Received, Tick
from dpin.base.units import MICROS_PER_MILLI, Instant, Micros, MicroTokens
from dpin.ledger import money
from dpin.ledger.accounts import State
from dpin.ledger.beacon import TABLE_ENTRIES, Chain
from dpin.ledger.blocks import read_block
from dpin.ledger.chains import OwnChains
from dpin.ledger.execute import Applied, Executor
from dpin.ledger.genesis import Genesis, chain_id, found
from dpin.ledger.identity import Identity
from dpin.ledger.keeper import Keeper
from dpin.ledger.messages import BlockMessage, Blocks, Message
from dpin.ledger.order import Leaves, OrderedCommit, Receipt
from dpin.ledger.params import DEVELOPMENT
from dpin.ledger.reasons import Reason
from dpin.ledger.receipts import ReceiptLog
from dpin.ledger.replica import Replica, Resumed, Submit
from dpin.sim.checks import Committed, Recovered, Slot
from dpin.sim.station import Body, Boot
from dpin.sim.timeline import BEGINNING

STATE_TAG: Final = "dpin/sim-state/v1"
CHAIN: Final = Chain()
STRIDES: Final = 4  # of a hash chain that are real here: 8,192 rounds, made in no time


@dataclass(frozen=True, slots=True)
class Founding:
    """A network before its first block, with everybody's secrets."""

    genesis: Genesis
    chain: ChainId
    keys: tuple[SigningKey, ...]  # by author index
    tables: tuple[bytes, ...]  # of the hash chains, by author index


@dataclass(frozen=True, slots=True)
class Owner:
    """Who runs a node: with a hash chain, a validator."""

    key: SigningKey
    table: bytes | None
    chain: Chain = CHAIN

    def identity(self, tables: Mapping[int, bytes] | None = None) -> Identity:
        """As it starts, with these further chains."""
        first = {0: self.table} if self.table is not None else {}
        return Identity(self.key, OwnChains(first | dict(tables or {}), self.chain))


def secret(name: str, seed: int, owner: str) -> bytes:
    """32 secret bytes of one owner in one simulation."""
    return sha256(f"{name} {seed} {owner}".encode()).digest()


def found_network(
    name: str,
    seed: int,
    members: int,
    epoch_ms: int = DEVELOPMENT.epoch_ms,
    chain: Chain = CHAIN,
) -> Founding:
    """A network of so many founders, all drawn from one seed."""
    rules = msgspec.structs.replace(DEVELOPMENT, epoch_ms=epoch_ms)
    keys = [SigningKey(secret(name, seed, f"founder {i}")) for i in range(members)]
    keys.sort(key=lambda key: key.node_id)
    table_of = short_table if chain is CHAIN else chain.build
    tables = [table_of(secret(name, seed, key.node_id.hex())) for key in keys]
    anchors = {key.node_id: chain.anchor(table) for key, table in zip(keys, tables, strict=True)}
    genesis = found(name, BEGINNING // MICROS_PER_MILLI, anchors, rules)
    return Founding(genesis, chain_id(genesis), tuple(keys), tuple(tables))


def short_table(end: bytes, strides: int = STRIDES) -> bytes:
    """The table of a chain of which only the first rounds are real: enough for a simulation."""
    values = list(islice(CHAIN.strides(end), strides))
    return b"".join(reversed(values)) + bytes(ID_BYTES * (TABLE_ENTRIES - strides))


class Watched:
    """An executor that keeps a fact of every commit until somebody takes it."""

    def __init__(self, inner: Executor) -> None:
        self.facts: list[Committed] = []
        self._inner = inner

    @property
    def state(self) -> State:
        """What the commits so far led to; to be read."""
        return self._inner.state

    @property
    def mix(self) -> Digest:
        """See dpin.ledger.order.Executor."""
        return self._inner.mix

    @property
    def has_deadlines(self) -> bool:
        """See dpin.ledger.order.Executor."""
        return self._inner.has_deadlines

    @property
    def receipts(self) -> Leaves:
        """See dpin.ledger.order.Executor."""
        return self._inner.receipts

    def check(self, transaction: bytes) -> str | None:
        """See dpin.ledger.order.Executor."""
        return self._inner.check(transaction)

    def funds(self, account: NodeId) -> MicroTokens:
        """See dpin.ledger.order.Executor."""
        return self._inner.funds(account)

    def apply(self, commit: OrderedCommit) -> Applied:
        """Apply a commit and note what it led to."""
        applied = self._inner.apply(commit)
        done = tuple(it.subject for it in applied.receipts if it.code == Reason.OK)
        state = self._inner.state
        self.facts.append(
            Committed(
                height=commit.height,
                commit=commit.digest,
                transactions=done,
                state=state_digest(state, applied.state_root),
                supply=money.supply(state),
            )
        )
        return applied


def state_digest(state: State, root: Digest | None) -> Digest:
    """Names a state: its root, where there is one, and the money of every account."""
    accounts = [
        [node, account.free, account.stake, account.sequence_high, account.sequence_mask]
        for node, account in sorted(state.accounts.items())
    ]
    return digest(STATE_TAG, encode([root, state.height, state.tick, state.mix, accounts]))


class Speaking(Protocol):
    """A machine that speaks the ledger's words, and the replica in it."""

    @property
    def replica(self) -> Replica:
        """The ledger's machine."""
        ...

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Take one event."""
        ...


class LedgerNode:
    """A replica with its executor: the ledger's part of a node. Liars reach into `replica`."""

    def __init__(
        self,
        founding: Founding,
        owner: Owner,
        records: Sequence[bytes],
        closings: Sequence[bytes] = (),
    ) -> None:
        inner = Executor(founding.genesis)
        self._executor, self._keeper = Watched(inner), Keeper(inner, closings)
        identity = owner.identity()
        genesis = founding.genesis
        self.replica: Replica = Replica(genesis, identity, self._executor, records, self._keeper)

    @property
    def state(self) -> State:
        """What its ledger knows; to be read."""
        return self._executor.state

    @property
    def receipts(self) -> Leaves:
        """What became of everything; to be read."""
        return self._executor.receipts

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Feed the replica; add what was committed, by replaying the log or by this event."""
        assert isinstance(event, Received | PeerUp | PeerDown | Tick | Submit), event
        effects = self.replica.step(event, now)
        facts, self._executor.facts = self._executor.facts, []
        stated: list[Committed | Recovered] = [*facts]
        for effect in effects:
            if isinstance(effect, Resumed):
                place = sum(fact.height <= effect.height for fact in facts)
                stated.insert(place, recovered(self._executor.receipts, effect))
        return [*effects, *stated]


def recovered(log: Leaves, resumed: Resumed) -> Recovered:
    """What a node has begun with, as far as its receipts show it."""
    assert isinstance(log, ReceiptLog), "whole states are of whole executors"
    receipts = [leaf for leaf in log if isinstance(leaf, Receipt)]
    done = done_by(receipts, resumed.height)
    return Recovered(resumed.height, done, joined=resumed.joined)


def done_by(receipts: Sequence[Receipt], height: int) -> tuple[Digest, ...]:
    """Transactions that took effect; a settlement's subject is a unit's and may come again."""
    return tuple(
        receipt.subject
        for receipt in receipts
        if receipt.code == Reason.OK and receipt.detail == Reason.OK.word
        if receipt.height <= height
    )


class Shelf:
    """What stands beside a ledger: it keeps what is preserved over the lives of a node."""

    def __init__(self) -> None:
        self.closings: list[bytes] = []

    def perform(self, effect: object, now: Instant) -> Sequence[tuple[Micros, object]]:
        """Nothing follows from what a replica reports."""
        del now
        if isinstance(effect, Preserve):
            self.closings += effect.records
        return ()


def ledger_node(founding: Founding, owner: Owner) -> Boot:
    """How a node with this key starts."""
    shelf = Shelf()

    def boot(records: Sequence[bytes], _now: Instant) -> Body:
        return Body(LedgerNode(founding, owner, records, tuple(shelf.closings)), shelf)

    return boot


def blocks_in(founding: Founding, payload: bytes) -> list[tuple[NodeId, Slot, Digest]]:
    """Author, round and name of every block in a message of a replica; of junk, none."""
    return [
        (founding.keys[author].node_id, slot, name) for author, slot, name in blocks_of(payload)
    ]


@lru_cache(maxsize=256)  # The same message goes to several.
def blocks_of(payload: bytes) -> tuple[tuple[int, Slot, Digest], ...]:
    """As `blocks_in`, with the author's index in the committee of its epoch."""
    try:
        message: Message = decode(Message, payload)
        match message:
            case BlockMessage(block):
                found_blocks = [read_block(block)]
            case Blocks(blocks):
                found_blocks = [read_block(block) for block in blocks]
            case _:
                found_blocks = []
    except PeerFault:
        return ()
    return tuple((it.author, (it.block.header.epoch, it.round), it.digest) for it in found_blocks)
