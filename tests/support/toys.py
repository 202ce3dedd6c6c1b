"""Small machines for a simulated world: a log kept by one node, and a signer of rounds."""

from collections.abc import Sequence
from dataclasses import dataclass

from dpin.base.crypto import digest
from dpin.base.ids import Digest, NodeId
from dpin.base.machine import Received, Send, Store, Tick, Wake
from dpin.base.units import Instant, Micros, after
from dpin.sim.checks import Committed, Submitted
from dpin.sim.station import Body, Boot

POLL = Micros(50_000)
SUPPLY = 1_000


def node(number: int) -> NodeId:
    return NodeId(bytes([number]) * 32)


class Silence:
    """A device with nothing to do."""

    def perform(self, effect: object, now: Instant) -> Sequence[tuple[Micros, object]]:
        return []


@dataclass(frozen=True, slots=True)
class Post:
    """Put this into the log."""

    data: bytes


class Keeper:
    """Node 0 keeps a log; the others ask it for what comes next, until they have it."""

    def __init__(self, me: NodeId, records: Sequence[bytes]) -> None:
        self._me = me
        self._log: list[bytes] = []
        self._waiting = list(records)
        self._asked = Instant(0)

    def step(self, event: object, now: Instant) -> Sequence[object]:
        effects: list[object] = [self._apply(record) for record in self._waiting]
        self._waiting.clear()
        match event:
            case Post(data):
                effects += [Submitted(digest("toy", data)), Store(data, sync=True)]
                effects.append(self._apply(data))
            case Received(peer, payload):
                effects += self._hear(peer, payload)
            case _:
                pass
        return [*effects, *self._ask(now)]

    def _apply(self, data: bytes) -> Committed:
        self._log.append(data)
        seen = digest("toy-log", b"".join(self._log))
        return Committed(len(self._log), seen, (digest("toy", data),), seen, SUPPLY)

    def _ask(self, now: Instant) -> Sequence[object]:
        if self._me == node(0):
            return []
        if now < after(self._asked, POLL):
            return [Wake(after(self._asked, POLL))]
        self._asked = now
        return [Send(node(0), b"?" + len(self._log).to_bytes(4)), Wake(after(now, POLL))]

    def _hear(self, peer: NodeId, payload: bytes) -> Sequence[object]:
        height = int.from_bytes(payload[1:5])
        if payload[:1] == b"?" and height < len(self._log):
            return [Send(peer, b"!" + height.to_bytes(4) + self._log[height])]
        if payload[:1] == b"!" and height == len(self._log):
            return [Store(payload[5:]), self._apply(payload[5:])]
        return []


def keeper(me: NodeId) -> Boot:
    return lambda records, _now: Body(Keeper(me, records), Silence())


class Signer:
    """Signs one block a round and tells everybody; which block depends on the time it is made."""

    def __init__(self, peers: Sequence[NodeId], records: Sequence[bytes]) -> None:
        self._peers = peers
        self._round = len(records)
        self._next = Instant(0)

    def step(self, event: object, now: Instant) -> Sequence[object]:
        if now < self._next or not isinstance(event, Tick):
            return [Wake(self._next)]
        self._next = after(now, POLL)
        block = self._round.to_bytes(4) + now.to_bytes(8)
        self._round += 1
        sends = [Send(peer, block) for peer in self._peers]
        return [Store(block, sync=True), *sends, Wake(self._next)]


def signer(me: NodeId, others: Sequence[NodeId]) -> Boot:
    peers = [it for it in others if it != me]
    return lambda records, _now: Body(Signer(peers, records), Silence())


def signed_block(me: NodeId, payload: bytes) -> list[tuple[NodeId, tuple[int, int], Digest]]:
    """What a signer's message says, as the checks read it."""
    return [(me, (0, int.from_bytes(payload[:4])), digest("toy", payload))]
