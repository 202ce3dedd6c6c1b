"""One worker that does the units of all seats of a masked job, and the members that shield them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace
from torch import Tensor

from dpin.base.codec import decode, encode
from dpin.base.ids import ChainId, Digest, Round
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.secagg.circle import Circle, circles
from dpin.compute.secagg.member import Member
from dpin.compute.secagg.orders import Heads, MaskedGroup, ReadHeads, Shield, Shielded
from dpin.compute.secagg.settling import settle
from dpin.compute.secagg.unmasking import Unmasking
from dpin.compute.secagg.words import MaskedHead, MaskSeed
from dpin.compute.session import Session
from dpin.compute.task import Merged, OpenJob, Prepared, Report, Trained, TrainManifest, TrainUnit
from tests.support.circles import key_of
from tests.support.training import CORPUS, JOB, SEATS, Desk, lease, open_job, prepare


@dataclass
class Room:
    """A round of a job of so many seats, in which nothing is lost on the way."""

    privacy: PrivacySpec
    seats: int = SEATS
    robust: RobustSpec = field(default_factory=RobustSpec)
    desk: Desk = field(default_factory=Desk)

    def __post_init__(self) -> None:
        self.desk.files.held["corpus.txt"] = CORPUS
        self.session = Session(self.desk.door())
        self.session.run(replace(prepare("made"), shards=2 * self.seats))
        prepared = self.desk.reports[-1]
        assert isinstance(prepared, Prepared), prepared
        self._opening = open_job(prepared, "work")
        self.session.run(self.opening(self.robust))
        roster = {lease(seat): key_of(seat).node_id for seat in range(self.seats)}
        self.circles = circles(ChainId(JOB), JOB, Round(0), roster, self.privacy.group)
        self.members: dict[Digest, Member] = {}
        for circle in self.circles:
            self._gather(circle)

    def _gather(self, circle: Circle) -> None:
        here = {
            lease(seat): Member(key_of(seat), circle, lease(seat))
            for seat in range(self.seats)
            if lease(seat) in circle.nodes
        }
        for _ in range(2):  # once more: that the first has been heard
            for one in here.values():
                for other in circle.neighbours(one.lease):
                    here[other].take(one.shares_to(other))
        self.members |= here

    def opening(self, robust: RobustSpec) -> OpenJob:
        """The job, merged by this rule."""
        manifest = decode(TrainManifest, self._opening.manifest)
        changed = replace(manifest, privacy=self.privacy, seats=self.seats, robust=robust)
        return replace(self._opening, manifest=encode(changed))

    def do(self, command: object) -> Report:
        self.session.run(command)  # type: ignore[arg-type]  # a test gives commands only
        return self.desk.reports[-1]

    def trained(self, seat: int) -> Trained:
        found = self.do(TrainUnit(lease(seat), seat, Round(0), True, 0, ""))
        assert isinstance(found, Trained), found
        return found

    def shielded(self, unit: Trained, seat: int) -> str:
        """The file of a unit's update under its seat's masks."""
        steps = unit.leaves[-1].step
        return self._shielded(unit, seat, *self.members[lease(seat)].masks(steps))

    def noised(self, unit: Trained, seat: int) -> str:
        """The file of a unit's update with its part of the noise, and no masks."""
        return self._shielded(unit, seat, None, ())

    def _shielded(
        self, unit: Trained, seat: int, head: MaskedHead | None, seeds: tuple[MaskSeed, ...]
    ) -> str:
        steps, noise = unit.leaves[-1].step, bytes([seat]) * 32
        order = Shield(lease(seat), Round(0), unit.update, steps, head, seeds, noise)
        found = self.do(order)
        assert isinstance(found, Shielded), found
        return found.shielded

    def groups(self, files: Sequence[str]) -> tuple[MaskedGroup, ...]:
        """What every node finds of these files: who stays in which sum, and what unmasks it."""
        heads = self.do(ReadHeads(Round(0), tuple(files)))
        assert isinstance(heads, Heads), heads
        read = {head.key.lease: (path, head) for path, head in heads.heads if head is not None}
        return tuple(self._group(circle, read) for circle in self.circles)

    def _group(self, circle: Circle, read: dict[Digest, tuple[str, MaskedHead]]) -> MaskedGroup:
        settled = settle(circle, {one: read[one][1] for one in circle.nodes if one in read})
        unmasking = Unmasking(settled)
        for one, node in circle.members:
            unmasking.take(node, self.members[one].reveal(settled))
        kept = tuple(read[one][0] for one in sorted(settled.heads))
        return MaskedGroup(kept, settled.steps, unmasking.seeds())

    def parameters(self) -> Tensor:
        """What the session holds, (P,) int64."""
        return held_by(self.session)


def held_by(session: Session) -> Tensor:
    """The parameters of a session's job, (P,) int64."""
    held = session._held
    assert held is not None
    return held._state.parameters.clone()


def merged(session: Session, desk: Desk, command: object) -> Merged:
    session.run(command)  # type: ignore[arg-type]  # a test gives commands only
    found = desk.reports[-1]
    assert isinstance(found, Merged), found
    return found
