"""Whole nodes that watch one another: who signs twice is shown and slashed, and nobody else is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from typing_extensions import override

from dpin.base.ids import ID_BYTES, ChainId, Digest, NodeId, short
from dpin.base.machine import Send
from dpin.base.units import MILLION, Instant, MicroTokens, after, ceil_div, seconds
from dpin.ledger.certificates import sign_checkpoint
from dpin.ledger.checkpoint import CheckpointSignature
from dpin.ledger.cosigner import Cosigner
from dpin.ledger.evidence import CORRELATION
from dpin.ledger.offences import Crime
from dpin.ledger.replica import Replica
from dpin.net.envelope import Service, open_envelope, wrap
from dpin.sim.deceivers import two_checkpoints
from dpin.sim.liars import Forger, Speaker, halves
from dpin.sim.peers import PeerNode
from dpin.sim.stage import MEMBERS, Report, since
from dpin.sim.station import AnyMachine, Body, Boot
from dpin.sim.timeline import dice
from dpin.sim.wholes import Wholes

EPOCH_MS: Final = 8_000
PATIENCE: Final = seconds(60)
SETTLED: Final = seconds(10)  # after the slash: an epoch more, in which nobody else is blamed


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a whole node says that is no word of its ledger."""

    effect: object


class Tongue:
    """A whole node whose ledger's messages lie open, for liars to change."""

    def __init__(self, inner: PeerNode, chain: ChainId) -> None:
        self._inner = inner
        self._chain = chain

    @property
    def replica(self) -> Replica:
        """The ledger's machine in it."""
        return self._inner.peer.replica

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly."""
        return [self._opened(effect) for effect in self._inner.step(event, now)]

    def _opened(self, effect: object) -> object:
        if isinstance(effect, Send):
            envelope = open_envelope(self._chain, effect.payload)
            if envelope.service == Service.LEDGER:
                return Send(effect.peer, envelope.body)
        return Sealed(effect)


@dataclass(frozen=True, slots=True)
class Enveloped:
    """Sends again what lay open."""

    inner: AnyMachine
    chain: ChainId

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act as the machine inside."""
        return [self._closed(effect) for effect in self.inner.step(event, now)]

    def _closed(self, effect: object) -> object:
        if isinstance(effect, Send):
            return Send(effect.peer, wrap(self.chain, Service.LEDGER, effect.payload))
        assert isinstance(effect, Sealed), "a liar adds nothing but messages"
        return effect.effect


class Perjury(Cosigner):
    """Signs each checkpoint, and in its next block another one of the same number."""

    def __init__(self, who: Speaker) -> None:
        super().__init__(who.chain, who.key)
        self._who = who
        self._before: tuple[CheckpointSignature, ...] = ()

    @override
    def take(self) -> tuple[CheckpointSignature, ...]:
        """Honest signatures, after those that contradict the ones before."""
        signed = super().take()
        again, self._before = tuple(map(self._otherwise, self._before[:1])), signed[:3]
        return (*again, *signed[:3])

    def _otherwise(self, said: CheckpointSignature) -> CheckpointSignature:
        other = Digest(bytes(self._who.chance.below(256) for _ in range(ID_BYTES)))
        value = sign_checkpoint(self._who.key, self._who.chain, 1 + said.sequence, other)
        return CheckpointSignature(said.sequence, other, value)


@dataclass(frozen=True, slots=True)
class Perjurer:
    """A node whose key signs checkpoints twice, epoch after epoch."""

    inner: Tongue
    who: Speaker

    def step(self, event: object, now: Instant) -> Sequence[object]:
        """Act correctly, but with another pen."""
        effects = self.inner.step(event, now)
        role = self.inner.replica.engine.member.role
        if role is not None and not isinstance(role.cosigner, Perjury):
            role.cosigner = Perjury(self.who)
        return effects


class Criminal(Protocol):
    """How a node is made to break its word; `audience` is whom it shows its twins."""

    def __call__(self, tongue: Tongue, who: Speaker, audience: frozenset[NodeId]) -> AnyMachine:
        """Its machine."""
        ...


