"""What members of a circle say to each other, and the head of a masked update."""

from typing import Final

from dpin.base.codec import Wire, encode
from dpin.base.crypto import digest
from dpin.base.ids import Digest, JobId, Round

KEY_TAG: Final = "dpin/secagg/key/v1"
SELF_SHARE: Final = 0  # of the seed of a member's own mask: where its update is in the sum
KEY_SHARE: Final = 1  # of a member's mask key: where its update is not


class MaskKey(Wire, frozen=True):
    """A member's key of this round, signed by its node: nobody can lie about it for it."""

    circle: Digest
    lease: Digest
    public: bytes  # X25519, 32 bytes
    commitment: Digest  # to the seed of its own mask
    signature: bytes = b""

    @property
    def said(self) -> Digest:
        """What the signature is over."""
        return digest(KEY_TAG, encode([self.circle, self.lease, self.public, self.commitment]))


class MaskShares(Wire, frozen=True):
    """From one member to a neighbour: its key, and shares of both its secrets, sealed."""

    job: JobId
    round: Round
    key: MaskKey
    to: Digest
    sealed: bytes
    heard: bool  # the neighbour's have come
    asks: bool = False  # and should come again: whoever still waits for a word asks for it


class Reveal(Wire, frozen=True):
    """The shares that take the masks off a sum: of each owner one kind, never both."""

    job: JobId
    round: Round
    circle: Digest
    lease: Digest  # who tells
    settled: Digest  # of what it has been told about: others that saw another round do not use it
    shares: tuple[tuple[Digest, int, bytes], ...]  # (owner, kind, share), sorted


class MaskedHead(Wire, frozen=True):
    """What stands before the masked numbers: by whom, and with whom it was masked."""

    key: MaskKey
    partners: tuple[MaskKey, ...]  # sorted by lease
    steps: int


class MaskSeed(Wire, frozen=True):
    """One stream of masks to add to a sum, or to take from it."""

    seed: bytes  # 32 bytes
    negative: bool
