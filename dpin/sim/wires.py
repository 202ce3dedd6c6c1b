"""Connections between simulated nodes, and what is under way on them.

As production's network promises: PeerUp, then what the peer sent, then PeerDown. A peer that went
down and came back is told as both. What was under way to a node that crashed is lost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from dpin.base.chance import Chance
from dpin.base.ids import NodeId
from dpin.base.machine import Received, Send
from dpin.base.units import Micros, after
from dpin.sim.network import Network
from dpin.sim.station import Station
from dpin.sim.timeline import Timeline

NOTICE_MAX: Final = Micros(200_000)  # until an end knows that a connection stands or is gone

Happen = Callable[[Station, int, object], None]  # to whom, in which life, what


@dataclass(slots=True)
class Counts:
    """What went over the network."""

    sent: int = 0
    delivered: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Wires:
    """Carries messages and news of connections between stations."""

    timeline: Timeline
    stations: Mapping[NodeId, Station]
    network: Network
    notice: Chance
    happen: Happen
    counts: Counts

    def tell(self) -> None:
        """Connections have changed: every node finds out in its own time."""
        for near in self.stations.values():
            for far in self.stations.values():
                if near is not far:
                    wait = Micros(self.notice.below(NOTICE_MAX + 1))
                    look = partial(self._look, near, far)
                    self.timeline.at(after(self.timeline.now, wait), look)

    def leave(self, source: Station, send: Send) -> None:
        """A message leaves its sender."""
        self.counts.sent += 1
        self.counts.bytes += len(send.payload)
        target = self.stations.get(send.peer)
        if target is None or target.body is None:
            return
        arrivals = self.network.arrivals((source.node, send.peer), self.timeline.now)
        if arrivals is None:
            self.timeline.at(self.timeline.now, partial(self._break, source, target))
        for when in arrivals or ():
            arrive = partial(self._arrive, source, target, target.life, send)
            self.timeline.at(when, arrive)

    def _arrive(self, source: Station, target: Station, life: int, send: Send) -> None:
        if target.life != life or not self.network.passes((source.node, target.node)):
            return
        if source.body is not None:
            self._look(target, source)  # PeerUp comes before what the peer sent.
        if source.node in target.peers:
            self.counts.delivered += 1
            self.happen(target, life, Received(source.node, send.payload))

    def _break(self, one: Station, other: Station) -> None:
        """What is encrypted and comes with a bit changed ends the connection; they dial again."""
        for near, far in ((one, other), (other, one)):
            if near.body is not None:
                for event in near.meet(far.node, 0):
                    self.happen(near, near.life, event)
        for near, far in ((one, other), (other, one)):
            wait = Micros(self.notice.below(NOTICE_MAX + 1))
            self.timeline.at(after(self.timeline.now, wait), partial(self._look, near, far))

    def _look(self, near: Station, far: Station) -> None:
        if near.body is None:
            return
        reached = far.body is not None and self.network.connects((near.node, far.node))
        for event in near.meet(far.node, far.life if reached else 0):
            self.happen(near, near.life, event)
