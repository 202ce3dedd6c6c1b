"""Which updates of a round count for nothing, and the mean movement of the others.

All of it is a function of the updates' bytes and of the job's manifest, so a third node that holds
both finds the same integers and refuses the same updates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final

import torch
from torch import Tensor

from dpin.base.errors import PeerFault
from dpin.base.units import MILLION
from dpin.compute import fused
from dpin.compute.aggregation.copies import copies
from dpin.compute.aggregation.gram import Gram, gram_of
from dpin.compute.aggregation.rules import ROWS_MIN, Row, aggregate
from dpin.compute.blocks import Blocks
from dpin.compute.outer import AGE_PPM, aged, weighted_mean, weights_of
from dpin.compute.robust import clip_factors, clipped, norms
from dpin.compute.safety import RobustSpec
from dpin.compute.scales import UNITS_PER_SCALE_UNIT
from dpin.compute.sparse import Sparse
from dpin.compute.task import EncodingSpec
from dpin.compute.updates import Update, decode_update

GIANT: Final = 100  # times the median norm: no honest unit moves so far, so it is not even clipped
WEIGHTLESS: Final = frozenset({"trimmed", "median", "fltrust"})  # what is late is shortened there
SAMPLED: Final = 1 << 22  # parameters that copies are looked for in, evenly spaced
PAIRS_MAX: Final = 8  # updates that are compared by two; of more, products of matrices are faster


@dataclass(frozen=True, slots=True, eq=False)
class Offered:
    """One well-formed update of a round; those of a round are in the order of their commits."""

    name: str
    update: Update
    steps: int
    age: int = 0  # rounds ago that it was made
    size: int | None = None  # its norm, where it is known

    @property
    def weight(self) -> int:
        """In millionths of a step."""
        return aged(self.steps, self.age)


@dataclass(frozen=True, slots=True, eq=False)
class Screened:
    """What is left of a round, and why the rest is not."""

    kept: tuple[Offered, ...]
    refused: tuple[str, ...]


def read_offered(
    parts: Sequence[tuple[str, bytes, int, int]], spec: EncodingSpec, count: int
) -> tuple[list[Offered], list[str]]:
    """The well-formed of (name, bytes, steps, age) in their order, and why the others are not."""
    offered: list[Offered] = []
    refused: list[str] = []
    for name, data, steps, age in parts:
        try:
            offered.append(Offered(name, decode_update(data, spec, count), steps, age))
        except PeerFault as fault:
            refused.append(f"{name}: {fault}")
    return offered, refused


def screened(offered: Sequence[Offered]) -> Screened:
    """Leave out giants, then copies of what was committed earlier."""
    refused: list[str] = []
    kept = _sized(offered)
    giant = _giants(kept)
    refused += [f"{kept[at].name}: a giant, over {GIANT} times the median norm" for at in giant]
    kept = [part for at, part in enumerate(kept) if at not in giant]
    found = _copies([part.update for part in kept])
    refused += [
        f"{kept[later].name}: a copy of {kept[earlier].name}, which was committed earlier"
        for later, earlier in sorted(found.items())
    ]
    return Screened(tuple(part for at, part in enumerate(kept) if at not in found), tuple(refused))


def round_mean(
    robust: RobustSpec,
    kept: Sequence[Offered],
    trusted: Tensor | None,
    count: int,
    room: Tensor | None = None,
) -> Tensor:
    """The movement of a round of a model of `count` parameters: (P,) int64.

    It may be made in `room`, (P,) int64 that nobody needs.
    """
    updates, weights = [part.update for part in kept], [part.weight for part in kept]
    known = [part.size for part in kept if part.size is not None]
    factors = clip_factors(updates, known if len(known) == len(kept) else ())
    if robust.rule == "mean" or not kept:
        made = torch.empty(count, dtype=torch.int64) if room is None else room
        return weighted_mean(updates, weights_of(weights), factors, made)
    if robust.rule in WEIGHTLESS:
        factors = [
            factor * AGE_PPM[part.age] // MILLION
            for factor, part in zip(factors, kept, strict=True)
        ]
        weights = [part.steps for part in kept]
    rows = [
        Row(clipped(update, factor), weight)
        for update, factor, weight in zip(updates, factors, weights_of(weights), strict=True)
    ]
    return aggregate(robust, rows, trusted)


def _sized(offered: Sequence[Offered]) -> list[Offered]:
    """The same with their norms, where it takes them to tell one from the rest."""
    if len(offered) < ROWS_MIN:
        return list(offered)
    found = norms([part.update for part in offered])
    return [
        Offered(part.name, part.update, part.steps, part.age, size)
        for part, size in zip(offered, found, strict=True)
    ]


def _giants(offered: Sequence[Offered]) -> set[int]:
    found = [part.size for part in offered if part.size is not None]
    median = sorted(found)[(len(found) - 1) // 2] if found else 0
    return {at for at, size in enumerate(found) if size > GIANT * max(1, median)}


def _copies(updates: Sequence[Update]) -> dict[int, int]:
    """See aggregation.copies. Few long updates in blocks are compared as they lie."""
    blocks = [update for update in updates if isinstance(update, Blocks)]
    few = len(blocks) == len(updates) <= PAIRS_MAX and bool(updates)
    if few and fused.serves(updates[0].count):
        return copies(lambda: [*map(_sample, updates)], _products(blocks))
    rows = [_sample(update) for update in updates]
    return copies(lambda: rows, gram_of(rows, UNITS_PER_SCALE_UNIT))


def _products(updates: Sequence[Blocks]) -> Gram:
    """What `gram_of` finds of their samples."""
    stride = -(-updates[0].count // SAMPLED)
    gram = [[0] * len(updates) for _ in updates]
    for (a, one), (b, other) in combinations_with_replacement(enumerate(updates), 2):
        held = (one.scales, one.values), (other.scales, other.values)
        found = fused.product(*held, stride) * UNITS_PER_SCALE_UNIT**2
        gram[a][b] = gram[b][a] = found
    return gram


def _sample(update: Update) -> Tensor:
    """Every so-manieth number of a movement."""
    stride = -(-update.count // SAMPLED)
    if stride > 1 and isinstance(update, Sparse):
        here = update.places % stride == 0
        row = torch.zeros(-(-update.count // stride), dtype=torch.int64)
        return row.index_put_((update.places[here] // stride,), update.said()[here])
    if stride > 1 and isinstance(update, Blocks):
        return update.sampled(stride)
    movement = update.dense()
    return movement[::stride].contiguous() if stride > 1 else movement
