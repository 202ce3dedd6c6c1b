"""A fake node behind the real HTTP server, in a thread of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Final

import trio

from dpin.gateway.server import serve
from dpin.node.control import Control

HANGING_SECONDS: Final = 60.0  # on a busy machine, too, it begins and ends sooner
Running = tuple[int, trio.lowlevel.TrioToken, trio.Event]


async def _serve(
    control: Control, ready: "Queue[tuple[int, trio.lowlevel.TrioToken, trio.Event]]"
) -> None:
    ended = trio.Event()
    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(serve, control, 0)
        ready.put((port, trio.lowlevel.current_trio_token(), ended))
        await ended.wait()
        nursery.cancel_scope.cancel()


@contextmanager
def api_server(control: Control) -> Iterator[str]:
    """The URL at which `control` is served."""
    ready: Queue[Running] = Queue()
    thread = threading.Thread(target=trio.run, args=(_serve, control, ready), daemon=True)
    thread.start()
    port, token, ended = ready.get(timeout=HANGING_SECONDS)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        token.run_sync_soon(ended.set)
        thread.join(HANGING_SECONDS)
        assert not thread.is_alive(), "the server does not end"
