"""What lies between simulated nodes: delay, loss, duplicates, and cuts in one or both directions.

Delays are drawn for each message, so messages overtake one another. Each direction of each link has
dice of its own: what happens on one link never moves the dice of another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dpin.base.chance import Chance
from dpin.base.ids import NodeId
from dpin.base.units import MILLION, Instant, Micros, after

Link = tuple[NodeId, NodeId]  # from, to


@dataclass(frozen=True, slots=True)
class LinkHabits:
    """How one direction of a link behaves."""

    delay_min: Micros
    delay_max: Micros
    loss_ppm: int = 0
    twice_ppm: int = 0  # delivered again, after a delay of its own
    flip_ppm: int = 0  # arrives with a bit changed: it is dropped, and the connection with it


LAN: Final = LinkHabits(Micros(1_000), Micros(10_000))
WAN: Final = LinkHabits(Micros(20_000), Micros(120_000))
BAD: Final = LinkHabits(Micros(5_000), Micros(250_000), loss_ppm=100_000, twice_ppm=20_000)


class Network:
    """Decides when, and whether, each message arrives."""

    def __init__(self, habits: LinkHabits, dice: Callable[[Link], Chance]) -> None:
        self.habits = habits
        self._dice = dice
        self._streams: dict[Link, Chance] = {}
        self._special: dict[Link, LinkHabits] = {}
        self._cut: set[Link] = set()  # a connection needs both directions
        self._deaf: set[Link] = set()  # loses everything, and nobody is told

    def arrivals(self, link: Link, now: Instant) -> list[Instant] | None:
        """When a message that leaves now arrives: never, once, twice; None: with a bit changed."""
        habits = self._special.get(link, self.habits)
        chance = self._stream(link)
        if chance.below(MILLION) < habits.loss_ppm:
            return []
        if habits.flip_ppm and chance.below(MILLION) < habits.flip_ppm:
            return None
        copies = 2 if chance.below(MILLION) < habits.twice_ppm else 1
        spread = habits.delay_max - habits.delay_min + 1
        return [after(now, Micros(habits.delay_min + chance.below(spread))) for _ in range(copies)]

    def _stream(self, link: Link) -> Chance:
        chance = self._streams.get(link)
        if chance is None:
            chance = self._streams[link] = self._dice(link)
        return chance

    def passes(self, link: Link) -> bool:
        """Whether what arrives now on this link gets through."""
        return self.connects(link) and link not in self._deaf

    def connects(self, link: Link) -> bool:
        """Whether a connection between the two can stand."""
        return link not in self._cut and link[::-1] not in self._cut

    def tune(self, link: Link, habits: LinkHabits) -> None:
        """Let one direction of one link behave differently from the rest."""
        self._special[link] = habits

    def deafen(self, source: NodeId, target: NodeId) -> None:
        """Silently lose everything from `source` to `target`: both still believe in the link."""
        self._deaf.add((source, target))

    def partition(self, groups: Sequence[Sequence[NodeId]]) -> None:
        """Cut every link between nodes of different groups."""
        for near in groups:
            for far in groups:
                if near is not far:
                    self._cut.update((source, target) for source in near for target in far)

    def mend(self, node: NodeId) -> None:
        """End all cuts that concern this node."""
        self._cut = {link for link in self._cut if node not in link}

    def heal(self) -> None:
        """End all cuts and all deafness."""
        self._cut.clear()
        self._deaf.clear()

    def calm(self, habits: LinkHabits) -> None:
        """Heal, and let every link behave like this from now on."""
        self.heal()
        self._special.clear()
        self.habits = habits
