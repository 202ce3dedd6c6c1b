"""Whole nodes in a simulated world: the production machine, pretended blob stores and workers.

Tests give them workers that really train.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol

from dpin.base.codec import decode
from dpin.base.crypto import SigningKey
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.base.machine import Preserve
from dpin.base.units import Instant, Micros, after, seconds
from dpin.compute.task import Command, Merged, Probed, Report, Trained
from dpin.compute.work import Dismiss, Hire, Order, Reported, WorkerId
from dpin.ledger import money
from dpin.ledger.handover import Handover
from dpin.ledger.identity import HoldChain, HoldSigner, Identity, WantChain, WantSigner
from dpin.ledger.order import Receipt
from dpin.ledger.replica import Applied, Resumed
from dpin.market.provider import Choice, Probe
from dpin.net.envelope import Service, open_envelope
from dpin.node.peer import Event, Peer, PeerOptions
from dpin.sim.checks import Committed, Recovered, Slot
from dpin.sim.depot import Depot
from dpin.sim.ledgers import Founding, Owner, blocks_in, done_by, recovered, state_digest
from dpin.sim.station import Body, Boot
from dpin.sim.workers import PROBED, TRAIN, PretendWorker
from dpin.storage.wanted import Allow, Discard, Fetch, Keep, KeepData, Need

MAKING: Final[Micros] = seconds(0.2)  # a key or a chain
SIGNER: Final = "signer-"
CHAIN_FILE: Final = "chain-"
CLOSING_FILE: Final = "closing-"


class PeerNode:
    """The production machine; `peer` may be read. It states as facts what the checks look at."""

    def __init__(self, options: PeerOptions) -> None:
        self.peer = Peer(options)

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Feed the node; add what was committed."""
        assert isinstance(event, Event), event
        effects = self.peer.step(event, now)
        moved = [effect for effect in effects if isinstance(effect, Applied | Resumed)]
        return [*effects, *(self._fact(one, last=one is moved[-1]) for one in moved)]

    def _fact(self, applied: Applied | Resumed, *, last: bool) -> Committed | Recovered:
        """The state is seen after the last commit of a step only."""
        executor = self.peer.executor
        if isinstance(applied, Resumed):
            return recovered(executor.receipts, applied)
        height = applied.commit.height
        if applied.replayed:
            receipts = [leaf for leaf in executor.receipts if isinstance(leaf, Receipt)]
            return Recovered(height, done_by(receipts, height))
        return Committed(
            height=height,
            commit=applied.commit.digest,
            transactions=done_by(applied.receipts, height),
            state=state_digest(executor.state, applied.state_root) if last else None,
            supply=money.supply(executor.state) if last else None,
        )


Drag = Callable[[Instant], int]  # how many times as long everything takes now


def unhampered(now: Instant) -> int:
    """A machine that keeps up."""
    del now
    return 1


class Hand(Protocol):
    """A worker of a simulated node; a whole unit takes it `unit` micros."""

    unit: Micros

    def perform(self, command: Command) -> tuple[Micros, Report]:
        """Do one command: how long it takes, and what comes of it."""
        ...


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a node says of its device, and who works there: by name, with the node's files."""

    probed: Probed = PROBED
    hire: Callable[[WorkerId, dict[str, bytes]], Hand] = PretendWorker


PRETENDED: Final = Workplace()


@dataclass(frozen=True, slots=True)
class Pace:
    """What a whole unit takes the workers of a node, what hampers it, and where they work."""

    unit: Micros = TRAIN
    drag: Drag = unhampered
    place: Workplace = PRETENDED


USUAL: Final = Pace()


