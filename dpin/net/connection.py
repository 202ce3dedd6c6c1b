"""Connections as libp2p has them; any method may raise anything."""

from typing import Protocol


class PeerId(Protocol):
    """What libp2p calls a peer."""

    def to_bytes(self) -> bytes:
        """A multihash."""
        ...


class Kind(Protocol):
    """How a connection was made."""

    name: str  # DIRECT or RELAYED


class Muxed(Protocol):
    """The lower half of a connection."""

    peer_id: PeerId

    def get_remote_address(self) -> tuple[str, int] | None:
        """IP address and port of the other end, where there is a socket."""
        ...

    def get_connection_type(self) -> Kind:
        """Directly, or through a relay."""
        ...


class Connection(Protocol):
    """One connection to a peer."""

    muxed_conn: Muxed
    is_closed: bool

    async def close(self) -> None:
        """End it."""
        ...
