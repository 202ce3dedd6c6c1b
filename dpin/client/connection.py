"""One node's HTTP API: where it is, how to ask, and what its refusals mean."""

import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

import httpx
import msgspec

from dpin.client.errors import ClientError, Unreachable
from dpin.node.home import Home, locate, network_fix, read_running
from dpin.node.lastwords import Ended, how_it_ended
from dpin.node.status import LogEntry

SCHEMA_PREFIX: Final = "dpin.v1/"
ASK_SECONDS: Final = 10.0
DO_SECONDS: Final = 120.0  # a transfer returns when the ledger has committed it
SILENCE_SECONDS: Final = 15.0  # a live log is never quiet for so long
LINE_BYTES_MAX: Final = 1 << 20
RECONNECTS_MAX: Final = 6  # in a row, each after a longer pause: half a minute in all
_PAUSE_SECONDS: Final = 0.5

T = TypeVar("T")
_WRONG_PLACE: Final = "start that node, or correct DPIN_API"


class _Told(msgspec.Struct):
    code: str
    message: str
    fix: str = ""


class _Refusal(msgspec.Struct):
    error: _Told


class Idle:
    """There is nothing new in a log just now."""


class Closed:
    """A log has been told to its end."""


LogItem = LogEntry | Idle | Closed


class Found(NamedTuple):
    """Where a node answers; what to do where it does not, and why that may be."""

    url: str
    fix: str = _WRONG_PLACE
    home: Home | None = None
    since_ms: int = 0  # when it started


def find_node(home: Home | None) -> Found:
    """Where the node of a home answers, and what to do where it does not.

    DPIN_API says where, else what the node wrote when it started; raises Unreachable.
    """
    named = os.environ.get("DPIN_API", "")
    if named and home is None:
        return Found(named)
    home = home or locate(None, os.environ)
    running = read_running(home)
    if running is None:
        raise _gone(f"no node runs in {home.root}", how_it_ended(home), next_step(home))
    return Found(running.api, next_step(home), home, running.started_ms)


def _gone(what: str, ended: Ended | None, step: str) -> Unreachable:
    """What ended the last node comes first among what to do: it would end the next one, too."""
    if ended is None:
        return Unreachable(what, fix=step)
    fix = f"{ended.fix}; then: {step}" if ended.fix else step
    return Unreachable(f"{what}; the last one ended: {ended.message}", fix=fix)


def next_step(home: Home) -> str:
    """What to type next where no node runs: make one, give it a network, or start it."""
    if not home.key.exists():
        return home.command("init")
    return home.command("node start") if home.genesis.exists() else network_fix(home)


class Connection:
    """Requests to one node; every failure is a ClientError."""

    def __init__(self, found: Found) -> None:
        # A proxy from the environment must not see what is meant for this machine. Reading the
        # certificates of the world takes longer than the question, and plain HTTP needs none.
        self._http = httpx.Client(
            base_url=found.url,
            timeout=ASK_SECONDS,
            trust_env=False,
            verify=not found.url.startswith("http://"),
        )
        self.url = found.url
        self._found = found

    def __enter__(self) -> Self:
        """Use it for a while."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def get(self, path: str, kind: type[T]) -> T:
        """Ask for a picture."""
        return _decoded(self._request("GET", path), kind)

    def get_list(self, path: str, name: str, kind: type[T]) -> list[T]:
        """Ask for the list that stands under `name`."""
        parts = _decoded(self._request("GET", path), dict[str, msgspec.Raw])
        return msgspec.json.decode(parts.get(name, msgspec.Raw(b"[]")), type=list[kind])  # type: ignore[valid-type]

    def post(self, path: str, body: object, kind: type[T], seconds: float = DO_SECONDS) -> T:
        """Ask for something to be done; it may take so long."""
        return _decoded(self._request("POST", path, body, seconds), kind)

    def delete(self, path: str, kind: type[T]) -> T:
        """Ask for something to end."""
        return _decoded(self._request("DELETE", path), kind)

    def log(self, path: str, after: int) -> Iterator[LogItem]:
        """Entries numbered above `after`; reconnects and goes on where it was cut off."""
        failures, closed = 0, False
        while not closed:
            try:
                for item in self._stream(path, after):
                    closed = isinstance(item, Closed)
                    after = item.number if isinstance(item, LogEntry) else after
                    failures = 0
                    yield item
            except httpx.TransportError as problem:
                if failures == RECONNECTS_MAX:
                    raise self._unreachable(problem) from None
            if not closed:
                failures += 1
                time.sleep(_PAUSE_SECONDS * failures)

    def _request(
        self, method: str, path: str, body: object = None, seconds: float = DO_SECONDS
    ) -> bytes:
        content = None if method != "POST" else msgspec.json.encode(body)
        headers = {"content-type": "application/json"} if content is not None else {}
        timeout = ASK_SECONDS if method == "GET" else seconds
        try:
            answer = self._http.request(
                method, path, content=content, headers=headers, timeout=timeout
            )
        except httpx.TransportError as problem:
            raise self._unreachable(problem) from None
        _check(answer)
        return answer.content

    def _unreachable(self, problem: httpx.TransportError) -> ClientError:
        if isinstance(problem, httpx.TimeoutException):
            late = f"the node at {self.url} does not answer"
            return ClientError("timed-out", late, "it may be busy: try again, or: dpin doctor")
        found = self._found
        ended = how_it_ended(found.home, found.since_ms) if found.home else None
        return _gone(f"no node answers at {self.url}", ended, found.fix)

    def _stream(self, path: str, after: int) -> Iterator[LogItem]:
        headers = {"last-event-id": str(after)}
        with self._http.stream("GET", path, headers=headers, timeout=SILENCE_SECONDS) as answer:
            if answer.is_error:
                answer.read()
            _check(answer)
            for line in _lines(answer.iter_bytes()):
                if line.startswith(b": idle"):
                    yield Idle()
                elif line.startswith(b"event: closed"):
                    yield Closed()
                    return
                elif line.startswith(b"data: "):
                    yield _entry(line.removeprefix(b"data: "))


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines as server-sent events end them; text of a model may hold any other separator."""
    held = b""
    for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        yield from lines
        if len(held) > LINE_BYTES_MAX:
            raise _wrong("a line without end")


def _entry(data: bytes) -> LogEntry:
    try:
        return msgspec.json.decode(data, type=LogEntry)
    except msgspec.MsgspecError:
        raise _wrong("an unreadable entry") from None


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        schema = msgspec.json.decode(content, type=_Schema).schema
        if schema.startswith(SCHEMA_PREFIX):
            return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError:
        schema = "unreadable"
    raise _wrong(schema)


def _wrong(what: str) -> ClientError:
    return ClientError(
        "wrong-answer",
        f"this is not an answer of dpin ({what[:40]})",
        fix="use the same version of dpin for node and commands",
    )


class _Schema(msgspec.Struct):
    schema: str


def _check(answer: httpx.Response) -> None:
    if not answer.is_error:
        return
    try:
        told = msgspec.json.decode(answer.content, type=_Refusal).error
    except msgspec.MsgspecError:
        told = _Told("internal", f"the node answered {answer.status_code}", "see the node's log")
    raise ClientError(told.code, told.message, told.fix)
