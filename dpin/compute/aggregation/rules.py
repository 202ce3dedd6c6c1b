"""The mean movement of a round by the rule that its job names.

The rows come clipped to the round's median norm. They are first put into an order of their
content, so the order in which updates came decides nothing, not even between equals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import torch
from torch import Tensor

from dpin.base.errors import Misuse
from dpin.compute.aggregation.columns import coordinate_median, trimmed_mean
from dpin.compute.aggregation.gram import Gram, gram_of
from dpin.compute.aggregation.krum import chosen
from dpin.compute.aggregation.trust import trusted_shares
from dpin.compute.aggregation.weiszfeld import geometric_median
from dpin.compute.safety import RobustSpec
from dpin.compute.tensors import tensor_bytes

WEIGHT_BITS: Final = 16
ROWS_MIN: Final = 3  # of fewer, none can be told from the rest: they are averaged


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One clipped movement and how much work is in it."""

    movement: Tensor  # (P,) int64 in units of 2^-30
    weight: int  # in units of 2^-16; those of a round sum to one at most


def liars_of(spec: RobustSpec, count: int) -> int:
    """How many of `count` updates may be lies: what the job says, or one in four.

    Never so many that fewer than one honest update would be left between the extremes.
    """
    wanted = spec.liars or max(1, count // 4)
    return max(0, min(wanted, (count - 1) // 2))


def aggregate(spec: RobustSpec, rows: Sequence[Row], trusted: Tensor | None) -> Tensor:
    """(P,) int64, the movement that the round takes; `trusted` is what FLTrust measures by."""
    ordered = sorted(rows, key=lambda row: (_content(row.movement), row.weight))
    if spec.rule == "fltrust":
        return _by_trust(ordered, trusted)
    weights, liars = [row.weight for row in ordered], liars_of(spec, len(ordered))
    if len(ordered) < ROWS_MIN or spec.rule == "mean":
        return weighted(ordered, weights)
    movements = [row.movement for row in ordered]
    if spec.rule in {"trimmed", "median"}:
        return (
            trimmed_mean(movements, liars)
            if spec.rule == "trimmed"
            else coordinate_median(movements)
        )
    return weighted(ordered, _shares(spec, gram_of(movements), weights))


def _shares(spec: RobustSpec, gram: Gram, weights: Sequence[int]) -> list[int]:
    """How much of each row the rules take that look at inner products alone."""
    match spec.rule:
        case "rfa":
            return geometric_median(gram, weights)
        case "krum":
            kept = chosen(gram, liars_of(spec, len(gram)))
            total = max(1, sum(weights[row] for row in kept))
            return [
                (weight << WEIGHT_BITS) // total if row in kept else 0
                for row, weight in enumerate(weights)
            ]
        case _:
            raise Misuse(f"there is no rule {spec.rule!r} to merge by")


def weighted(rows: Sequence[Row], shares: Sequence[int]) -> Tensor:
    """The sum of rows by shares of 2^-16, which sum to at most one; floors once."""
    total = torch.zeros_like(rows[0].movement)
    for row, share in zip(rows, shares, strict=True):
        total += row.movement * share
    return total >> WEIGHT_BITS


def _by_trust(rows: Sequence[Row], trusted: Tensor | None) -> Tensor:
    if trusted is None:
        raise Misuse("fltrust needs an update that the requester trusts")
    gram = gram_of([*(row.movement for row in rows), trusted])
    return weighted(rows, trusted_shares(gram))


def _content(movement: Tensor) -> bytes:
    return sha256(tensor_bytes(movement)).digest()
