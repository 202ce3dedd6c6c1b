"""What of `share.disk` is left: so much is kept free for each job that this node has said yes to.

What a job takes is stated in its proposal (`disk_bytes`). A bid counts like a lease while it may be
taken, and so do own jobs, and jobs in which this node has a verifier's seat.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Room:
    """Claims on one disk, by job; the same job may have several, of which the largest counts."""

    share_bytes: int | None = None  # `share.disk`; None: no limit
    pinned_bytes: int = 0  # by the owner
    work: Mapping[bytes, int] = field(default_factory=dict)  # leases and bids
    other: Mapping[bytes, int] = field(default_factory=dict)  # own jobs and seats

    @property
    def claimed(self) -> int:
        """Bytes that jobs may take in all."""
        return sum(self._claims().values())

    def left(self, job: bytes = b"") -> int | None:
        """Bytes on which nothing else has a claim; below zero where too much was promised."""
        if self.share_bytes is None:
            return None
        claims = self._claims()
        claims.pop(job, None)
        return self.share_bytes - self.pinned_bytes - sum(claims.values())

    def _claims(self) -> dict[bytes, int]:
        both = self.work.keys() | self.other.keys()
        return {job: max(self.work.get(job, 0), self.other.get(job, 0)) for job in both}
