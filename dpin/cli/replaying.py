"""The units of a job trained again by whoever audits it: which can be, and what came of each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dpin.base.blob import blob_id
from dpin.base.errors import Misuse
from dpin.base.ids import Digest, Round
from dpin.compute.course import unit_bounds
from dpin.compute.task import SGD, Trained, TrainManifest, TrainUnit
from dpin.node.descentviews import DescentRound
from dpin.storage.blobfiles import manifest_of_file

SEATS_MAX: Final = 8  # a worker keeps the optimizers of so many leases


def check_replay(manifest: TrainManifest) -> None:
    """Raise Misuse where nobody outside gets the updates of a job again."""
    if manifest.private is not None or not manifest.privacy.replayable:
        raise Misuse("its data or its noise are its providers' own", fix="leave out --replay")
    if manifest.outer.rule != SGD or manifest.encoding.feedback_ppm:
        raise Misuse(
            "its updates depend on what earlier ones have left over, which nobody has published",
            fix="leave out --replay",
        )
    if manifest.seats > SEATS_MAX:
        raise Misuse(f"more than {SEATS_MAX} seats are not trained again", "leave out --replay")


class Replay:
    """Follows each lease from the first round on, as long as its units were whole.

    A unit that was cut short in time, or whose lease began later or missed a round, starts from an
    optimizer that an update does not show.
    """

    def __init__(self, manifest: TrainManifest) -> None:
        """Raises Misuse: see `check_replay`."""
        check_replay(manifest)
        self._manifest = manifest
        self._last: dict[str, int] = {}  # round of each lease that was trained again

    def units(self, record: DescentRound) -> Iterator[TrainUnit]:
        """What to train before this round is merged."""
        whole = unit_bounds(self._manifest, Round(record.round))[-1]
        for one in sorted(record.taken, key=lambda taken: taken.lease):
            follows = self._last.get(one.lease, -1) == record.round - 1
            if one.age or one.steps != whole or not follows:
                continue
            self._last[one.lease] = record.round
            yield TrainUnit(
                lease=Digest(bytes.fromhex(one.lease)),
                seat=one.seat,
                round=Round(record.round),
                fresh_optimizer=record.round == 0,
                limit_ms=0,
                fault="",
            )


def is_same(report: Trained, record: DescentRound) -> bool:
    """Whether a unit gave the update that the ledger names, to the bit."""
    lease = report.lease.hex()
    [taken] = [one for one in record.taken if one.lease == lease]
    return blob_id(manifest_of_file(Path(report.update))).hex() == taken.update
