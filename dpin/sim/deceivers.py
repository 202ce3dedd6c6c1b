"""Liars about what an epoch rests on: checkpoints, handovers, and answers to those who catch up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from dpin.base.chance import Chance
from dpin.base.codec import encode
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, Digest
from dpin.base.machine import Send
from dpin.base.units import Instant
from dpin.ledger.blocks import Vertex
from dpin.ledger.certificates import sign_checkpoint
from dpin.ledger.messages import Blocks, Handed, Message, read_message
from dpin.ledger.statemessages import BucketPage
from dpin.sim.liars import Forgery, Speaker, forging
from dpin.sim.stage import Lie, Stage
from dpin.sim.station import AnyMachine


def two_checkpoints(who: Speaker, vertex: Vertex) -> Forgery:
    """Signs another checkpoint of the same number, for some of the others."""
    signed = vertex.block.header.checkpoint_signatures
    if not signed:
        return Forgery()
    other = Digest(bytes(who.chance.below(256) for _ in range(ID_BYTES)))
    value = sign_checkpoint(who.key, who.chain, 1 + who.chance.below(100), other)
    lies = tuple(msgspec.structs.replace(it, checkpoint=other, signature=value) for it in signed)
    return Forgery(who.again(vertex, checkpoint_signatures=lies))


def other_epochs(who: Speaker, vertex: Vertex) -> Forgery:
    """The same block in the epoch before and in the next two."""
    epoch = vertex.block.header.epoch
    wrong = [number for number in (epoch - 1, epoch + 1, epoch + 2) if number >= 0]
    return Forgery(None, [who.again(vertex, epoch=number) for number in wrong])


@dataclass(frozen=True, slots=True)
class Falsifier:
    """Answers those who catch up, and says what is not so."""

    inner: AnyMachine
    chance: Chance

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, but for every second answer."""
        return [self._said(effect) for effect in self.inner.step(event, now)]

    def _said(self, effect: object) -> object:
        if not isinstance(effect, Send) or self.chance.below(2):
            return effect
        try:
            message = self._bent(read_message(effect.payload))
        except PeerFault:
            return effect
        return effect if message is None else Send(effect.peer, encode(message))

    def _bent(self, message: Message) -> Message | None:
        match message:
            case Blocks(blocks) if blocks:
                bent = tuple(self._changed(block) for block in blocks)
                return msgspec.structs.replace(message, blocks=bent)
            case Handed(epoch, handover):
                record = handover.record
                alone = msgspec.structs.replace(record, members=record.members[:1])
                return Handed(epoch, msgspec.structs.replace(handover, record=alone))
            case _:
                return None

    def _changed(self, block: bytes) -> bytes:
        data = bytearray(block)
        data[self.chance.below(len(data))] ^= 1 << self.chance.below(8)
        return bytes(data)


def falsify(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    """Gives false answers."""
    del index
    return Falsifier(machine, stage.lies)


@dataclass(frozen=True, slots=True)
class Embezzler:
    """Honest but for the states that it shows to who joins: somebody is richer there."""

    inner: AnyMachine

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, but for every page of a state."""
        return [self._said(effect) for effect in self.inner.step(event, now)]

    def _said(self, effect: object) -> object:
        if isinstance(effect, Send):
            try:
                message = read_message(effect.payload)
            except PeerFault:
                return effect
            if isinstance(message, BucketPage) and message.entries:
                first = msgspec.structs.replace(message.entries[0], value=b"\x01")
                entries = (first, *message.entries[1:])
                return Send(effect.peer, encode(msgspec.structs.replace(message, entries=entries)))
        return effect


def embezzle(stage: Stage, index: int, machine: AnyMachine) -> AnyMachine:
    """Shows states that nobody signed."""
    del stage, index
    return Embezzler(machine)


DECEITS: Final[dict[str, Lie]] = {
    "two-checkpoints": forging(two_checkpoints),
    "other-epochs": forging(other_epochs),
    "false-answers": falsify,
    "forged-states": embezzle,
}
