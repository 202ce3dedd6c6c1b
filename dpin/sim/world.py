"""Many nodes in one process: their machines, the network between them, the disks under them.

The world drives the machines that production drives. It delivers what they send over a simulated
network, keeps what they store on simulated disks, wakes them by clocks that disagree, crashes them
and starts them again. Equal seeds give equal histories, and `World.trace.digest` proves it.

Law 1 as production keeps it: a batch is performed when all that was synced up to then is durable,
one batch after the other. The machine goes on meanwhile. A crash before that moment leaves the
records in doubt and the rest of the batch undone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from dpin.base.ids import NodeId
from dpin.base.machine import Blame, Roll, Send, Store, Tick, Wake
from dpin.base.units import MILLION, NEVER, Instant, Micros, after
from dpin.ledger.inquest import Dump
from dpin.sim.disk import FAST, Disk, DiskHabits
from dpin.sim.network import LAN, LinkHabits, Network
from dpin.sim.station import Boot, Booted, Crashed, Refused, Station
from dpin.sim.timeline import Check, Step, Timeline, Trace, dice
from dpin.sim.wires import Counts, Wires

TIMER_LATE_MAX: Final = Micros(2_000)
TIMER_TWICE_PPM: Final = 20_000
STEP_MICROS: Final = Micros(50)  # no timer fires sooner: a step takes time in production too


@dataclass(frozen=True, slots=True)
class Habits:
    """How this world's parts behave, until told otherwise."""

    link: LinkHabits = LAN
    disk: DiskHabits = FAST
    skew_max: Micros = Micros(0)  # a node's clock is off by at most this, either way
    overtaking: bool = False  # a driver's bug: messages do not wait for earlier batches


