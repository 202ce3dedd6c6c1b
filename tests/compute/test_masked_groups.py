"""A round of several masked groups, in one of which somebody lies: the rule over their sums."""

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from dpin.base.ids import Round
from dpin.compute.masked import mean_of_sum, numbers_of, unmasked_sum
from dpin.compute.maskwork import _level
from dpin.compute.presets import DENSE
from dpin.compute.probe import settle
from dpin.compute.safety import PrivacySpec, RobustSpec
from dpin.compute.secagg.orders import MaskedGroup, MergeMasked
from dpin.compute.session import Session
from dpin.compute.task import Trained
from dpin.compute.updates import decode_update, encode_update, written
from tests.support.maskroom import Room, held_by, merged
from tests.support.training import TINY_INNER

FULL = TINY_INNER.steps
GROUP = 4
SEATS = 5 * GROUP
LIAR, GONE = 7, 11  # seats
NEAR, FAR, WHOLE = 0.25, 0.35, 0.5  # of a movement, as a share of its length


class Round20:
    """Twenty seats in five groups; one sends a giant lie, one that masked goes before it sends."""

    def __init__(self) -> None:
        self.room = Room(PrivacySpec("secagg", GROUP), SEATS)
        self.begun = self.room.parameters()
        self.units = [self.room.trained(seat) for seat in range(SEATS)]
        self.honest = self.units[LIAR]
        self.units[LIAR] = self._lie(self.honest)
        files = {seat: self.room.shielded(unit, seat) for seat, unit in enumerate(self.units)}
        self.seats = {path: seat for seat, path in files.items()}
        self.groups = self.room.groups([path for seat, path in files.items() if seat != GONE])

    def movement(self, unit: Trained) -> Tensor:
        """(P,) int64 of a unit's update, in clear."""
        data = self.room.desk.files.read(unit.update)
        return decode_update(data, DENSE, len(self.begun)).dense()

    def _lie(self, unit: Trained) -> Trained:
        """Ten times the way back."""
        data = encode_update(written(DENSE, -10 * self.movement(unit)))
        path = self.room.desk.files.write("liar", "update.bin", data)
        return replace(unit, update=path)

    def members(self, group: MaskedGroup) -> list[int]:
        return sorted(self.seats[path] for path in group.files)

    def clear_sum(self, seats: list[int]) -> Tensor:
        """The sum that masks must not have changed, (P,) int64."""
        units = [self.units[seat] for seat in seats]
        parts = [numbers_of(self.movement(one), one.leaves[-1].step, FULL) for one in units]
        return torch.stack(parts).sum(0)

    def moved(self, rule: str, groups: tuple[MaskedGroup, ...]) -> Tensor:
        """How far a node of its own goes that opens the job with this rule."""
        node = Session(self.room.desk.door())
        node.run(self.room.opening(RobustSpec(rule)))
        merged(node, self.room.desk, MergeMasked(Round(0), groups))
        return held_by(node) - self.begun


@pytest.fixture(scope="module")
def round20() -> Round20:
    settle()
    return Round20()


def test_the_sum_of_each_group_is_exact_though_one_has_gone_and_one_lies(round20: Round20) -> None:
    found = [round20.members(group) for group in round20.groups]
    assert sorted(seat for seats in found for seat in seats) == sorted({*range(SEATS)} - {GONE})
    assert sorted(len(seats) for seats in found) == [GROUP - 1, *4 * [GROUP]]
    for group, seats in zip(round20.groups, found, strict=True):
        files = [round20.room.desk.files.read(path) for path in group.files]
        total = unmasked_sum(files, group.seeds, len(round20.begun))
        assert torch.equal(total, round20.clear_sum(seats))
        assert group.steps == sum(round20.units[seat].leaves[-1].step for seat in seats)


def honest_mean(round20: Round20) -> Tensor:
    """What the groups without the liar say together."""
    means = [
        mean_of_sum(round20.clear_sum(seats), group.steps, FULL)
        for group in round20.groups
        if LIAR not in (seats := round20.members(group))
    ]
    assert len(means) == 4
    return torch.stack(means).double().mean(0)


def apart(found: Tensor, due: Tensor) -> float:
    """How far one movement is from another, as a share of the latter's length."""
    return float((found.double() - due).norm() / due.norm())


@pytest.mark.parametrize("rule", ["krum", "trimmed", "median"])
def test_a_poisoned_group_is_left_out_of_the_round_by_a_rule_over_sums(
    round20: Round20, rule: str
) -> None:
    due = honest_mean(round20)
    found = round20.moved(rule, round20.groups)
    plain = round20.moved("mean", round20.groups)
    # The clip to the median norm leaves a plain mean with a fifth of the lie.
    assert apart(found, due) < NEAR
    assert FAR < apart(plain, due) < WHOLE


@pytest.mark.parametrize("rule", ["krum", "trimmed", "median"])
def test_nodes_agree_in_whatever_order_groups_and_files_come(round20: Round20, rule: str) -> None:
    turned = tuple(replace(one, files=one.files[::-1]) for one in round20.groups[::-1])
    assert torch.equal(round20.moved(rule, round20.groups), round20.moved(rule, turned))


def test_a_group_that_goes_further_than_most_is_cut_to_the_median_length() -> None:
    means = [torch.full((16,), size) for size in (100, 200, 300, 4_000)]
    assert [int(mean[0]) for mean in _level(means)] == [100, 200, 199, 200]
    assert _level(means[2:]) == means[2:]  # of two neither is the odd one
