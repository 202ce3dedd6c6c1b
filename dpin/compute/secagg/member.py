"""One member of a circle, from its key to the shares that it tells: a pure machine.

The order of a round: keys and shares go out while the members train; `masks` closes the set of
partners; the ledger includes masked updates; `reveal` tells the shares that this outcome needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest, NodeId
from dpin.compute.secagg.circle import MEMBERS_MIN, Circle
from dpin.compute.secagg.secrets import Secrets, pair_seed
from dpin.compute.secagg.settling import Settled, check_key
from dpin.compute.secagg.shamir import SHARE_BYTES
from dpin.compute.secagg.words import (
    KEY_SHARE,
    SELF_SHARE,
    MaskedHead,
    MaskKey,
    MaskSeed,
    MaskShares,
    Reveal,
)

SEAL_TAG = "dpin/secagg/seal/v1"
NONCE = bytes(24)  # a key seals one message only


@dataclass(frozen=True, slots=True)
class _Heard:
    key: MaskKey
    shares: tuple[bytes, bytes]  # of its own seed, of its mask key


@dataclass
class Member:
    """What one lease knows in one round. `told` is never given up: one kind of each owner."""

    key: SigningKey
    circle: Circle
    lease: Digest
    secrets: Secrets = field(init=False)
    heard: dict[Digest, _Heard] = field(default_factory=dict)
    acknowledged: set[Digest] = field(default_factory=set)
    partners: tuple[Digest, ...] | None = None  # once they are fixed
    told: dict[Digest, int] = field(default_factory=dict)  # owner -> kind of share

    def __post_init__(self) -> None:
        self.secrets = Secrets(self.key, self.circle, self.lease)

    # --- keys and shares ---

    def shares_to(self, other: Digest, *, asks: bool = False) -> MaskShares:
        """What a neighbour must hear; the same whenever it is asked for."""
        own, key = self.secrets.shares_for(other)
        sealing = self._sealing(self.circle.nodes[other], self.lease, other)
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(own + key, b"", NONCE, sealing)
        circle = self.circle
        return MaskShares(
            circle.job,
            circle.round,
            self.secrets.mask_key,
            other,
            sealed,
            other in self.heard,
            asks,
        )

    def take(self, message: MaskShares) -> None:
        """A neighbour's key and shares; raises PeerFault. A second key of it is a fault."""
        sender = message.key.lease
        if message.to != self.lease or sender not in self.circle.neighbours(self.lease):
            raise PeerFault("shares for somebody else, or of no neighbour")
        check_key(self.circle, message.key)
        known = self.heard.get(sender)
        if known is not None and known.key != message.key:
            raise PeerFault("two mask keys in one round")
        opening = self._sealing(self.circle.nodes[sender], sender, self.lease)
        try:
            both = crypto_aead_xchacha20poly1305_ietf_decrypt(message.sealed, b"", NONCE, opening)
        except CryptoError:
            raise PeerFault("shares that cannot be opened") from None
        if len(both) != 2 * SHARE_BYTES:
            raise PeerFault("shares of a wrong length")
        pair_seed(self.secrets.seeds[KEY_SHARE], self.secrets.mask_key, message.key)
        self.heard[sender] = _Heard(message.key, (both[:SHARE_BYTES], both[SHARE_BYTES:]))
        if message.heard:
            self.acknowledged.add(sender)

    def _sealing(self, peer: NodeId, sender: Digest, receiver: Digest) -> bytes:
        agreed = self.key.agreed(peer)
        return digest(SEAL_TAG, agreed + encode([self.circle.place, sender, receiver]))

    @property
    def waiting(self) -> tuple[Digest, ...]:
        """Neighbours that have not been heard, or have not said that they have heard."""
        return tuple(
            one
            for one in self.circle.neighbours(self.lease)
            if one not in self.heard or one not in self.acknowledged
        )

    @property
    def lacking(self) -> int:
        """How many partners are missing to hide among, and to restore what is lost."""
        ready = len(self.circle.neighbours(self.lease)) - len(self.waiting)
        return max(0, max(self.circle.threshold(self.lease), MEMBERS_MIN) - 1 - ready)

    # --- masking ---

    def masks(self, steps: int) -> tuple[MaskedHead, tuple[MaskSeed, ...]]:
        """The head of the masked update and its masks; closes the set of partners."""
        if self.partners is None:
            waiting = self.waiting
            near = self.circle.neighbours(self.lease)
            self.partners = tuple(one for one in near if one not in waiting)
        keys = tuple(self.heard[one].key for one in self.partners)
        mine, secret = self.secrets.mask_key, self.secrets.seeds[KEY_SHARE]
        seeds = [MaskSeed(self.secrets.seeds[SELF_SHARE], negative=False)]
        seeds += [pair_seed(secret, mine, key) for key in keys]
        return MaskedHead(mine, keys, steps), tuple(seeds)

    # --- unmasking ---

    def reveal(self, settled: Settled) -> Reveal:
        """The shares that take the masks off; of no owner both kinds, whatever is asked."""
        wanted: Mapping[Digest, int] = {
            **dict.fromkeys(settled.dropped, KEY_SHARE),
            **dict.fromkeys(settled.heads, SELF_SHARE),
        }
        shares: list[tuple[Digest, int, bytes]] = []
        for owner in sorted(wanted):
            kind = self.told.setdefault(owner, wanted[owner])
            if kind == wanted[owner]:
                shares += [(owner, kind, held) for held in self._held(owner, kind, settled)]
        circle = self.circle
        return Reveal(
            circle.job, circle.round, circle.place, self.lease, settled.digest, tuple(shares)
        )

    def _held(self, owner: Digest, kind: int, settled: Settled) -> list[bytes]:
        """The share held here, where it has one of the key that the sum was masked with."""
        if owner == self.lease:
            return [self.secrets.shares_for(owner)[kind]] if owner in settled.heads else []
        heard = self.heard.get(owner)
        used = settled.heads[owner].key if owner in settled.heads else settled.dropped[owner]
        return [heard.shares[kind]] if heard is not None and heard.key == used else []
