"""One whole node that is its own network, stepped by hand."""

from dataclasses import replace

from dpin.base.machine import Roll, Store, Tick
from dpin.base.units import Instant, Micros
from dpin.ledger.identity import Identity
from dpin.market.provider import Choice
from dpin.node.peer import Effect, Event, Peer, PeerOptions
from tests.support.cluster import START, network
from tests.support.market import CHOICE

STEP = Micros(50_000)


class Alone:
    """The only validator; it forgets nothing that it stored, until its log begins anew."""

    def __init__(self, choice: Choice = CHOICE) -> None:
        self.genesis, [self.key] = network(1)
        self.choice = replace(choice, provides=False)
        self.records: list[bytes] = []
        self.now: Instant = START
        self.peer = self._peer()

    def _peer(self) -> Peer:
        return Peer(PeerOptions(Identity(self.key), self.genesis, tuple(self.records), self.choice))

    def step(self, event: Event) -> list[Effect]:
        """One event; what is stored is stored."""
        effects = self.peer.step(event, self.now)
        for effect in effects:
            if isinstance(effect, Roll):
                self.records = list(effect.records)
            elif isinstance(effect, Store):
                self.records.append(effect.record)
        return effects

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass; everything that comes of it."""
        effects: list[Effect] = []
        for _ in range(round(seconds * 1_000_000) // STEP):
            self.now = Instant(self.now + STEP)
            effects += self.step(Tick())
        return effects

    def restart(self) -> None:
        """Another process, the same log."""
        self.peer = self._peer()
