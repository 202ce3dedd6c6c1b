"""What the updates of a worker's leases could not say, kept for their next units."""

from typing import Final

from torch import Tensor

from dpin.base.ids import NO_DIGEST, Digest
from dpin.compute.outer import error_root
from dpin.compute.task import Architecture

LEASES_KEPT: Final = 8
UNITS_KEPT: Final = 2  # the last unit may have missed its commit


class LeftOver:
    """Error buffers by lease and root; what is not held any more counts as nothing."""

    def __init__(self, spec: Architecture) -> None:
        self._spec = spec
        self._leases: dict[Digest, dict[Digest, Tensor]] = {}

    def keep(self, lease: Digest, error: Tensor | None) -> Digest:
        """Keep what a unit left over; answers with its root."""
        found = error_root(self._spec, error)
        if error is None:
            return found
        held = self._leases.pop(lease, {})
        held[found] = error
        if len(held) > UNITS_KEPT:
            del held[next(iter(held))]
        self._leases[lease] = held
        if len(self._leases) > LEASES_KEPT:
            del self._leases[next(iter(self._leases))]
        return found

    def of(self, lease: Digest, wanted: Digest) -> Tensor | None:
        """The buffer with that root, (P,) int64."""
        if wanted == NO_DIGEST:
            return None
        return self._leases.get(lease, {}).get(wanted)
