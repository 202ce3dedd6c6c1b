"""Two certificates for one number of a checkpoint: whoever signed both has broken its word (E2).

Honest members sign each number once, so two certificates that contradict each other take more than
a third of the weight. A node meets such a pair when it hears from one that was shown the other: a
newcomer who was led astray, or a part of the network that liars kept apart; or when its owner asks
about a proof that a stranger has shown.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dpin.base.codec import encode
from dpin.base.errors import NotFound, PeerFault
from dpin.base.logtree import LogTree
from dpin.ledger.certificates import Certificate, check, is_signed
from dpin.ledger.committee import Committee
from dpin.ledger.engine import Engine
from dpin.ledger.offences import CheckpointFork, SignedCheckpoint

SEEN_MAX: Final = 256  # certificates that this node has not come to itself
NEWS_MAX: Final = 8  # that wait to be told


class Verdict(StrEnum):
    """What a node can say of a certificate that a stranger shows."""

    SAME = "same"  # it has the same, or its own log had that root at that size
    OTHER = "other"  # a quorum signed this, and a quorum signed what contradicts it
    UNKNOWN = "unknown"  # it is newer than what this node has, or older
    UNSIGNED = "unsigned"  # no quorum did, of those who validated that epoch as this node knows


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict; with OTHER what it contradicts, and who is known to have signed both."""

    verdict: Verdict
    known: Certificate | None = None
    both: tuple[int, ...] = ()  # author indices


class Forks:
    """Certificates that came from others, held against each other and against our own."""

    def __init__(self, engine: Engine) -> None:
        self.caught: dict[tuple[int, int], CheckpointFork] = {}  # by epoch and author
        self._engine = engine
        self._seen: dict[tuple[int, int], Certificate] = {}  # by epoch and sequence
        self._compared: tuple[Certificate | None, Certificate | None] = (None, None)  # own ones
        self._news: list[Certificate] = []

    def __len__(self) -> int:
        """How many certificates of others are remembered."""
        return len(self._seen)

    def hear(self, certificate: Certificate) -> None:
        """One from a peer; raises PeerFault for one that no quorum signed.

        Of epochs that this node knows nothing of it learns nothing.
        """
        place = _place(certificate)
        known = certified(self._engine, place[1]) or self._end(place) or self._seen.get(place)
        committee = self._engine.annals.committee(place[0])
        if committee is None or (known is not None and _same(known, certificate)):
            return
        check(certificate, self._engine.core.rules.chain, committee)
        if known is None:
            self._seen[place] = certificate
            while len(self._seen) > SEEN_MAX:
                del self._seen[next(iter(self._seen))]
        elif _place(known) == place:
            self._contradict(known, certificate, committee)

    def compare(self, certificate: Certificate, log: LogTree) -> Finding:
        """Hold one from anybody against what this node has; `log` is of its own receipts.

        Nothing is remembered of it: see `hear`.
        """
        place = _place(certificate)
        committee = self._engine.annals.committee(place[0])
        if committee is None:
            return Finding(Verdict.UNKNOWN)
        own = certified(self._engine, place[1]) or self._end(place)
        if own is not None and _same(own, certificate):
            return Finding(Verdict.SAME)
        try:
            check(certificate, self._engine.core.rules.chain, committee)
        except PeerFault:
            return Finding(Verdict.UNSIGNED)
        known = own or self._seen.get(place)
        if known is not None and not _same(known, certificate):
            both = self._both(known, certificate, committee)
            return Finding(Verdict.OTHER, known, both)
        return self._in_log(certificate, log)

    def _in_log(self, certificate: Certificate, log: LogTree) -> Finding:
        """Whether the own log, as far as a quorum has signed it, begins with that one."""
        newest = self._engine.certificate
        if newest is None or newest.size < certificate.size:
            return Finding(Verdict.UNKNOWN)
        try:
            root = log.root(certificate.size)
        except NotFound:
            return Finding(Verdict.UNKNOWN)
        return Finding(Verdict.SAME) if root == certificate.root else Finding(Verdict.OTHER, newest)

    def _both(self, one: Certificate, other: Certificate, committee: Committee) -> tuple[int, ...]:
        if _place(one) != _place(other):
            return ()
        sides = [self._signatures(it, committee) for it in (one, other)]
        return tuple(sorted(sides[0].keys() & sides[1].keys()))

    def take_news(self) -> list[Certificate]:
        """Both halves of each contradiction found since: others may have neither any more."""
        news, self._news = self._news, []
        return news

    def review(self) -> None:
        """Hold own certificates against what was heard before they were made.

        They are what proofs for strangers are made of: the newest, and those that ended epochs.
        """
        newest = (self._engine.annals.newest, self._engine.core.certifier.newest)
        if newest == self._compared:
            return  # As nearly always; this is asked at every step.
        self._compared = newest
        for own in (one for one in newest if one is not None):
            other = self._seen.get(_place(own))
            committee = self._engine.annals.committee(own.checkpoint.epoch)
            if other is not None and committee is not None and not _same(own, other):
                self._contradict(own, other, committee)

    def _end(self, place: tuple[int, int]) -> Certificate | None:
        """The certificate that ended an epoch, however long ago, if it is of that number."""
        closing = self._engine.annals.closings.get(place[0])
        found = None if closing is None else closing.certificate
        return found if found is not None and _place(found) == place else None

    def _contradict(self, one: Certificate, other: Certificate, committee: Committee) -> None:
        first, second = sorted((one, other), key=encode)
        sides = [self._signatures(it, committee) for it in (first, second)]
        before = len(self.caught)
        for author in sorted(sides[0].keys() & sides[1].keys()):
            if (committee.epoch, author) not in self.caught:
                pair = (_signed(first, sides[0][author]), _signed(second, sides[1][author]))
                self.caught[committee.epoch, author] = CheckpointFork(author, *pair)
        if len(self.caught) > before and len(self._news) < NEWS_MAX:
            self._news += [one, other]

    def _signatures(self, certificate: Certificate, committee: Committee) -> dict[int, bytes]:
        """Who signed this note: a certificate has a quorum of them, headers have the rest."""
        core, size, root = self._engine.core, certificate.size, certificate.root
        found = {it.author: it.signature for it in certificate.signatures}
        if committee.epoch != core.epoch:
            return found
        for author in range(len(committee)):
            signature = core.watch.signature(author, certificate.checkpoint.sequence)
            if author not in found and signature is not None:
                signer = committee.signer(author)
                if is_signed(core.rules.chain, signer, size, root, signature):
                    found[author] = signature
        return found


def certified(engine: Engine, sequence: int) -> Certificate | None:
    """The certificate of a checkpoint: one of the newest, or of those that ended epochs."""
    found = engine.core.certifier.recent.get(sequence)
    return found or engine.annals.closing(sequence)


def _place(certificate: Certificate) -> tuple[int, int]:
    return certificate.checkpoint.epoch, certificate.checkpoint.sequence


def _same(one: Certificate, other: Certificate) -> bool:
    """Whether they are for one note, which may have other signatures."""
    return (one.checkpoint, one.size, one.root) == (other.checkpoint, other.size, other.root)


def _signed(certificate: Certificate, signature: bytes) -> SignedCheckpoint:
    return SignedCheckpoint(certificate.checkpoint, certificate.size, certificate.path, signature)
