"""FLTrust (Cao et al. 2021): how far each update goes the way of one that the requester trusts."""

from math import isqrt
from typing import Final

from dpin.base.units import MILLION
from dpin.compute.aggregation.gram import Gram

WEIGHT_BITS: Final = 16


def trusted_shares(gram: Gram) -> list[int]:
    """Shares of 2^-16 of each row; the last row of `gram` is the trusted update.

    A row's trust is its cosine with the trusted one, at least nought; it is scaled to the trusted
    one's length. Shares so scaled may add up to more than one where rows are short, but a row is
    never stretched: a tiny update cannot be blown up.
    """
    *others, trusted = range(len(gram))
    length = isqrt(gram[trusted][trusted])
    trust, stretch = [], []
    for row in others:
        own = isqrt(gram[row][row])
        both = own * length
        trust.append(max(0, gram[row][trusted]) * MILLION // both if both else 0)
        stretch.append(min(1 << WEIGHT_BITS, (length << WEIGHT_BITS) // own) if own else 0)
    total = sum(trust)
    if not total:
        return [0] * len(others)
    return [part * scale // total for part, scale in zip(trust, stretch, strict=True)]