@dataclass(slots=True)
class PeerDevice:
    """Blob store, keys and workers of one node. The files outlive it, the workers do not."""

    owner: Owner
    depot: Depot
    pace: Pace = USUAL
    workers: dict[WorkerId, Hand] = field(default_factory=dict)
    busy: dict[WorkerId, Instant] = field(default_factory=dict)

    def perform(self, effect: object, now: Instant) -> Sequence[tuple[Micros, object]]:
        """Do what the node asks of its store and its workers; the rest is for people."""
        match effect:
            case Fetch() | Keep() | KeepData() | Allow() | Discard() | Need():
                factor = self.pace.drag(now)
                found = self.depot.perform(self.owner.key.node_id, effect)
                return [(Micros(wait * factor), event) for wait, event in found]
            case Hire(worker):
                hired = self.workers.get(worker) or self.pace.place.hire(worker, self.files)
                self.workers[worker] = hired
            case Order() if effect.worker in self.workers:
                return [self._ordered(effect, now)]
            case Dismiss(worker):
                self.workers.pop(worker, None)
            case Preserve(records):
                for record in records:
                    ended = decode(Handover, record).epoch
                    self.files[f"{CLOSING_FILE}{ended:08}"] = record
            case WantSigner() | WantChain():
                return [(MAKING, made(self.owner, self.files, effect))]
            case _:
                pass
        return []

    @property
    def files(self) -> dict[str, bytes]:
        """What outlives a crash."""
        return self.depot.shelf(self.owner.key.node_id).files

    def _ordered(self, order: Order, now: Instant) -> tuple[Micros, object]:
        """A worker does its commands one after the other."""
        factor, worker = self.pace.drag(now), self.workers[order.worker]
        worker.unit = Micros(self.pace.unit * factor)  # Of a unit in a box less is done then.
        took, report = worker.perform(order.command)
        took = took if isinstance(report, Trained) else Micros(took * factor)
        if isinstance(report, Merged):
            self.depot.merged.append((self.owner.key.node_id, report.round, report.state_hash))
        done = after(max(now, self.busy.get(order.worker, now)), took)
        self.busy[order.worker] = done
        return Micros(done - now), Reported(order.worker, report)


def made(
    owner: Owner, files: dict[str, bytes], effect: WantSigner | WantChain
) -> HoldSigner | HoldChain:
    """What a validator asks for, kept before it is told."""
    own = owner.key.node_id
    if isinstance(effect, WantSigner):
        number = sum(name.startswith(SIGNER) for name in files)
        seed = sha256(own + SIGNER.encode() + number.to_bytes(8)).digest()
        files[f"{SIGNER}{number:08}"] = seed
        return HoldSigner(SigningKey(seed))
    secret = sha256(own + CHAIN_FILE.encode() + effect.number.to_bytes(8)).digest()
    table = owner.chain.build(secret)
    files[f"{CHAIN_FILE}{effect.number}"] = table
    return HoldChain(effect.number, table)


def _identity(owner: Owner, files: Mapping[str, bytes]) -> Identity:
    """Who a node is after a start."""
    tables = {
        int(name.removeprefix(CHAIN_FILE)): files[name]
        for name in files
        if name.startswith(CHAIN_FILE)
    }
    identity = owner.identity(tables)
    names = sorted(name for name in files if name.startswith(SIGNER))
    identity.signers = [SigningKey(files[name]) for name in names]
    return identity


def peer_node(
    founding: Founding, owner: Owner, choice: Choice, depot: Depot, pace: Pace = USUAL
) -> Boot:
    """How a whole node with this key starts, whose workers and disk have this pace."""

    def boot(records: Sequence[bytes], _now: Instant) -> Body:
        device = PeerDevice(owner, depot, pace)
        identity = _identity(owner, device.files)
        kept = sorted(name for name in device.files if name.startswith(CLOSING_FILE))
        closings = [device.files[name] for name in kept]
        options = PeerOptions(identity, founding.genesis, records, choice, closings=closings)
        return Body(PeerNode(options), device, [Probe(pace.place.probed)])

    return boot


def peer_blocks_in(founding: Founding, payload: bytes) -> list[tuple[NodeId, Slot, Digest]]:
    """As `blocks_in`, for what whole nodes send."""
    try:
        envelope = open_envelope(founding.chain, payload)
    except PeerFault:
        return []
    return blocks_in(founding, envelope.body) if envelope.service == Service.LEDGER else []
