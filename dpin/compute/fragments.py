"""Which part of a model a round merges, where a job has it cut into fragments.

After Streaming DiLoCo (Douillard et al., arXiv 2501.18512): round r merges fragment r mod F, so an
update has 1/F of the numbers. Of the other fragments a provider keeps what it trained. Pure
arithmetic, no torch. P is the number of parameters, F that of fragments.
"""

from typing import Final

from dpin.base.errors import Misuse
from dpin.base.units import ceil_div
from dpin.compute.task import EncodingSpec

GRAIN: Final = 256  # numbers: a fragment is whole blocks of an update


def fragment(encoding: EncodingSpec, round_: int, count: int) -> slice:
    """Which of `count` numbers a round merges; raises Misuse where that may be none."""
    grains, fragments = ceil_div(count, GRAIN), encoding.fragments
    if fragments == 1:
        return slice(0, count)
    if grains < fragments:
        raise Misuse(f"{fragments} fragments of {count} parameters: each has at least {GRAIN}")
    at = round_ % fragments
    start, end = (GRAIN * (grains * edge // fragments) for edge in (at, at + 1))
    return slice(start, min(end, count))


def longest(encoding: EncodingSpec, count: int) -> int:
    """The most numbers that an update has."""
    return min(count, GRAIN * ceil_div(ceil_div(count, GRAIN), encoding.fragments))
