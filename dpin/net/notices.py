"""What libp2p tells of its connections."""

from collections.abc import Awaitable, Callable

from dpin.net.connection import Connection


class Notices:
    """Libp2p's callbacks. Connected and disconnected; the others are of no interest."""

    def __init__(
        self, joined: Callable[[Connection], Awaitable[None]], left: Callable[[Connection], None]
    ) -> None:
        self._joined = joined
        self._left = left

    async def connected(self, _network: object, connection: Connection) -> None:
        """One stands."""
        await self._joined(connection)

    async def disconnected(self, _network: object, connection: Connection) -> None:
        """One is gone."""
        self._left(connection)

    async def opened_stream(self, _network: object, _stream: object) -> None:
        """Of no interest."""

    async def closed_stream(self, _network: object, _stream: object) -> None:
        """Of no interest."""

    async def listen(self, _network: object, _address: object) -> None:
        """Of no interest."""

    async def listen_close(self, _network: object, _address: object) -> None:
        """Of no interest."""


def soon(notice: Callable[[Connection], None]) -> Callable[[Connection], Awaitable[None]]:
    """A callback that waits for nothing, where one is wanted that may."""

    async def noticed(connection: Connection) -> None:
        notice(connection)

    return noticed
