"""What a host knows of how others reach its node, for whoever tells people.

A verdict by dial-back comes from outside (`Reach.proved`); until there is one, a public address of
an interface counts as reachable, and nothing else does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dpin.base.ids import NodeId
from dpin.net.address import is_loopback, is_public


@dataclass(frozen=True, slots=True)
class Plan:
    """Which ways a node takes."""

    relay: bool = True  # pass on connections of others, and have its own passed on
    punch: bool = True
    upnp: bool = False


class Mapping(StrEnum):
    """How far the router's help (UPnP) has come."""

    OFF = "off"
    LOOKING = "looking"
    NO_GATEWAY = "no gateway"
    REFUSED = "refused"
    MAPPED = "mapped"


class Way(StrEnum):
    """How a connection to a peer runs."""

    DIRECT = "direct"
    PUNCHED = "hole-punched"  # direct, after both ends dialled at once
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A relay that passes on connections to this node."""

    relay: NodeId
    address: str  # of this node, by way of the relay


@dataclass(frozen=True, slots=True)
class Reach:
    """One moment's view; all addresses end in /p2p/ and this node's id."""

    listening: tuple[str, ...]  # of the interfaces
    mapped: tuple[str, ...] = ()  # opened on the router
    mapping: Mapping = Mapping.OFF
    reservations: tuple[Reservation, ...] = ()
    serves: bool = False  # as a relay for others
    reservations_given: int = 0
    circuits_carried: int = 0
    proved: bool | None = None  # what dial-back found; None while nobody has tried

    @property
    def relayed(self) -> tuple[str, ...]:
        """Addresses that lead through relays."""
        return tuple(reservation.address for reservation in self.reservations)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Everything that others may dial."""
        return tuple(sorted({*self.listening, *self.mapped})) + self.relayed


def wants_relay(listening: Sequence[str], mapped: Sequence[str], proved: bool | None) -> bool:  # noqa: FBT001
    """Whether a node should have a relay: some others cannot reach it, as far as it knows.

    Who has IPv6 alone cannot be reached by those who have IPv4 alone, whatever dial-back says.
    """
    outside = [address for address in listening if not is_loopback(address)]
    if not outside:
        return False  # It is for this machine alone.
    if all(address.startswith("/ip6/") for address in (*outside, *mapped)):
        return True
    if proved is not None:
        return not proved
    return not any(is_public(a) and a.startswith("/ip4/") for a in (*listening, *mapped))