class World:
    """Machines, and all that they touch."""

    def __init__(self, seed: int, habits: Habits, checks: Sequence[Check] = ()) -> None:
        self.timeline = Timeline()
        self.trace = Trace(checks)
        self.network = Network(habits.link, lambda link: dice(seed, "network", *link))
        self.stations: dict[NodeId, Station] = {}  # in the order in which they were added
        self.blames: list[tuple[NodeId, Blame]] = []  # by whom
        self._seed = seed
        self._habits = habits
        self.wires = Wires(
            timeline=self.timeline,
            stations=self.stations,
            network=self.network,
            notice=dice(seed, "notice"),
            happen=self._happen,
            counts=Counts(),
        )

    def add(self, node: NodeId, boot: Boot) -> None:
        """Put a node into the world and start it."""
        reach = self._habits.skew_max
        offset = Micros(dice(self._seed, "clock", node).below(2 * reach + 1) - reach)
        disk = Disk(self._habits.disk, dice(self._seed, "disk", node))
        timer, rolls = dice(self._seed, "timer", node), dice(self._seed, "rolls", node)
        self.stations[node] = Station(node, boot, disk, timer, rolls, offset)
        self.start(node)

    def start(self, node: NodeId) -> None:
        """Start a node from what its disk holds, unless it runs or its log is rotten."""
        station = self.stations[node]
        if station.body is not None:
            return
        records = station.disk.recover()
        if records is None:
            self._record(node, Refused())
            return
        station.life += 1
        self._record(node, Booted(station.life, len(records)))
        station.body = station.boot(records, station.clock(self.timeline.now))
        for event in [*station.body.first, Tick()]:
            self._happen(station, station.life, event)
        self.wires.tell()

    def crash(self, node: NodeId) -> None:
        """Power off: the machine, its device and what was not synced are gone."""
        station = self.stations[node]
        if station.body is None:
            return
        self._record(node, Crashed(station.life))
        station.body = None
        station.tick_at = NEVER
        station.performed_at = Instant(0)
        station.peers.clear()
        station.disk.crash(self.timeline.now)
        self.wires.tell()

    def jump(self, node: NodeId, by: Micros) -> None:
        """Move one node's clock, forward or back; a timer that runs keeps running."""
        station = self.stations[node]
        station.offset = Micros(station.offset + by)

    def partition(self, *groups: Sequence[NodeId]) -> None:
        """Cut all links between groups; both ends learn of it after a while."""
        self.network.partition(groups)
        self.wires.tell()

    def heal(self, habits: LinkHabits) -> None:
        """End all cuts; all links behave like this from now on."""
        self.network.calm(habits)
        self.wires.tell()

    def inject(self, node: NodeId, event: object, when: Instant) -> None:
        """Let this happen to a node, if it runs by then."""
        station = self.stations[node]
        self.timeline.at(when, lambda: self._happen(station, station.life, event))

    def run(self, until: Instant) -> None:
        """Play all that happens up to `until`, or up to the first problem."""
        self.timeline.run(until, self.trace)

    def _record(self, node: NodeId, effect: object) -> None:
        self.trace.record(Step(self.timeline.now, node, effect))

    def _happen(self, station: Station, life: int, event: object) -> None:
        body = station.body
        if station.stalled_until > self.timeline.now:
            again = partial(self._happen, station, life, event)
            self.timeline.at(station.stalled_until, again)
        elif body is not None and station.life == life:
            self._perform(station, body.machine.step(event, station.clock(self.timeline.now)))

    def _perform(self, station: Station, effects: Sequence[object]) -> None:
        """Write and set the timer now; do the rest when all that was synced so far is durable."""
        now = self.timeline.now
        effects = [_written(effect) for effect in effects]
        for effect in effects:
            if isinstance(effect, Store | Roll | Wake):
                self._record(station.node, effect)
            if isinstance(effect, Wake):
                self._wake(station, effect.at)
        durable = station.write(effects, now)
        if station.disk.sync_fails and durable > now:
            station.disk.sync_fails = False
            self.crash(station.node)  # What was not synced is in doubt, and nothing is sent.
            return
        rest = [effect for effect in effects if not isinstance(effect, Store | Roll | Wake)]
        if self._habits.overtaking:
            sends = [effect for effect in rest if isinstance(effect, Send)]
            rest = [effect for effect in rest if not isinstance(effect, Send)]
            self.timeline.at(durable, partial(self._release, station, station.life, sends))
        ready = station.queue(durable)
        if ready >= now:
            self.timeline.at(ready, partial(self._release, station, station.life, rest))
        else:
            self._release(station, station.life, rest)

    def _release(self, station: Station, life: int, effects: Sequence[object]) -> None:
        """Perform the rest of a batch, unless its machine died before its records were durable."""
        body, now = station.body, self.timeline.now
        if body is None or station.life != life:
            return
        for effect in effects:
            self._record(station.node, effect)
            match effect:
                case Send():
                    self.wires.leave(station, effect)
                case Blame():
                    self.blames.append((station.node, effect))
                case _:
                    for delay, event in body.device.perform(effect, station.clock(now)):
                        happen = partial(self._happen, station, station.life, event)
                        self.timeline.at(after(now, delay), happen)

    def _wake(self, station: Station, at: Instant) -> None:
        """One timer, as in the driver: the soonest that was asked for since it last fired."""
        soonest = after(self.timeline.now, STEP_MICROS)
        late = station.timer.below(TIMER_LATE_MAX + 1)
        when = Instant(max(at - station.offset, soonest) + late)
        if at < NEVER and when < station.tick_at:
            station.tick_at = when
            self.timeline.at(when, partial(self._ring, station, when))

    def _ring(self, station: Station, when: Instant) -> None:
        if station.tick_at != when:
            return  # A sooner wish, or a crash, came between.
        station.tick_at = NEVER
        twice = station.timer.below(MILLION) < TIMER_TWICE_PPM
        for _ in range(1 + twice):
            self._happen(station, station.life, Tick())


def _written(effect: object) -> object:
    """Records of a roll or a dump are made as they are taken; here they are, all of them."""
    if isinstance(effect, Roll | Dump):
        return replace(effect, records=list(effect.records))
    return effect
