"""A round: from what providers have trained to their updates, and from updates to the next state.

Everything is an integer: whoever merges the same updates, in any order and anywhere, holds the same
state and the same `state_hash`. P is the number of parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from dpin.base.errors import Misuse
from dpin.base.ids import NO_DIGEST, Digest
from dpin.base.units import MILLION
from dpin.compute import fused
from dpin.compute.blocks import Blocks, empty_blocks, scale_max
from dpin.compute.fragments import fragment
from dpin.compute.robust import add_clipped, clip_factors
from dpin.compute.rules import OuterRule
from dpin.compute.sparse import Sparse
from dpin.compute.state import GlobalState, scaled_ppm, unflatten
from dpin.compute.task import Architecture, EncodingSpec
from dpin.compute.tensors import UNITS_MAX, as_units, tensors_root
from dpin.compute.updates import VALUE_MAX, Update, written
from dpin.compute.weights import shapes

WEIGHT_BITS: Final = 16
AGE_PPM: Final = (1_000_000, 367_879, 135_335)  # e^-age of what is so many rounds late
CONTRIBUTIONS_MAX: Final = 1024
STEPS_MAX: Final = 1 << 40
PART: Final = 1 << 16  # numbers, whole blocks: what is worked on stays in a processor's cache


def movement(parameters: Tensor, base: GlobalState) -> Tensor:
    """From a global state to trained parameters, (P,) float32: (P,) int64 in units of 2^-30."""
    return as_units(parameters).sub_(base.parameters)


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """An update, and what it could not say."""

    update: Update
    error: Tensor | None  # (P,) int64 in units of 2^-30; None: nothing, or not kept


def write(spec: EncodingSpec, moved: Tensor, error: Tensor | None = None, age: int = 1) -> Written:
    """Encode a movement, (P,) int64, with what `age` rounds ago could not be said.

    Error feedback (Karimireddy et al., arXiv 1901.09847), decayed once for every round that passed.
    """
    moved = _fed(moved, error, spec.feedback_ppm, age)
    update = written(spec, moved)
    left = _left(moved, update) if spec.feedback_ppm else None
    return Written(update, left if left is not None and _any(left) else None)


def write_fragment(spec: EncodingSpec, parameters: Tensor, base: GlobalState) -> Written:
    """The update of the round's fragment; left over is all else that moved, (P,) int64.

    What an earlier unit left over is in `parameters`: a unit went on from there, see `begun`.
    """
    moved = movement(parameters, base).clamp_(-UNITS_MAX, UNITS_MAX)
    here = moved[fragment(spec, base.round, len(moved))]
    update = written(spec, here)
    _left(here, update)
    return Written(update, moved if _any(moved) else None)


def write_trained(
    spec: EncodingSpec,
    parameters: Tensor,
    base: GlobalState,
    error: Tensor | None = None,
    age: int = 1,
) -> Written:
    """`write` of `movement`: of long vectors in blocks without a movement ever being whole."""
    if spec.name in VALUE_MAX and fused.serves(len(parameters)):
        return _written_in_parts(spec, (parameters, base.parameters), error, age)
    return write(spec, movement(parameters, base), error, age)


def _written_in_parts(
    spec: EncodingSpec, between: tuple[Tensor, Tensor], error: Tensor | None, age: int
) -> Written:
    """From (P,) float32 back to (P,) int64, in parts that stay in a processor's cache."""
    parameters, base = between
    update = empty_blocks(len(base), VALUE_MAX[spec.name])
    left = torch.empty_like(base) if spec.feedback_ppm else None
    for at in range(0, len(base), PART):
        here = slice(at, at + PART)
        moved = as_units(parameters[here]).sub_(base[here])
        if error is None:
            moved.clamp_(-UNITS_MAX, UNITS_MAX)
        else:
            moved = fused.fed(moved, error[here], spec.feedback_ppm, age, UNITS_MAX)
        part = update.part(at, at + PART)
        fused.quantise(moved, part.most, scale_max(part.most), (part.scales, part.values))
        if left is not None:
            fused.add(part.scales, part.values, (MILLION, -1), moved)
            left[here] = moved
    return Written(update, left if left is not None and _any(left) else None)


