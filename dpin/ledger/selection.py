"""Who of those that stand for an epoch is seated, and with what weight: pure, from numbers alone.

Seated are those with the largest bonds, one or at least four of them (S3). Nobody weighs more than
a fifth (H8), and those who come anew together less than a third (H7), so that whoever knew the last
committee can trust the next.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from dpin.base.ids import NodeId
from dpin.ledger.genesis import COMMITTEE_MIN

SHARES: Final = 5  # nobody weighs more than one part in so many
NEW_PARTS: Final = 3  # newcomers weigh less than one part in so many


class Candidate(NamedTuple):
    """Somebody who may be seated."""

    node: NodeId
    bond: int
    stays: bool  # is a member now


def choose(candidates: Sequence[Candidate], members: int, most: int) -> dict[NodeId, int] | None:
    """The weights of the next committee, or None where the present one has to go on.

    `members` is the size of the present committee. A committee of one grows to four, all at once.
    """
    ranked = sorted(candidates, key=_rank)
    stayers = [one for one in ranked if one.stays]
    newcomers = [one for one in ranked if not one.stays][:most]
    if members == 1:
        four = [*stayers, *newcomers][:COMMITTEE_MIN]
        return _weights(four) if len(four) == COMMITTEE_MIN else None
    for count in range(len(newcomers), -1, -1):
        seated = sorted([*stayers, *newcomers[:count]], key=_rank)[:most]
        if len(seated) < COMMITTEE_MIN:
            return None
        weights = _weights(seated)
        new = sum(weights[one.node] for one in seated if not one.stays)
        if NEW_PARTS * new < sum(weights.values()):
            return weights
    return None


def _rank(candidate: Candidate) -> tuple[int, bool, NodeId]:
    """Larger bonds first; of equal ones, whoever is a member."""
    return -candidate.bond, not candidate.stays, candidate.node


def _weights(seated: Sequence[Candidate]) -> dict[NodeId, int]:
    return dict(
        zip([one.node for one in seated], capped([one.bond for one in seated]), strict=True)
    )


def capped(bonds: Sequence[int]) -> list[int]:
    """What each weighs: min(bond, c) with the largest c of which five are no more than the sum.

    Fewer than five weigh the same: a fifth of the whole is out of their reach.
    """
    if len(bonds) < SHARES:
        return [1] * len(bonds)
    low, high = 0, sum(bonds) // SHARES
    while low < high:
        middle = (low + high + 1) // 2
        if SHARES * middle <= sum(min(bond, middle) for bond in bonds):
            low = middle
        else:
            high = middle - 1
    return [min(bond, low) for bond in bonds]
