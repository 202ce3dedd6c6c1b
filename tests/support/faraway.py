"""A line of TCP that is long and loses: what comes, comes late, and what is lost holds up the rest.

A proxy cannot lose a segment of TCP; it can do what TCP makes of a loss, which is to hold back all
that follows for a round trip, until the segment has been sent again.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import trio

from dpin.base.chance import Chance
from dpin.base.units import MILLION

ROUND_TRIP: Final = 0.2
LOSS: Final = 0.02  # of segments
SEGMENT: Final = 1460
PIECE: Final = 16 << 10
PIECES_MAX: Final = 64  # under way in one direction: a window of 1 MiB

_Piece = tuple[float, bytes]  # when it arrives, and what


class Line:
    """All connections through one proxy."""

    def __init__(self, seed: int) -> None:
        self.lost = 0
        self.pieces = 0
        self._dice = Chance(b"line %d" % seed)

    async def carry(self, port: int, near: trio.SocketStream) -> None:
        """One connection, until either side ends it."""
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            async with (
                near,
                await trio.open_tcp_stream("127.0.0.1", port) as far,
                trio.open_nursery() as nursery,
            ):
                for source, target in ((near, far), (far, near)):
                    send, receive = trio.open_memory_channel[_Piece](PIECES_MAX)
                    nursery.start_soon(self._take, source, send)
                    nursery.start_soon(_give, receive, target)

    async def _take(
        self, source: trio.SocketStream, onward: trio.MemorySendChannel[_Piece]
    ) -> None:
        arrives = 0.0
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with onward:
                while piece := await source.receive_some(PIECE):
                    arrives = max(arrives, trio.current_time() + ROUND_TRIP / 2)
                    arrives += ROUND_TRIP * self._is_lost(len(piece))
                    await onward.send((arrives, bytes(piece)))

    def _is_lost(self, size: int) -> bool:
        """Whether any of its segments is."""
        whole = (1 - LOSS) ** math.ceil(size / SEGMENT)
        lost = self._dice.below(MILLION) > whole * MILLION
        self.pieces, self.lost = self.pieces + 1, self.lost + lost
        return lost


async def _give(come: trio.MemoryReceiveChannel[_Piece], target: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for arrives, piece in come:
            await trio.sleep_until(arrives)
            await target.send_all(piece)
        await target.send_eof()


@asynccontextmanager
async def far_line(port: int, seed: int = 1) -> AsyncIterator[tuple[int, Line]]:
    """The port at which what listens at `port` is found as if it were far away."""
    line = Line(seed)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, partial(line.carry, port), [listener])
        yield listener.socket.getsockname()[1], line
        nursery.cancel_scope.cancel()
