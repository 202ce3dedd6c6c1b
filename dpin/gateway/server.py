"""HTTP over trio. The API may die and come back; the node lives on.

Malformed requests once brought whole servers down from inside their nursery. So this one runs in a
nursery of its own, and what escapes from it is logged, never fatal.
"""

import errno
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from functools import partial
from typing import Final, Protocol
from urllib.parse import urlsplit

import anycorn
import msgspec
import structlog
import trio
from anycorn.config import Config
from anycorn.typing import Framework
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from dpin.base.errors import Misuse, NotFound, Unavailable
from dpin.gateway.api import application
from dpin.gateway.blobs import blob_routes
from dpin.node.control import Control
from dpin.node.status import LogEntry

LOOPBACK: Final = "127.0.0.1"
IDLE_SECONDS: Final = 0.5  # a quiet log says so this often, and so notices that its reader has gone
RESTART_SECONDS: Final = 1.0
_NUMBER_CHARS_MAX: Final = 18
_STREAM_HEADERS: Final = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]

_log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")


class Listening(Protocol):
    """Whoever waits for the API to listen (trio's task status)."""

    def started(self, value: int, /) -> None:
        """It listens on this port."""
        ...


async def serve(
    control: Control, port: int, task_status: Listening = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve the API on loopback until cancelled; `started` is told the port (asked 0: a free one).

    Raises Unavailable where it cannot listen at the start.
    """
    log = Route("/api/v1/jobs/{job}/log", LogStream(control), methods=["GET"])
    app = application(control, [log, *blob_routes(control.blobs)])
    doors = _Doors(port, task_status)
    while True:
        failed, taken = "", None
        try:
            await doors.open(app)
        except* Exception as problems:  # noqa: BLE001  # The API may die; the node may not.
            failed = "; ".join(repr(problem) for problem in problems.exceptions)
            _log.error("api-crash", errors=failed)
            taken = next(_taken(problems), None)
        if not doors.opened and taken is not None:
            raise Unavailable(f"port {port} is in use: api.port") from taken
        if not doors.opened:
            raise Unavailable(f"the API cannot listen on {LOOPBACK}:{port}: {failed}")
        await trio.sleep(RESTART_SECONDS)


def _taken(problems: BaseExceptionGroup[BaseException]) -> Iterator[OSError]:
    """Those that say that somebody else listens there."""
    for problem in problems.exceptions:
        if isinstance(problem, BaseExceptionGroup):
            yield from _taken(problem)
        elif isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE:
            yield problem


class _Doors:
    """Where the server listens: once a port is found, it comes back on the same one."""

    def __init__(self, port: int, task_status: Listening) -> None:
        self._port = port
        self._task_status = task_status
        self.opened = False

    async def open(self, app: Starlette) -> None:
        async with trio.open_nursery() as nursery:
            run = partial(anycorn.serve, _untyped(app), _config(self._port), mode="asgi")
            urls: list[str] = await nursery.start(run)
            if not self.opened:
                self._port, self.opened = urlsplit(urls[0]).port or self._port, True
                self._task_status.started(self._port)


def _untyped(app: Starlette) -> Framework:
    """Starlette and anycorn describe ASGI in types of their own that do not meet."""
    return app  # type: ignore[return-value]


def _config(port: int) -> Config:
    config = Config()
    config.bind = [f"{LOOPBACK}:{port}"]
    config.errorlog = None  # It would say where it listens; the node says that itself.
    config.accesslog = None
    config.include_server_header = False
    config.graceful_timeout = 1.0
    return config


def _after(request: Request) -> int:
    """The number of the last entry that the reader has; 0: none."""
    text = request.headers.get("last-event-id") or request.query_params.get("after", "0")
    if not text.isdecimal() or len(text) > _NUMBER_CHARS_MAX:
        raise Misuse(f"{text[:40]!r} is not the number of an entry", fix="send a whole number")
    return int(text)


class LogStream:
    """Log entries as server-sent events, a comment while there are none, `closed` at the end."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the log ends or its reader goes."""
        request = Request(scope)
        after = _after(request)
        view = self._control.job(request.path_params["job"]).job  # NotFound while it can be told
        if view.role == "served":
            raise NotFound(
                f"{view.id} is a job of another node, which keeps its log",
                fix=f"this node's part in it: dpin status {view.id}, and the node's own log",
            )
        job = view.id
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        entries = self._control.log(job, after)
        try:
            await _relay(entries, receive, send)
        finally:
            await _close(entries)


async def _relay(entries: AsyncIterator[LogEntry], receive: Receive, send: Send) -> None:
    # Unbuffered: a slow reader slows the log's cursor, and nothing piles up.
    entering, leaving = trio.open_memory_channel[LogEntry](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_at_disconnect, receive, nursery.cancel_scope)
        nursery.start_soon(_pump, entries, entering)
        await _send_events(leaving, send)
        nursery.cancel_scope.cancel()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pump(
    entries: AsyncIterator[LogEntry], entering: trio.MemorySendChannel[LogEntry]
) -> None:
    async with entering:
        async for entry in entries:
            await entering.send(entry)


async def _close(entries: AsyncIterator[LogEntry]) -> None:
    if isinstance(entries, AsyncGenerator):
        with trio.CancelScope(shield=True):  # It stands at a yield: closing it does not wait.
            await entries.aclose()


async def _send_events(leaving: trio.MemoryReceiveChannel[LogEntry], send: Send) -> None:
    while True:
        text = b": idle\n\n"
        with trio.move_on_after(IDLE_SECONDS):
            try:
                text = _event(await leaving.receive())
            except trio.EndOfChannel:
                text = b"event: closed\ndata: {}\n\n"
        await send({"type": "http.response.body", "body": text, "more_body": True})
        if text.startswith(b"event: closed"):
            return


def _event(entry: LogEntry) -> bytes:
    data = msgspec.json.encode(entry)  # JSON has no line breaks of its own.
    return b"id: %d\nevent: entry\ndata: %b\n\n" % (entry.number, data)


async def _cancel_at_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            scope.cancel()
            return
