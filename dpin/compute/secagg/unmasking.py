"""From the shares that members tell to the masks that are left on a sum. Anybody can do it."""

from dataclasses import dataclass, field

from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.compute.secagg.secrets import commitment, pair_seed, place_of, public_of
from dpin.compute.secagg.settling import Settled
from dpin.compute.secagg.shamir import SHARE_BYTES, candidates, restored
from dpin.compute.secagg.words import KEY_SHARE, SELF_SHARE, MaskSeed, Reveal


@dataclass
class Unmasking:
    """Collects shares for one settled circle until every secret it needs is restored."""

    settled: Settled
    _shares: dict[Digest, dict[int, bytes]] = field(default_factory=dict)  # by owner, by place
    _found: dict[Digest, bytes] = field(default_factory=dict)

    def take(self, sender: NodeId, reveal: Reveal) -> None:
        """One member's shares; raises PeerFault. Those about another outcome are passed over."""
        circle = self.settled.circle
        if circle.nodes.get(reveal.lease) != sender:
            raise PeerFault("shares in another's name")
        if reveal.settled != self.settled.digest:
            return
        for owner, kind, data in reveal.shares:
            if kind != self._kind(owner) or len(data) != SHARE_BYTES:
                raise PeerFault("a share that nobody may tell")
            if reveal.lease not in circle.holders(owner):
                raise PeerFault("a share that its teller cannot have")
            place = place_of(circle, owner, reveal.lease)
            self._shares.setdefault(owner, {})[place] = data
            self._try(owner)

    def _kind(self, owner: Digest) -> int:
        if owner in self.settled.heads:
            return SELF_SHARE
        return KEY_SHARE if owner in self.settled.dropped else -1

    def _try(self, owner: Digest) -> None:
        """Restore the owner's secret once there are shares enough; some may be lies."""
        if owner in self._found:
            return
        for some in candidates(self._shares[owner], self.settled.circle.threshold(owner)):
            secret = restored(some)
            if secret is not None and self._fits(owner, secret):
                self._found[owner] = secret
                return

    def _fits(self, owner: Digest, secret: bytes) -> bool:
        if owner in self.settled.heads:
            return commitment(secret) == self.settled.heads[owner].key.commitment
        return public_of(secret) == self.settled.dropped[owner].public

    @property
    def missing(self) -> tuple[Digest, ...]:
        """Whose secrets are not restored yet."""
        wanted = {*self.settled.heads, *self.settled.dropped}
        return tuple(sorted(wanted - self._found.keys()))

    def seeds(self) -> tuple[MaskSeed, ...]:
        """What to lay on the sum so that its masks are gone; nothing may be missing."""
        assert not self.missing, "all secrets are there"
        heads, dropped = self.settled.heads, self.settled.dropped
        found = [MaskSeed(self._found[owner], negative=True) for owner in sorted(heads)]
        for lease in sorted(heads):
            gone = (key for key in heads[lease].partners if key.lease in dropped)
            # As the absent one would have laid it on: the opposite of what is there.
            found += [pair_seed(self._found[key.lease], key, heads[lease].key) for key in gone]
        return tuple(found)
