"""Whose updates a sum holds, and which masks are left on it: a function of the heads alone.

Everybody holds the same masked updates, those that the ledger has included, so everybody comes to
the same answer. Two members that do not agree about their common mask cannot both stay.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dpin.base.codec import encode
from dpin.base.crypto import digest, verify
from dpin.base.errors import PeerFault
from dpin.base.ids import ID_BYTES, Digest
from dpin.compute.secagg.circle import MEMBERS_MIN, Circle
from dpin.compute.secagg.secrets import check_public
from dpin.compute.secagg.words import KEY_TAG, MaskedHead, MaskKey

SETTLED_TAG = "dpin/secagg/settled/v1"


@dataclass(frozen=True)
class Settled:
    """What a circle's sum consists of."""

    circle: Circle
    heads: Mapping[Digest, MaskedHead]  # of those kept, by lease
    dropped: Mapping[Digest, MaskKey]  # with whom somebody kept has masked, yet it is not kept

    @property
    def digest(self) -> Digest:
        """Names this outcome."""
        kept = [encode(self.heads[lease]) for lease in sorted(self.heads)]
        gone = [encode(self.dropped[lease]) for lease in sorted(self.dropped)]
        return digest(SETTLED_TAG, encode([self.circle.place, kept, gone]))

    @property
    def steps(self) -> int:
        """Work in the sum."""
        return sum(head.steps for head in self.heads.values())


def check_key(circle: Circle, key: MaskKey) -> None:
    """Raise PeerFault unless it is a member's of this circle, signed by its node, and of use."""
    node = circle.nodes.get(key.lease)
    lengths = {len(key.public), len(key.commitment)}
    if node is None or key.circle != circle.place or lengths != {ID_BYTES}:
        raise PeerFault("a mask key of another round or of nobody in it")
    if not verify(node, KEY_TAG, circle.chain, key.said, key.signature):
        raise PeerFault("a mask key that its node has not signed")
    check_public(key.public)


def check_head(circle: Circle, lease: Digest, head: MaskedHead) -> None:
    """Raise PeerFault for a head that its maker could not have written honestly."""
    if head.key.lease != lease:
        raise PeerFault("a masked update of somebody else")
    named = [key.lease for key in head.partners]
    if named != sorted(set(named)) or not set(named) <= set(circle.neighbours(lease)):
        raise PeerFault("a masked update whose partners are not its maker's neighbours")
    if len(named) + 1 < circle.threshold(lease):
        raise PeerFault("a masked update with too few partners")
    if head.steps <= 0:
        raise PeerFault("a masked update of no work")
    for key in (head.key, *head.partners):
        check_key(circle, key)


def settle(circle: Circle, heads: Mapping[Digest, MaskedHead]) -> Settled:
    """Leave out members, the one with most disagreements first, until none is left.

    A disagreement: one masked with the other and not the reverse, or with another key of it, or two
    with different keys of a third. Of equals goes who names fewer partners, then the lower lease. A
    member that is at odds with many goes first, so nobody can push out several others.
    """
    kept = dict(heads)
    while kept:
        odds = _disagreements(kept)
        worst = min(kept, key=lambda one: (-odds[one], len(kept[one].partners), one))
        if not odds[worst]:
            break
        del kept[worst]
    if len(kept) < MEMBERS_MIN:
        kept = {}
    partners = {key.lease: key for head in kept.values() for key in head.partners}
    dropped = {lease: key for lease, key in partners.items() if lease not in kept}
    return Settled(circle, kept, dropped)


def _disagreements(heads: Mapping[Digest, MaskedHead]) -> Counter[Digest]:
    named = {one: {key.lease: key for key in head.partners} for one, head in heads.items()}
    usual = _usual_keys(heads)
    odds: Counter[Digest] = Counter()
    for one, partners in named.items():
        for other, key in partners.items():
            if other not in heads:
                odds[one] += key != usual[other]
            elif key != heads[other].key or named[other].get(one) != heads[one].key:
                odds[one] += 1
                odds[other] += 1
    return odds


def _usual_keys(heads: Mapping[Digest, MaskedHead]) -> dict[Digest, MaskKey]:
    """Of each partner the key that most have used; a node that signs two is at odds with some."""
    votes: dict[Digest, Counter[bytes]] = {}
    for head in heads.values():
        for key in head.partners:
            votes.setdefault(key.lease, Counter())[encode(key)] += 1
    keys = {encode(key): key for head in heads.values() for key in head.partners}
    return {
        lease: keys[min(count, key=lambda data: (-count[data], data))]
        for lease, count in votes.items()
    }