def equivocate(tongue: Tongue, who: Speaker, audience: frozenset[NodeId]) -> AnyMachine:
    """Two blocks a round."""
    return Forger(tongue, who, halves, audience)


def perjure(tongue: Tongue, who: Speaker, audience: frozenset[NodeId]) -> AnyMachine:
    """Two signatures under one number, in two rounds."""
    del audience
    return Perjurer(tongue, who)


def both(tongue: Tongue, who: Speaker, audience: frozenset[NodeId]) -> AnyMachine:
    """Two blocks a round, of which each signs another checkpoint."""
    return Forger(tongue, who, two_checkpoints, audience)


CRIMES: Final[dict[str, tuple[Criminal, tuple[Crime, ...]]]] = {
    "twins": (equivocate, (Crime.EQUIVOCATION,)),
    "perjury": (perjure, (Crime.FORK,)),
    "both": (both, (Crime.EQUIVOCATION, Crime.FORK)),
}


class Trial(Wholes):
    """Four whole nodes in epochs of some seconds, one of which signs twice."""

    def __init__(self, name: str, seed: int, crime: str) -> None:
        self.criminal, self.crimes = CRIMES[crime]
        self.liar = dice(seed, "liar").below(MEMBERS)
        self._chance = dice(seed, "lies")
        super().__init__(name, seed, EPOCH_MS)

    @override
    def is_honest(self, index: int) -> bool:
        """All but one."""
        return index != self.liar

    @override
    def boot(self, index: int) -> Boot:
        """The liar's ledger speaks otherwise."""
        boot = super().boot(index)
        if index != self.liar:
            return boot
        key, chain = self.founding.keys[index], self.founding.chain

        def boot_liar(records: Sequence[bytes], now: Instant) -> Body:
            body = boot(records, now)
            assert isinstance(body.machine, PeerNode), "nothing else was made"
            who = Speaker(index, key, chain, MEMBERS, self._chance)
            audience = frozenset(self._chance.chosen(self.honest, 2))
            lying = self.criminal(Tongue(body.machine, chain), who, audience)
            return Body(Enveloped(lying, chain), body.device, body.first)

        return boot_liar

    def convicted(self) -> bool:
        """Whether every honest node's ledger says what the liar did."""
        liar = self.nodes[self.liar]
        found = [self.validators(node)[liar].offences for node in self.honest]
        return all({one.crime for one in them} >= set(self.crimes) for them in found)

    def finish(self) -> Report:
        """Play until the liar is slashed everywhere, and an epoch more."""
        now, end = since(1), after(since(1), PATIENCE)
        while now < end and not self.world.trace.problems and not self.convicted():
            now = after(now, seconds(0.5))
            self.world.run(now)
        self.world.run(after(now, SETTLED))
        problems = list(self.world.trace.problems) or self._wrong()
        return self.report(problems, {"slashed": len(self.slashed())})

    def _wrong(self) -> list[str]:
        liar = self.nodes[self.liar]
        if not self.convicted():
            return [f"{short(liar)} signed twice and was not slashed"]
        problems = [
            f"{short(node)} was slashed for nothing" for node in self.slashed() if node != liar
        ]
        known = self.validators(self.honest[0])
        whole = self.founding.genesis.params.validator_bond_min
        if known[liar].bond > _left(whole) or known[liar].jailed_until == 0:
            problems.append(f"{short(liar)} keeps {known[liar].bond} of {whole}")
        if any(known[node].bond != whole for node in self.honest):
            problems.append("an honest bond has changed")
        return problems


def _left(bond: MicroTokens) -> int:
    """What one offence of a quarter of the weight leaves of a bond."""
    return bond - ceil_div(bond * CORRELATION * (MILLION // MEMBERS), MILLION)


def _played(crime: str) -> Callable[[int], Report]:
    return lambda seed: Trial(f"slash-{crime}", seed, crime).finish()


TRIALS: Final = {f"slash-{crime}": _played(crime) for crime in CRIMES}
