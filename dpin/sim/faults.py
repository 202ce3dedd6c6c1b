"""Peers that lie. Each is a wrapper around the machine of an otherwise correct node.

They know nothing of formats, so they fit any machine: a signed lie comes from running the machine
twice under one key, every other lie from what goes in and out of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from dpin.base.chance import Chance
from dpin.base.ids import NodeId
from dpin.base.machine import Preserve, Received, Roll, Send, Store
from dpin.base.units import MILLION, Instant
from dpin.sim.station import AnyMachine

MEMORY_MAX: Final = 256  # messages that a replaying peer remembers
JUNK_BYTES_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Twins:
    """One key, two machines: `audience` hears only the first, everybody else only the second.

    What one twin signs for a round differs from what the other signs for it: an equivocator. Only
    the first keeps a log.
    """

    first: AnyMachine
    second: AnyMachine
    audience: frozenset[NodeId]

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Let both twins live through the event."""
        near = [e for e in self.first.step(event, now) if self._heard(e, near=True)]
        far = [e for e in self.second.step(event, now) if self._heard(e, near=False)]
        return near + far

    def _heard(self, effect: object, *, near: bool) -> bool:
        match effect:
            case Send(peer):
                return (peer in self.audience) is near
            case Store() | Preserve() | Roll():
                return near
            case _:
                return True


@dataclass(frozen=True, slots=True)
class Withholder:
    """Says nothing longer than `bytes_max` to its victims: they hear of blocks, never from it."""

    inner: AnyMachine
    victims: frozenset[NodeId]
    bytes_max: int = 0

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, and leave out what the victims need."""
        return [effect for effect in self.inner.step(event, now) if not self._kept_back(effect)]

    def _kept_back(self, effect: object) -> bool:
        match effect:
            case Send(peer, payload):
                return peer in self.victims and len(payload) > self.bytes_max
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Babbler:
    """Adds junk to what it says: random bytes, and its own messages with some bytes changed."""

    inner: AnyMachine
    chance: Chance
    rate_ppm: int = MILLION // 2

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, and babble."""
        effects = list(self.inner.step(event, now))
        sends = [effect for effect in effects if isinstance(effect, Send)]
        for send in sends:
            if self.chance.below(MILLION) < self.rate_ppm:
                effects += [Send(send.peer, self._random()), Send(send.peer, self._mangled(send))]
        return effects

    def _random(self) -> bytes:
        return bytes(self.chance.below(256) for _ in range(self.chance.below(64)))

    def _mangled(self, send: Send) -> bytes:
        """A message cut short, or with one byte changed."""
        data = bytearray(send.payload[:JUNK_BYTES_MAX])
        if not data:
            return b"\xc1"  # No MessagePack value starts so.
        place = self.chance.below(len(data))
        if self.chance.below(2):
            return bytes(data[:place])
        data[place] ^= 1 << self.chance.below(8)
        return bytes(data)


@dataclass(frozen=True, slots=True)
class Replayer:
    """Repeats old messages, its own and those of others, to whomever it talks to."""

    inner: AnyMachine
    chance: Chance
    rate_ppm: int = MILLION // 2
    memory: list[bytes] = field(default_factory=list)

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, and repeat."""
        if isinstance(event, Received):
            self._remember(event.payload)
        effects = list(self.inner.step(event, now))
        for send in [effect for effect in effects if isinstance(effect, Send)]:
            self._remember(send.payload)
            if self.chance.below(MILLION) < self.rate_ppm:
                old = self.memory[self.chance.below(len(self.memory))]
                effects.append(Send(send.peer, old))
        return effects

    def _remember(self, payload: bytes) -> None:
        if len(self.memory) < MEMORY_MAX:
            self.memory.append(payload)
        else:
            self.memory[self.chance.below(MEMORY_MAX)] = payload
