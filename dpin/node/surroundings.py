"""What a running node's views and commands can reach besides its machines."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dpin.base.units import Instant
from dpin.net.network import Network
from dpin.node.courier import Courier
from dpin.node.home import Home
from dpin.node.neighbourhood import Neighbourhood
from dpin.node.peer import Event
from dpin.node.settings import Settings
from dpin.node.trying import Ask
from dpin.node.vault import Vault


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Shells and choices of one node."""

    home: Home
    settings: Settings
    version: str
    host: Network
    courier: Courier
    vault: Vault
    now: Callable[[], Instant]
    tell: Callable[[Event], Awaitable[None]]
    neighbours: Callable[[], Neighbourhood]
    ask: Ask  # a worker, once
