"""TCP proxies between real nodes: each connection goes through one, to be cut or stalled."""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Final, Self

CHUNK: Final = 1 << 16
ROUTES: Final = Path(__file__).parent / "routes"

Pair = tuple[str, str]  # who dials whom; or whose bytes flow to whom
Action = Callable[[set[Pair]], None]
Taker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Detours:
    """A listener for each ordered pair of nodes, on an event loop in a thread of its own."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.carried: Counter[Pair] = Counter()  # bytes, by whose they are and for whom
        self._ports = dict(ports)
        self._listeners: dict[Pair, socket.socket] = {}
        self._cut: set[Pair] = set()
        self._stalled: set[Pair] = set()
        self._open: dict[Pair, list[asyncio.StreamWriter]] = {}
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        for dialler in self._ports:
            for target in self._ports:
                if dialler != target:
                    self._listeners[dialler, target] = socket.create_server(("127.0.0.1", 0))
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def environment(self, node: str) -> dict[str, str]:
        """With this, a node listens at its port and dials the others through here."""
        routes = [
            f"{self._ports[target]}={listener.getsockname()[1]}"
            for (dialler, target), listener in self._listeners.items()
            if dialler == node
        ]
        return {
            "DPIN_NETWORK__LISTEN": f"/ip4/127.0.0.1/tcp/{self._ports[node]}",
            "DPIN_TEST_ROUTES": ",".join(routes),
            "PYTHONPATH": str(ROUTES),
        }

    def cut(self, *groups: Sequence[str]) -> None:
        """Reset all connections between groups, and refuse new ones."""
        self._do(self._cut_now, _between(groups))

    def stall(self, *groups: Sequence[str]) -> None:
        """Between groups nothing flows any more, and nobody is told."""
        self._do(self._stalled.update, _between(groups))

    def deafen(self, source: str, target: str) -> None:
        """What `source` says to `target` does not arrive; the other way it does."""
        self._do(self._stalled.update, {(source, target)})

    def heal(self) -> None:
        """Everything flows again, what was held back first."""
        self._do(self._heal_now, set())

    def _do(self, action: Action, pairs: set[Pair]) -> None:
        async def act() -> None:
            action(pairs)

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    def _cut_now(self, pairs: set[Pair]) -> None:
        self._cut |= pairs
        for pair in sorted(pairs):
            for writer in self._open.pop(pair, []):
                writer.transport.abort()

    def _heal_now(self, pairs: set[Pair]) -> None:
        assert not pairs
        self._cut.clear()
        self._stalled.clear()
        self._flows.set()
        self._flows = asyncio.Event()

    async def _listen(self) -> None:
        self._servers = [
            await asyncio.start_server(self._taker(pair), sock=listener)
            for pair, listener in self._listeners.items()
        ]

    def _taker(self, pair: Pair) -> Taker:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.CancelledError):  # Cancelled only when all is closed.
                await self._carry(pair, reader, writer)
            writer.close()

        return take

    async def _carry(
        self, pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        dialler, target = pair
        if pair in self._cut:
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._ports[target])
        self._open.setdefault(pair, []).extend((writer, far_writer))
        await asyncio.gather(
            self._pump(reader, far_writer, pair), self._pump(far_reader, writer, (target, dialler))
        )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, whose: Pair
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                while whose in self._stalled:
                    await self._flows.wait()
                self.carried[whose] += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._cut_now(set(self._open))
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _between(groups: Sequence[Sequence[str]]) -> set[Pair]:
    """Both directions of everything between different groups."""
    return {
        (one, other)
        for near in groups
        for far in groups
        if near is not far
        for one in near
        for other in far
    }
