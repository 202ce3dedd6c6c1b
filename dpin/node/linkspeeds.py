"""How fast the links of a job's providers are: as its file says, or as they have measured."""

from collections.abc import Sequence
from typing import Final

import msgspec

from dpin.market.orders import Order, TrainOrder
from dpin.node.presence import Presence

UP: Final = 2_500_000  # 20 Mbit/s, of which a home line is sure, where nobody has measured
DOWN: Final = 12_500_000  # 100 Mbit/s
PASSED_OVER: Final = 4  # one in so many may say anything


def with_links(order: Order, presences: Sequence[Presence]) -> Order:
    """The order with the rates that its choice of rounds and encodings is to reckon with.

    A rate of 0 is one that the job's file leaves open.
    """
    if not isinstance(order, TrainOrder) or order.tune is None:
        return order
    ups = [one.up for one in presences if one.up]
    downs = [one.down for one in presences if one.down]
    tune = order.tune
    said = [
        _grounds("up", tune.up, ups),
        _grounds("down", tune.down, downs),
    ]
    changed = msgspec.structs.replace(
        tune,
        up=tune.up or _slow(ups) or UP,
        down=tune.down or _slow(downs) or DOWN,
        links=", ".join(said),
    )
    return msgspec.structs.replace(order, tune=changed)


def _slow(rates: Sequence[int]) -> int:
    """The slowest, but for the one in four that would have everybody wait; 0 without any."""
    return sorted(rates)[len(rates) // PASSED_OVER] if rates else 0


def _grounds(way: str, declared: int, measured: Sequence[int]) -> str:
    if declared:
        return f"{way} declared"
    return f"{way} measured by {len(measured)} providers" if measured else f"{way} assumed"
