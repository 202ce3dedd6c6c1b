"""RFA (Pillutla et al. 2022): the geometric median, by Weiszfeld's steps on the Gram matrix.

A point is a weighting of the rows, in units of 2^-16 that sum to one at most; distances are exact
integer square roots, so every machine takes the same steps.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Final

from dpin.compute.aggregation.gram import Gram

STEPS: Final = 8
WEIGHT_BITS: Final = 16
SMOOTHING_BITS: Final = 10  # a distance counts as at least 2^-10 of the longest row
PRECISION_BITS: Final = 64


def geometric_median(gram: Gram, weights: Sequence[int]) -> list[int]:
    """How much of each row the median is made of, in units of 2^-16; from their weighted mean."""
    point = _shares(weights)
    longest = isqrt(max((gram[row][row] for row in range(len(gram))), default=0))
    least = max(1, (longest << WEIGHT_BITS) >> SMOOTHING_BITS)
    for _ in range(STEPS):
        distances = [max(least, distance) for distance in _distances(gram, point)]
        pulls = [
            (weight << PRECISION_BITS) // distance
            for weight, distance in zip(weights, distances, strict=True)
        ]
        point = _shares(pulls)
    return point


def _distances(gram: Gram, point: Sequence[int]) -> list[int]:
    """From each row to the point, in units of 2^-16."""
    one = sum(point)
    against = [sum(share * value for share, value in zip(point, row, strict=True)) for row in gram]
    length = sum(share * value for share, value in zip(point, against, strict=True))
    return [
        isqrt(max(0, one * one * gram[row][row] - 2 * one * against[row] + length))
        for row in range(len(gram))
    ]


def _shares(weights: Sequence[int]) -> list[int]:
    total = sum(weights)
    return [(weight << WEIGHT_BITS) // total for weight in weights] if total else [0] * len(weights)
