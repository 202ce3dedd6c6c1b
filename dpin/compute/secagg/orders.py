"""What a worker is asked about updates that are masked or noised, and what it answers."""

from dpin.base.codec import Wire
from dpin.base.ids import Digest, Round
from dpin.compute.secagg.words import MaskedHead, MaskSeed


class Shield(Wire, frozen=True, tag=20):
    """Clip and noise an update where the job says so, and mask it where there is a head."""

    lease: Digest
    round: Round
    update: str  # file of the plain update
    steps: int
    head: MaskedHead | None
    seeds: tuple[MaskSeed, ...]
    noise_seed: bytes  # 32 secret bytes


class ReadHeads(Wire, frozen=True, tag=21):
    """Who stands in these masked updates, and with whom they were masked?"""

    round: Round
    files: tuple[str, ...]


class MaskedGroup(Wire, frozen=True):
    """The updates of one circle that stay in its sum, and what takes their masks off."""

    files: tuple[str, ...]
    steps: int
    seeds: tuple[MaskSeed, ...]


class MergeMasked(Wire, frozen=True, tag=22):
    """Apply the outer step of `round` from the sums of its circles."""

    round: Round
    groups: tuple[MaskedGroup, ...]


class Shielded(Wire, frozen=True, tag=20):
    """The update that may leave the node."""

    lease: Digest
    round: Round
    update: str  # as it was named in Shield
    shielded: str


class Heads(Wire, frozen=True, tag=21):
    """By file; None where it is no masked update of this model."""

    round: Round
    heads: tuple[tuple[str, MaskedHead | None], ...]


MaskCommand = Shield | ReadHeads | MergeMasked
MaskReport = Shielded | Heads
