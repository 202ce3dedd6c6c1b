"""What the worker does with updates that are masked or noised: shield one, sum up many."""

from dataclasses import dataclass
from math import isqrt

from torch import Tensor

from dpin.base.errors import Misuse, PeerFault
from dpin.base.ids import short
from dpin.base.units import MILLION
from dpin.compute.aggregation.gram import gram_of
from dpin.compute.aggregation.rules import ROWS_MIN, Row, aggregate
from dpin.compute.door import Door
from dpin.compute.masked import (
    WORD_BITS,
    masked_head,
    masked_update,
    mean_of_sum,
    numbers_of,
    shielded,
    unmasked_sum,
)
from dpin.compute.noising import Noise
from dpin.compute.outer import weights_of
from dpin.compute.safety import least_noised
from dpin.compute.secagg.circle import MEMBERS_MIN
from dpin.compute.secagg.orders import Heads, MergeMasked, ReadHeads, Shield, Shielded
from dpin.compute.task import TrainManifest
from dpin.compute.tensors import UNIT_BITS
from dpin.compute.updates import Update, decode_update, encode_update, written


@dataclass(frozen=True, slots=True)
class MaskWork:
    """For one job of a model of `count` parameters. Raises Misuse, PeerFault or OSError."""

    door: Door
    manifest: TrainManifest
    folder: str
    count: int

    def shield(self, command: Shield) -> Shielded:
        """One update, as it may leave the node."""
        privacy = self.manifest.privacy
        if privacy.masked != (command.head is not None):
            raise Misuse("an update is masked where the job says so, and only there")
        update = self._read(command.update)
        # A noised update counts whole: how much of a unit was done is not part of the clip.
        steps = self.manifest.inner.steps if command.head is None else command.steps
        numbers = numbers_of(update.dense(), steps, self.manifest.inner.steps)
        numbers = shielded(numbers, self._noise(command.noise_seed))
        name = f"{command.round}-{short(command.lease)}.bin"
        if command.head is None:
            data = encode_update(
                written(self.manifest.encoding, numbers << (UNIT_BITS - WORD_BITS))
            )
            path = self.door.files.write(self.folder, f"noised-{name}", data)
        else:
            data = masked_update(numbers, command.head, command.seeds)
            path = self.door.files.write(self.folder, f"masked-{name}", data)
        return Shielded(command.lease, command.round, command.update, path)

    def _read(self, path: str) -> Update:
        return decode_update(self.door.files.read(path), self.manifest.encoding, self.count)

    def _noise(self, seed: bytes) -> Noise | None:
        """The part of one of the least number of updates that a round takes."""
        privacy = self.manifest.privacy
        if not privacy.noised:
            return None
        whole = privacy.clip * privacy.noise_ppm // MILLION
        return Noise(privacy.clip, whole // isqrt(self.least) + 1, seed)

    @property
    def least(self) -> int:
        """How many updates a round must hold, so that the noise in it is what was promised."""
        return least_noised(self.manifest.seats)

    def heads(self, command: ReadHeads) -> Heads:
        """The heads of masked updates."""
        found = []
        for path in command.files:
            try:
                head = masked_head(self.door.files.read(path), self.count)
            except PeerFault:
                head = None
            found.append((path, head))
        return Heads(command.round, tuple(found))

    def lacking(self, count: int) -> str:
        """Why nothing may be taken from sums of so many updates; empty where it may."""
        if not count:
            return f"there are no {MEMBERS_MIN} updates whose masks fit each other"
        return self.lacking_noise(count)

    def lacking_noise(self, count: int) -> str:
        """Likewise of updates that carry a part of the noise each."""
        if not self.manifest.privacy.noised or count >= self.least:
            return ""
        return f"the noise of {count} updates is less than was promised: it takes {self.least}"

    def mean(self, command: MergeMasked) -> Tensor:
        """The movement of a round that lacks nothing: (P,) int64.

        Robust rules run over the means of circles, each clipped to their median norm.
        """
        groups = [group for group in command.groups if group.files]
        full = self.manifest.inner.steps
        means = []
        for group in groups:
            files = [self.door.files.read(path) for path in group.files]
            total = unmasked_sum(files, group.seeds, self.count)
            means.append(mean_of_sum(total, group.steps, full))
        weights = weights_of([group.steps for group in groups])
        if len(means) == 1:
            return means[0]
        rows = [Row(mean, weight) for mean, weight in zip(_level(means), weights, strict=True)]
        return aggregate(self.manifest.robust, rows, None)


def _level(means: list[Tensor]) -> list[Tensor]:
    """Each cut to the (lower) median norm; of fewer than three, none is."""
    if len(means) < ROWS_MIN:
        return means
    gram = gram_of(means)
    norms = [isqrt(gram[row][row]) for row in range(len(means))]
    median = sorted(norms)[(len(norms) - 1) // 2]
    return [
        mean if norm <= median else (mean * (median * MILLION // norm)) // MILLION
        for mean, norm in zip(means, norms, strict=True)
    ]
