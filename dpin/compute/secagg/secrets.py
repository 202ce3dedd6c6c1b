"""A member's secrets of a round, all hashed from its node's key: a restart finds the same ones.

An update is committed once a round, so the same masks are never laid over two of them.
"""

from dataclasses import dataclass
from functools import cached_property

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import CryptoError

from dpin.base.codec import encode
from dpin.base.crypto import SigningKey, digest
from dpin.base.errors import PeerFault
from dpin.base.ids import Digest
from dpin.compute.secagg.circle import Circle
from dpin.compute.secagg.shamir import COEFFICIENT_BYTES, coefficients, share
from dpin.compute.secagg.words import KEY_SHARE, KEY_TAG, SELF_SHARE, MaskKey, MaskSeed

DERIVED_TAG = "dpin/secagg/derived/v1"
PAIR_TAG = "dpin/secagg/pair/v1"
COMMITMENT_TAG = "dpin/secagg/commitment/v1"
_ANY_SECRET = bytes(range(32))  # all are multiples of eight, so no small order survives one


@dataclass(frozen=True)
class Secrets:
    """What a member must not tell, but for one half of it after the round."""

    key: SigningKey
    circle: Circle
    lease: Digest

    def _derived(self, what: str, count: int = 32) -> bytes:
        named = encode([what, self.circle.place, self.lease])
        return self.key.derived(DERIVED_TAG, named, count)

    @cached_property
    def seeds(self) -> dict[int, bytes]:
        """By kind of share: the seed of the own mask, and the private mask key."""
        return {SELF_SHARE: self._derived("seed"), KEY_SHARE: self._derived("key")}

    @cached_property
    def mask_key(self) -> MaskKey:
        """The public half, signed."""
        public = crypto_scalarmult_base(self.seeds[KEY_SHARE])
        committed = commitment(self.seeds[SELF_SHARE])
        draft = MaskKey(self.circle.place, self.lease, public, committed)
        signature = self.key.sign(KEY_TAG, self.circle.chain, draft.said)
        return MaskKey(self.circle.place, self.lease, public, committed, signature)

    @cached_property
    def _above(self) -> dict[int, list[int]]:
        count = COEFFICIENT_BYTES * (self.circle.threshold(self.lease) - 1)
        return {kind: coefficients(self._derived(f"shares {kind}", count)) for kind in self.seeds}

    def shares_for(self, holder: Digest) -> tuple[bytes, bytes]:
        """A holder's shares of the own seed and of the mask key."""
        place = place_of(self.circle, self.lease, holder)
        own, key = (
            share(self.seeds[kind], self._above[kind], place) for kind in (SELF_SHARE, KEY_SHARE)
        )
        return own, key


def place_of(circle: Circle, owner: Digest, holder: Digest) -> int:
    """Where on the owner's polynomial a holder's share lies."""
    return 1 + circle.holders(owner).index(holder)


def commitment(seed: bytes) -> Digest:
    """What a mask key says about the seed of its owner's own mask."""
    return digest(COMMITMENT_TAG, seed)


def public_of(secret: bytes) -> bytes:
    """The public half of a mask key."""
    return crypto_scalarmult_base(secret)


def pair_seed(secret: bytes, mine: MaskKey, other: MaskKey) -> MaskSeed:
    """The stream that two members share, as the owner of `secret` lays it on.

    The lower lease adds it, the higher takes it off. Raises PeerFault for a key of no use.
    """
    shared = _agreed(secret, other.public)
    ends = sorted([encode(mine), encode(other)])
    return MaskSeed(digest(PAIR_TAG, shared + encode(ends)), negative=mine.lease > other.lease)


def check_public(public: bytes) -> None:
    """Raise PeerFault for a mask key of no use, whoever would use it."""
    _agreed(_ANY_SECRET, public)


def _agreed(secret: bytes, public: bytes) -> bytes:
    try:
        return crypto_scalarmult(secret, public)
    except (CryptoError, ValueError, TypeError, RuntimeError):
        raise PeerFault("a mask key of a small order") from None
