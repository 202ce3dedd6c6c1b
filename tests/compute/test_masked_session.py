"""Masked rounds through workers' sessions: a third node finds the same state from the blobs."""

from dataclasses import dataclass, field

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from dpin.base.codec import decode, encode
from dpin.base.ids import ChainId, Round
from dpin.compute.probe import settle
from dpin.compute.safety import PrivacySpec
from dpin.compute.secagg.circle import Circle, circles
from dpin.compute.secagg.member import Member
from dpin.compute.secagg.orders import (
    Heads,
    MaskedGroup,
    MergeMasked,
    ReadHeads,
    Shield,
    Shielded,
)
from dpin.compute.secagg.settling import settle as settle_heads
from dpin.compute.secagg.unmasking import Unmasking
from dpin.compute.session import Session
from dpin.compute.task import (
    Contribution,
    Failed,
    Merged,
    MergeRound,
    OpenJob,
    Trained,
    TrainManifest,
    TrainUnit,
)
from tests.support.circles import key_of
from tests.support.training import CORPUS, JOB, SEATS, Desk, lease, open_job, prepare


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle()


@dataclass
class Room:
    """One worker whose units are those of all seats, and the members that shield them."""

    privacy: PrivacySpec
    desk: Desk = field(default_factory=Desk)

    def __post_init__(self) -> None:
        self.desk.files.held["corpus.txt"] = CORPUS
        self.session = Session(self.desk.door())
        self.session.run(prepare("made"))
        opening = open_job(self.desk.reports[-1], "work")  # type: ignore[arg-type]  # it is Prepared
        manifest = replace(decode(TrainManifest, opening.manifest), privacy=self.privacy)
        self.opening: OpenJob = replace(opening, manifest=encode(manifest))
        self.session.run(self.opening)
        roster = {lease(seat): key_of(seat).node_id for seat in range(SEATS)}
        self.circle: Circle = circles(ChainId(JOB), JOB, Round(0), roster, 0)[0]
        self.members = [Member(key_of(seat), self.circle, lease(seat)) for seat in range(SEATS)]
        for _ in range(2):
            for one in self.members:
                for other in self.members:
                    if one is not other:
                        other.take(one.shares_to(other.lease))

    def do(self, command: object) -> object:
        self.session.run(command)  # type: ignore[arg-type]  # a test gives commands only
        return self.desk.reports[-1]

    def trained(self, seat: int) -> Trained:
        found = self.do(TrainUnit(lease(seat), seat, Round(0), True, 0, ""))
        assert isinstance(found, Trained), found
        return found

    def shielded(self, unit: Trained, seat: int) -> str:
        steps = unit.leaves[-1].step
        head, seeds = self.members[seat].masks(steps)
        noise = bytes([seat]) * 32
        order = Shield(lease(seat), Round(0), unit.update, steps, head, seeds, noise)
        found = self.do(order)
        assert isinstance(found, Shielded), found
        return found.shielded

    def groups(self, files: list[str]) -> MaskedGroup:
        heads = self.do(ReadHeads(Round(0), tuple(files)))
        assert isinstance(heads, Heads), heads
        named = {head.key.lease: head for _, head in heads.heads if head is not None}
        paths = {head.key.lease: path for path, head in heads.heads if head is not None}
        settled = settle_heads(self.circle, named)
        unmasking = Unmasking(settled)
        for seat, member in enumerate(self.members):
            unmasking.take(key_of(seat).node_id, member.reveal(settled))
        kept = tuple(paths[one] for one in sorted(settled.heads))
        return MaskedGroup(kept, settled.steps, unmasking.seeds())


def merged(session: Session, desk: Desk, command: object) -> Merged:
    session.run(command)  # type: ignore[arg-type]  # a test gives commands only
    found = desk.reports[-1]
    assert isinstance(found, Merged), found
    return found


def parameters(room: Room) -> Tensor:
    """What the room's session holds, (P,) int64."""
    held = room.session._held
    assert held is not None
    return held._state.parameters.clone()


def test_a_masked_round_moves_the_state_as_its_updates_would_and_a_third_node_agrees() -> None:
    room = Room(PrivacySpec("secagg"))
    begun = parameters(room)
    units = [room.trained(seat) for seat in range(SEATS)]
    files = [room.shielded(unit, seat) for seat, unit in enumerate(units)]
    group = room.groups(files)
    third = Session(room.desk.door())
    third.run(room.opening)
    hashes = [
        merged(one, room.desk, MergeMasked(Round(0), (group,))) for one in (room.session, third)
    ]
    assert hashes[0].state_hash == hashes[1].state_hash
    plain = Room(PrivacySpec())
    same = [plain.trained(seat) for seat in range(SEATS)]
    parts = tuple(Contribution(unit.update, unit.leaves[-1].step) for unit in same)
    clear = merged(plain.session, plain.desk, MergeRound(Round(0), parts))
    assert clear.round == hashes[0].round == 1
    # Clipping to the median norm, which masks hide, is all that may differ.
    apart = (parameters(room) - parameters(plain)).double().norm()
    assert float(apart / (parameters(plain) - begun).double().norm()) < 0.2


def test_a_masked_file_tells_nothing_of_the_update_under_it() -> None:
    room = Room(PrivacySpec("secagg"))
    path = room.shielded(room.trained(0), 0)
    words = torch.frombuffer(bytearray(room.desk.files.held[path][-40_000:]), dtype=torch.uint8)
    assert abs(float(words.double().mean()) - 127.5) < 2


def test_noise_is_in_the_sum_and_a_round_of_too_few_updates_moves_nothing() -> None:
    spec = PrivacySpec("secagg+dp", 0, 1 << 20, 4_000_000, 20_000)
    room = Room(spec)
    begun = parameters(room)
    files = [room.shielded(room.trained(seat), seat) for seat in range(SEATS)]
    group = room.groups(files)
    few = replace(group, files=group.files[:1])
    still = merged(room.session, room.desk, MergeMasked(Round(0), (few,)))
    assert still.refused
    assert torch.equal(parameters(room), begun)


def test_a_job_over_its_budget_is_opened_by_nobody() -> None:
    room = Room(PrivacySpec("dp", 0, 1 << 20, 1_000_000, 100))
    found = room.desk.reports[-1]
    assert isinstance(found, Failed)
    assert "over the budget of 0.1" in found.reason
