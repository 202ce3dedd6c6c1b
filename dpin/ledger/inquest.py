"""A node that has come to another state stands still, and finds out what is different.

It asks its peers for the certificate of the checkpoint at which they part, then for the buckets of
that state whose hashes are not its own. All have it for a while: see `frozen.py`. What it finds, or
where nobody answers its own state, becomes a dump.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from dpin.base.codec import encode
from dpin.base.ids import NodeId
from dpin.base.machine import Blame, Send
from dpin.base.units import NEVER, Instant, Micros, after, seconds
from dpin.ledger.certificates import Certificate, check
from dpin.ledger.divergence import Certified, Differing, Parting
from dpin.ledger.dump import compare, dump, head_of, summary
from dpin.ledger.engine import Engine
from dpin.ledger.frozen import Frozen
from dpin.ledger.join import Join
from dpin.ledger.messages import AskCertificate
from dpin.ledger.statemessages import StateAnswer

PATIENCE: Final[Micros] = seconds(20)  # with all that peers can tell
ASK_AGAIN: Final[Micros] = seconds(1)


@dataclass(frozen=True, slots=True)
class Dump:
    """Write this down for people; the records are made as they are taken."""

    name: str  # of a file
    summary: str
    whole: bool  # with what others have
    records: Iterable[bytes]


class Inquest:
    """One for the life of a node; it does nothing until its ledger stands still."""

    def __init__(self, engine: Engine, node: NodeId) -> None:
        self._engine = engine
        self._node = node
        self._parting: Parting | None = None
        self._own: Frozen | None = None
        self._join: Join[Certified] | None = None
        self._until = self._ask_at = NEVER
        self._done = False

    @property
    def open(self) -> bool:
        """Whether it wants to hear of others' state."""
        return self._parting is not None and not self._done

    @property
    def next_at(self) -> Instant:
        """When to go on, at the latest."""
        if not self.open:
            return NEVER
        return min(self._until, self._ask_at, NEVER if self._join is None else self._join.next_at)

    def hear(self, certificate: Certificate) -> None:
        """A certificate from a peer; raises PeerFault for one that nobody signed."""
        parting = self._parting
        if parting is None or parting.certificate is not None:
            return
        ours, core = parting.ours, self._engine.core
        if certificate.checkpoint.sequence == ours.checkpoint.sequence:
            check(certificate, core.rules.chain, core.rules.committee)
            self._parting = replace(parting, certificate=certificate)
            self._ask_at = Instant(0)

    def take(self, peer: NodeId, answer: StateAnswer) -> list[Send | Blame]:
        """A part of the others' state."""
        return [] if self._join is None else self._join.take(peer, answer)

    def go(self, peers: Sequence[NodeId], now: Instant) -> list[Send | Blame | Dump]:
        """Ask for what is next; in the end, once, what was found."""
        if self._done or (self._parting is None and not self._begun(now)):
            return []
        assert self._parting is not None, "it has begun"
        sends: list[Send | Blame | Dump] = []
        if self._ask_at <= now:
            self._ask_at = after(now, ASK_AGAIN)
            sends += self._asked(self._parting, peers)
        if self._join is not None:
            sends += self._join.step(now)
        found = None if self._join is None else self._join.restored
        if found is None and now < self._until and self._own is not None:
            return sends
        self._done = True
        return [*sends, self._dumped(self._parting, found)]

    def _begun(self, now: Instant) -> bool:
        engine = self._engine
        self._parting = engine.runner.parting
        if self._parting is None:
            return False
        if engine.keeper is not None:
            self._own = engine.keeper.at(self._parting.ours.name)
        self._ask_at, self._until = now, after(now, PATIENCE)
        return True

    def _asked(self, parting: Parting, peers: Sequence[NodeId]) -> list[Send]:
        """For the certificate; with it, peers that were not there before are asked for buckets."""
        certificate, own = parting.certificate, self._own
        if own is None:
            return []
        if certificate is None:
            question = encode(AskCertificate(parting.ours.checkpoint.sequence))
            return [Send(peer, question) for peer in peers]
        if self._join is None:
            self._join = Join(certificate, partial(Differing, own.hashes))
        for peer in peers:
            self._join.up(peer)
        return []

    def _dumped(self, parting: Parting, found: Certified | None) -> Dump:
        own = self._own
        head = head_of(self._engine.core.rules.chain, self._node, parting, own, found)
        theirs = {} if found is None else found.buckets
        held = {} if own is None else {number: own.bucket(number) for number in sorted(theirs)}
        return Dump(
            name=f"divergence-{parting.ours.checkpoint.height}.dump",
            summary=summary(compare(head, held, theirs)),
            whole=found is not None,
            records=dump(head, own, found),
        )
