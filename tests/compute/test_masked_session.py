"""Masked rounds through workers' sessions: a third node finds the same state from the blobs."""

from collections.abc import Sequence

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from dpin.base.ids import Round
from dpin.compute.probe import settle
from dpin.compute.reporting import Progress
from dpin.compute.safety import PrivacySpec
from dpin.compute.secagg.orders import MergeMasked
from dpin.compute.session import Session
from dpin.compute.task import Contribution, Failed, Merged, MergeRound
from tests.support.maskroom import Room, merged
from tests.support.training import SEATS


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    settle()


def test_a_masked_round_moves_the_state_as_its_updates_would_and_a_third_node_agrees() -> None:
    room = Room(PrivacySpec("secagg"))
    begun = room.parameters()
    units = [room.trained(seat) for seat in range(SEATS)]
    files = [room.shielded(unit, seat) for seat, unit in enumerate(units)]
    groups = room.groups(files)
    third = Session(room.desk.door())
    third.run(room.opening(room.robust))
    hashes = [
        merged(one, room.desk, MergeMasked(Round(0), groups)) for one in (room.session, third)
    ]
    assert hashes[0].state_hash == hashes[1].state_hash
    plain = Room(PrivacySpec())
    same = [plain.trained(seat) for seat in range(SEATS)]
    parts = tuple(Contribution(unit.update, unit.leaves[-1].step) for unit in same)
    clear = merged(plain.session, plain.desk, MergeRound(Round(0), parts))
    assert clear.round == hashes[0].round == 1
    # Clipping to the median norm, which masks hide, is all that may differ.
    apart = (room.parameters() - plain.parameters()).double().norm()
    assert float(apart / (plain.parameters() - begun).double().norm()) < 0.2


def test_a_masked_file_tells_nothing_of_the_update_under_it() -> None:
    room = Room(PrivacySpec("secagg"))
    path = room.shielded(room.trained(0), 0)
    words = torch.frombuffer(bytearray(room.desk.files.held[path][-40_000:]), dtype=torch.uint8)
    assert abs(float(words.double().mean()) - 127.5) < 2


def test_noise_is_in_the_sum_and_a_round_of_too_few_updates_moves_nothing() -> None:
    spec = PrivacySpec("secagg+dp", 0, 1 << 20, 4_000_000, 20_000)
    room = Room(spec)
    begun = room.parameters()
    files = [room.shielded(room.trained(seat), seat) for seat in range(SEATS)]
    [group] = room.groups(files)
    few = replace(group, files=group.files[:1])
    still = merged(room.session, room.desk, MergeMasked(Round(0), (few,)))
    assert still.refused == ("the noise of 1 updates is less than was promised: it takes 2",)
    assert still.taken == 0
    assert torch.equal(room.parameters(), begun)
    moved = merged(room.session, room.desk, replace(MergeMasked(Round(1), (group,))))
    assert (moved.taken, moved.refused) == (SEATS, ())
    assert not torch.equal(room.parameters(), begun)


def test_a_round_in_which_no_three_agree_moves_nothing_and_says_so() -> None:
    room = Room(PrivacySpec("secagg"))
    begun = room.parameters()
    files = [room.shielded(room.trained(seat), seat) for seat in range(SEATS - 1)]
    still = merged(room.session, room.desk, MergeMasked(Round(0), room.groups(files)))
    assert still.refused == ("there are no 3 updates whose masks fit each other",)
    assert torch.equal(room.parameters(), begun)


def noised_round(steps: Sequence[int]) -> tuple[Tensor, Merged]:
    """How far updates go that carry noise, but no masks, of units of so many steps."""
    room = Room(PrivacySpec("dp", 0, 1 << 20, 4_000_000, 20_000))
    begun = room.parameters()
    files = [room.noised(room.trained(seat), seat) for seat in range(len(steps))]
    parts = tuple(Contribution(*one) for one in zip(files, steps, strict=True))
    report = merged(room.session, room.desk, MergeRound(Round(0), parts))
    return room.parameters() - begun, report


def test_noised_updates_count_alike_whatever_they_have_done_and_too_few_of_them_nothing() -> None:
    moved, report = noised_round([40] * SEATS)
    assert report.taken == SEATS
    assert torch.equal(noised_round([40, 8, 16])[0], moved)  # or one would hide less than promised
    still, report = noised_round([40])
    assert not still.any()
    assert (report.taken, len(report.refused)) == (0, 1)


def test_a_job_over_its_budget_is_opened_by_nobody() -> None:
    room = Room(PrivacySpec("dp", 0, 1 << 20, 1_000_000, 100))
    found = room.desk.reports[-1]
    assert isinstance(found, Failed)
    assert "more than the 0.1 that privacy.epsilon allows" in found.reason


@pytest.mark.parametrize("mode", ["none", "dp", "secagg", "secagg+dp"])
def test_where_updates_are_hidden_nobody_is_told_the_loss_on_the_data(mode: str) -> None:
    noise = (1 << 20, 4_000_000, 20_000) if mode.endswith("dp") else ()
    room = Room(PrivacySpec(mode, 0, *noise))
    room.desk.tick_ms = 1_000
    room.trained(0)
    told = [report for report in room.desk.reports if isinstance(report, Progress)]
    assert told
    assert all((report.loss_micronats > 0) == (mode == "none") for report in told)
    assert all(report.tokens_per_second > 0 for report in told)


def test_each_carries_its_part_of_the_noise_whatever_it_has_done() -> None:
    room = Room(PrivacySpec("dp", 0, 1 << 20, 4_000_000, 20_000))
    held = room.session._held
    assert held is not None
    noise = held.masks._noise(b"s" * 32)  # type: ignore[union-attr]
    assert noise is not None
    least = held.masks.least  # type: ignore[union-attr]
    assert noise.deviation**2 * least >= (4 << 20) ** 2  # of which all has the whole noise's
    unit = room.trained(0)
    data = room.desk.files.held[room.noised(unit, 0)]
    cut = replace(unit, leaves=unit.leaves[:2])
    assert room.desk.files.held[room.noised(cut, 0)] == data