def _fed(moved: Tensor, error: Tensor | None, feedback_ppm: int, age: int) -> Tensor:
    """A movement and what is left of an error, in the range of an update: a new tensor."""
    if error is None:
        return moved.clamp(-UNITS_MAX, UNITS_MAX)
    if fused.serves(len(moved)):
        return fused.fed(moved, error, feedback_ppm, age, UNITS_MAX)
    for _ in range(age):
        error = scaled_ppm(error, feedback_ppm)
    return (moved + error).clamp_(-UNITS_MAX, UNITS_MAX)


def _left(moved: Tensor, update: Update) -> Tensor:
    """What an update could not say of a movement, which is overwritten."""
    if isinstance(update, Sparse):
        return moved.index_add_(0, update.places, update.said(), alpha=-1)
    return moved.sub_(update.dense())


def _any(numbers: Tensor) -> bool:
    """Whether one is not zero; of most vectors the first part tells."""
    return any(bool(part.any()) for part in torch.split(numbers, fused.LONG))


def error_root(spec: Architecture, error: Tensor | None) -> Digest:
    """`Leaf.error_buffer`: over what is left over, NO_DIGEST while that is nothing."""
    if error is None:
        return NO_DIGEST
    return tensors_root(unflatten("error", error, shapes(spec)))


def aged(steps: int, age: int) -> int:
    """What a contribution weighs that is so many rounds late: millionths of a step."""
    if not 0 <= age < len(AGE_PPM):
        raise Misuse(f"a contribution that is {age} rounds late")
    return steps * AGE_PPM[age]


def weights_of(steps: Sequence[int]) -> list[int]:
    """Weight of each contribution, in units of 2^-16; together at most one.

    `steps` in whatever unit: of steps, or millionths of them.
    """
    most = STEPS_MAX * MILLION
    if len(steps) > CONTRIBUTIONS_MAX or any(not 0 < count <= most for count in steps):
        raise Misuse("contributions must be at most 1,024, each of some work")
    return [(count << WEIGHT_BITS) // sum(steps) for count in steps]


def mean_movement(updates: Sequence[Update], steps: Sequence[int], count: int) -> Tensor:
    """The clipped, weighted mean of a round: (P,) int64 in units of 2^-30, below 2^35."""
    made = torch.empty(count, dtype=torch.int64)
    return weighted_mean(updates, weights_of(steps), clip_factors(updates), made)


def weighted_mean(
    updates: Sequence[Update], weights: Sequence[int], factors: Sequence[int], total: Tensor
) -> Tensor:
    """The same of what is weighed and clipped already: weights of 2^-16, factors in ppm.

    It is made in `total`, (P,) int64, whatever that holds.
    """
    blocks = [update for update in updates if isinstance(update, Blocks)]
    if fused.serves(len(total)) and len(blocks) == len(updates):
        return _mean_of_blocks(blocks, weights, factors, total)
    total.zero_()
    for update, weight, factor in zip(updates, weights, factors, strict=True):
        add_clipped(total, update, factor, weight)
    return total.bitwise_right_shift_(WEIGHT_BITS)


def _mean_of_blocks(
    updates: Sequence[Blocks], weights: Sequence[int], factors: Sequence[int], total: Tensor
) -> Tensor:
    """Part by part, all updates of one before the next: the sum goes to memory once."""
    for at in range(0, len(total), PART):
        part = total[at : at + PART].zero_()
        for update, weight, factor in zip(updates, weights, factors, strict=True):
            held = update.part(at, at + PART)
            fused.add(held.scales, held.values, (factor, weight), part)
        part.bitwise_right_shift_(WEIGHT_BITS)
    return total


def merge(
    state: GlobalState, rule: OuterRule, updates: Sequence[Update], steps: Sequence[int]
) -> GlobalState:
    """The state of the next round."""
    return rule.next(state, mean_movement(updates, steps, len(state.parameters)))
