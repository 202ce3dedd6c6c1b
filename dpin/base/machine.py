"""What a machine is: one event in, effects out.

A machine never waits, reads a clock, rolls dice or touches a device. Whoever drives it performs its
effects in order, and makes every `Store(sync=True)` and `Roll` of a batch durable before any other
effect of that batch, or of a later one, leaves the node.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dpin.base.ids import NodeId
from dpin.base.units import Instant


@dataclass(frozen=True, slots=True)
class Received:
    """A peer sent this; the sender is authenticated, the content is not."""

    peer: NodeId
    payload: bytes


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A connection to this peer stands."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The last connection to this peer is gone."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. A Tick may come early, late or twice; that must be harmless."""


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver this to a peer, at most once, perhaps never."""

    peer: NodeId
    payload: bytes


@dataclass(frozen=True, slots=True)
class Store:
    """Append this to the log; with `sync`, before anything else of the batch leaves."""

    record: bytes
    sync: bool = False


@dataclass(frozen=True, slots=True)
class Roll:
    """Begin the log anew with these records: all that is still needed of what was stored so far.

    As durable as a `Store` with `sync`; a crash leaves the old log or the new one. The records may
    be many, and made as they are taken: whoever performs it may take its time, and go on with the
    old log meanwhile, unless that is of no use any more (`at_once`). The next Roll ends this one.
    """

    records: Iterable[bytes]
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Preserve:
    """Append these to what is kept beside the log, for good; durable before a later Roll is."""

    records: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Wake:
    """Send me a Tick no later than this."""

    at: Instant


@dataclass(frozen=True, slots=True)
class Blame:
    """The peer broke the protocol; the reason is for people."""

    peer: NodeId
    reason: str


E_contra = TypeVar("E_contra", contravariant=True)
F_co = TypeVar("F_co", covariant=True)


class Machine(Protocol[E_contra, F_co]):
    """Equal histories of events give equal effects."""

    def step(self, event: E_contra, now: Instant) -> Sequence[F_co]:
        """Take one event; return what must now be done."""
        ...
