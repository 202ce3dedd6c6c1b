"""Who may come in: a pure account of inbound connections, before and after they say who they are.

Whoever says nothing holds a place for the time of a handshake, and loses it first to the oldest of
the largest group. No group of addresses can keep the others out, on the doorstep or inside.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from dpin.net.budget import (
    OUTBOUND_SHARE,
    PENDING_INBOUND_MAX,
    PENDING_INBOUND_PER_IP_MAX,
)
from dpin.net.prefix import group_of, site_of

FLOOR: Final = 1


@dataclass(slots=True, eq=False)
class Visitor:
    """One inbound connection."""

    ip: str
    group: str = field(init=False)

    def __post_init__(self) -> None:
        self.group = group_of(self.ip)


def inbound_max(connections_max: int) -> int:
    """How many connections others may open: the rest is for those that this node opens."""
    return max(FLOOR, connections_max - connections_max // OUTBOUND_SHARE)


class Doorstep:
    """All inbound connections of one host, in the order of their coming."""

    def __init__(self, connections_max: int) -> None:
        self._inbound_max = inbound_max(connections_max)
        self._waiting: dict[Visitor, None] = {}  # A set without an order would not do.
        self._inside: dict[Visitor, None] = {}
        self._banned: frozenset[str] = frozenset()
        self.refused: Counter[str] = Counter()  # by reason

    def ban(self, sites: Iterable[str]) -> list[Visitor]:
        """Take nobody from these sites from now on; who is here from there must go."""
        self._banned = frozenset(sites)
        here = (*self._waiting, *self._inside)
        return [visitor for visitor in here if site_of(visitor.ip) in self._banned]

    def knock(self, ip: str) -> tuple[Visitor | None, Visitor | None]:
        """Somebody came: the visitor, or None where it is refused, and whom to send away for it."""
        if self._banned and site_of(ip) in self._banned:
            return self._refuse("banned")
        if sum(visitor.ip == ip for visitor in self._waiting) >= PENDING_INBOUND_PER_IP_MAX:
            return self._refuse("too many at once from one address")
        evicted = None
        if len(self._waiting) >= PENDING_INBOUND_MAX:
            evicted = self._of_largest(list(self._waiting))
            self.left(evicted)
            self.refused["made room on the doorstep"] += 1
        visitor = Visitor(ip)
        self._waiting[visitor] = None
        return visitor, evicted

    def _refuse(self, reason: str) -> tuple[None, None]:
        self.refused[reason] += 1
        return None, None

    def entered(self, visitor: Visitor) -> Visitor | None:
        """A visitor has proved who it is; returns who must go for it, perhaps itself."""
        if visitor not in self._waiting:
            return visitor  # It was sent away meanwhile.
        del self._waiting[visitor]
        self._inside[visitor] = None
        if len(self._inside) <= self._inbound_max:
            return None
        # The newest first: where its own group is among the largest, it is the newcomer that goes.
        evicted = self._of_largest(list(reversed(self._inside)))
        self.left(evicted)
        self.refused["made room inside"] += 1
        return evicted

    def left(self, visitor: Visitor) -> None:
        """A visitor is gone."""
        self._waiting.pop(visitor, None)
        self._inside.pop(visitor, None)

    @staticmethod
    def _of_largest(visitors: list[Visitor]) -> Visitor:
        """The first visitor of the largest group."""
        sizes = Counter(visitor.group for visitor in visitors)
        return max(visitors, key=lambda visitor: sizes[visitor.group])

    @property
    def waiting(self) -> int:
        """How many have not yet said who they are."""
        return len(self._waiting)

    @property
    def inside(self) -> int:
        """How many have."""
        return len(self._inside)
