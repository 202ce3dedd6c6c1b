"""A place where a simulated node lives and dies: disk and clock stay, the machine comes anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from dpin.base.chance import Chance
from dpin.base.ids import NodeId
from dpin.base.machine import Machine, PeerDown, PeerUp, Roll, Store
from dpin.base.units import NEVER, Instant, Micros, after
from dpin.sim.disk import Disk

UNFINISHED_ONE_IN: Final = 4

AnyMachine = Machine[object, object]  # what a world drives: it knows no machine's own words


class Device(Protocol):
    """What stands beside one machine and performs its domain effects. Lost in a crash."""

    def perform(self, effect: object, now: Instant) -> Sequence[tuple[Micros, object]]:
        """Take one effect; return the events that follow, each with its delay."""
        ...


@dataclass(frozen=True, slots=True)
class Body:
    """A node that has just started: its machine, its device, and its first events."""

    machine: AnyMachine
    device: Device
    first: Sequence[object] = ()


Boot = Callable[[Sequence[bytes], Instant], Body]  # from the log's records, at the node's own time


@dataclass(frozen=True, slots=True)
class Booted:
    """A node starts, for the `life`th time, from this many records."""

    life: int
    records: int


@dataclass(frozen=True, slots=True)
class Crashed:
    """A node is gone; its disk is not."""

    life: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A node does not start: its log is rotten."""


@dataclass(slots=True)
class Station:
    """A place where a node lives and dies."""

    node: NodeId
    boot: Boot
    disk: Disk
    timer: Chance
    rolls: Chance
    offset: Micros  # the node's clock, less the world's
    body: Body | None = None
    life: int = 0
    tick_at: Instant = NEVER  # world time of the next Tick
    stalled_until: Instant = Instant(0)  # world time until which it does nothing
    performed_at: Instant = Instant(0)  # world time until which batches wait for the disk
    peers: dict[NodeId, int] = field(default_factory=dict)  # believed connected: in which life

    def meet(self, peer: NodeId, life: int) -> list[PeerUp | PeerDown]:
        """What the node hears when a peer turns out to be in its `life`th life, 0: out of reach."""
        before = self.peers.get(peer, 0)
        if before == life:
            return []
        if life:
            self.peers[peer] = life
        else:
            del self.peers[peer]
        gone: list[PeerUp | PeerDown] = [PeerDown(peer)] if before else []
        return [*gone, PeerUp(peer)] if life else gone

    def stall(self, until: Instant) -> None:
        """Do nothing up to then, by the world's time; what happens meanwhile is found then."""
        self.stalled_until = max(self.stalled_until, until)

    def clock(self, now: Instant) -> Instant:
        """What the node takes the time to be."""
        return after(now, self.offset)

    def queue(self, ready: Instant) -> Instant:
        """When a batch is performed that could be at `ready`: not before those that came first."""
        self.performed_at = max(self.performed_at, ready)
        return self.performed_at

    def write(self, effects: Sequence[object], now: Instant) -> Instant:
        """Append what a batch stores; returns when what it syncs is durable: or long ago."""
        sync = False
        for effect in effects:
            match effect:
                case Store(record):
                    self.disk.append(record)
                    sync = sync or effect.sync
                case Roll(records, at_once):
                    # Production writes a state while the old log goes on; one in so many times it
                    # does not come to its end before the next, or before a crash.
                    if at_once or self.rolls.below(UNFINISHED_ONE_IN):
                        self.disk.roll(list(records))
                    sync = True
                case _:
                    pass
        return self.disk.sync(now) if sync else Instant(0)
