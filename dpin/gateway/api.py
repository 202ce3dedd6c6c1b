"""Requests to commands, pictures to JSON. Every body says its schema, every error its fix.

The API is for programs of this machine's user: it listens on loopback, and refuses what a web page
could make a browser send (a foreign Host or Origin, a body that is not JSON).
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dpin.base.errors import (
    DpinError,
    Misuse,
    NoMatch,
    NotFound,
    OverBudget,
    PeerFault,
    TooEarly,
    Unavailable,
)
from dpin.gateway.crowd import Crowd
from dpin.gateway.metrics import METRICS_TYPE, metrics_text
from dpin.node.control import (
    CompareRequest,
    Control,
    InviteRequest,
    LiftRequest,
    PauseRequest,
    PayRequest,
    PingRequest,
    PrepareRequest,
    ProofRequest,
    RunRequest,
    SignedRequest,
    SubmitRequest,
    TraceRequest,
    TransferRequest,
    ValidatorRequest,
)
from dpin.node.status import View

BODY_BYTES_MAX: Final = 1 << 20
SCHEMA: Final = "dpin.v1"
PAGE: Final = 50  # movements, unless asked for more
PAGE_MAX: Final = 1_000
NUMBER_DIGITS_MAX: Final = 15
HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")

_log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

T = TypeVar("T")

_STATUSES: Final = {NotFound.code: 404, NoMatch.code: 409, TooEarly.code: 409, OverBudget.code: 402}
_CODES: Final = {404: "no-such-route", 405: "wrong-method", 413: "too-large", 415: "not-json"}


def application(control: Control, more: Sequence[Route]) -> Starlette:
    """The whole API over a running node; `more` are the routes that need a shell."""
    crowded = error(503, "busy", "too many requests at once", "let some end, and try again")
    return Starlette(
        routes=[*_routes(control), *more],
        middleware=[Middleware(LocalOnly), Middleware(Crowd, refusal=crowded)],
        exception_handlers={
            DpinError: _failed,
            HTTPException: _refused,
            Exception: _broken,
        },
    )


def body(schema: str, values: Mapping[str, object], status: int = 200) -> Response:
    """A JSON answer of that schema."""
    content = msgspec.json.encode({"schema": f"{SCHEMA}/{schema}", **values})
    return Response(content, status_code=status, media_type="application/json")


def error(status: int, code: str, message: str, fix: str = "") -> Response:
    """An answer that says what is wrong and what to do."""
    told = {"code": code, "message": message, "fix": fix}
    return body("error", {"error": told}, status)


async def read_body(request: Request, kind: type[T]) -> T:
    """The request's JSON as a `kind`; raises Misuse, or HTTPException for what is no JSON."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise HTTPException(415, "send Content-Type: application/json")
    data = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            data += chunk
            if len(data) > BODY_BYTES_MAX:
                raise HTTPException(413, f"a body has at most {BODY_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(bytes(data), type=kind)
    except (ValueError, RecursionError) as problem:
        raise Misuse(
            f"the body is not a {kind.__name__}: {problem}", fix="see docs/api.md"
        ) from None


def read_query(request: Request, kind: type[T]) -> T:
    """The request's query as a `kind`; raises Misuse."""
    try:
        return msgspec.convert(dict(request.query_params), type=kind, strict=False)
    except msgspec.ValidationError as problem:
        raise Misuse(
            f"the query is not a {kind.__name__}: {problem}", fix="see docs/api.md"
        ) from None


class LocalOnly:
    """Passes what a program on this machine sends, and nothing that a web page can cause."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to a foreign Host or Origin: DNS rebinding reaches loopback."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and not _is_local(Request(scope)):
            refusal = error(403, "not-local", "this API answers programs on this machine only")
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _live(receive: Receive, send: Send) -> None:
    """Nothing to start or end here; a cancellation must pass as what it is."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _is_local(request: Request) -> bool:
    hosts = request.headers.getlist("host")
    origins = request.headers.getlist("origin")
    return (
        len(hosts) == 1
        and _host(hosts[0]) in HOSTS
        and all(_host(origin.removeprefix("http://")) in HOSTS for origin in origins)
    )


def _host(text: str) -> str:
    """The host of "host:port"; an address of IP version 6 keeps its brackets."""
    host, colon, port = text.rpartition(":")
    return host if colon and port.isdecimal() else text


def _failed(_request: Request, problem: Exception) -> Response:
    match problem:
        case Misuse():
            status = _STATUSES.get(problem.code, 400)
            return error(status, problem.code, str(problem), problem.fix)
        case Unavailable():
            return error(503, "unavailable", str(problem), problem.fix or "try again")
        case PeerFault():
            return error(502, "peer-fault", str(problem), "try again")
        case _:
            raise problem


def _broken(request: Request, problem: Exception) -> Response:
    """A bug: its place goes to the node's log, and the server goes on."""
    _log.error("api-bug", path=request.url.path, method=request.method, exc_info=problem)
    message = f"the node failed at this: {type(problem).__name__}: {problem}"
    return error(500, "internal", message, "report it with the node's log")


def _refused(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    code = _CODES.get(problem.status_code, "refused")
    return error(problem.status_code, code, problem.detail, "see docs/api.md")


def _view(schema: str, view: View, status: int = 200) -> Response:
    values: dict[str, object] = msgspec.to_builtins(view)
    return body(schema, values, status)


def _number(request: Request, name: str, default: int) -> int:
    """A number in the query; raises Misuse for anything else."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX):
        raise Misuse(f"{name} is not a number: {text[:40]!r}", fix="see docs/api.md")
    return int(text)


def _views(schema: str, views: Sequence[View]) -> Response:
    return body(schema, {schema: views})


def _routes(control: Control) -> list[Route]:
    return [
        *_picture_routes(control),
        *_job_routes(control),
        *_money_routes(control),
        *_node_routes(control),
        *_rest_routes(control),
        *_validator_routes(control),
        *_network_routes(control),
    ]


def _picture_routes(control: Control) -> list[Route]:
    async def node(_request: Request) -> Response:
        return _view("node", control.node())

    async def peers(_request: Request) -> Response:
        return _views("peers", control.peers())

    async def jobs(_request: Request) -> Response:
        return _views("jobs", control.jobs())

    async def job(request: Request) -> Response:
        return _view("job", control.job(request.path_params["job"]))

    async def explain(request: Request) -> Response:
        return _view("explain", control.explain(request.path_params["job"]))

    async def receipts(request: Request) -> Response:
        return _views("receipts", control.receipts(request.path_params["job"]))

    async def doctor(_request: Request) -> Response:
        return _views("checks", control.checks())

    return [
        Route("/api/v1/node", node),
        Route("/api/v1/peers", peers),
        Route("/api/v1/jobs", jobs),
        Route("/api/v1/jobs/{job}", job),
        Route("/api/v1/jobs/{job}/explain", explain),
        Route("/api/v1/jobs/{job}/receipts", receipts),
        Route("/api/v1/doctor", doctor),
    ]


def _job_routes(control: Control) -> list[Route]:
    async def submit(request: Request) -> Response:
        wanted = await read_body(request, SubmitRequest)
        if request.query_params.get("dry_run", "0") not in {"", "0", "false"}:
            return _view("plan", await control.plan(wanted))
        return _view("submitted", await control.submit(wanted), 201)

    async def run(request: Request) -> Response:
        wanted = await read_body(request, RunRequest)
        return _view("submitted", await control.run(wanted), 201)

    async def cancel(request: Request) -> Response:
        return _view("submitted", await control.cancel(request.path_params["job"]))

    return [
        Route("/api/v1/jobs", submit, methods=["POST"]),
        Route("/api/v1/run", run, methods=["POST"]),
        Route("/api/v1/jobs/{job}", cancel, methods=["DELETE"]),
    ]


def _money_routes(control: Control) -> list[Route]:
    async def history(request: Request) -> Response:
        after, before, count = (
            _number(request, name, default)
            for name, default in (("after", 0), ("before", 0), ("count", PAGE))
        )
        found = control.history(after, before, min(count, PAGE_MAX))
        return _views("movements", found)

    async def transfer(request: Request) -> Response:
        return _view("transfer", await control.transfer(await read_body(request, TransferRequest)))

    async def pay(request: Request) -> Response:
        return _view("transfer", await control.pay(await read_body(request, PayRequest)))

    async def prepare(request: Request) -> Response:
        return _view("prepared", await control.prepare(await read_body(request, PrepareRequest)))

    async def carry(request: Request) -> Response:
        return _view("transfer", await control.carry(await read_body(request, SignedRequest)))

    async def account(request: Request) -> Response:
        return _view("account", control.account(request.path_params["account"]))

    return [
        Route("/api/v1/accounts/{account}", account),
        Route("/api/v1/wallet/prepare", prepare, methods=["POST"]),
        Route("/api/v1/wallet/submit", carry, methods=["POST"]),
        Route("/api/v1/wallet/history", history),
        Route("/api/v1/wallet/transfer", transfer, methods=["POST"]),
        Route("/api/v1/wallet/pay", pay, methods=["POST"]),
    ]


def _node_routes(control: Control) -> list[Route]:
    async def healthz(_request: Request) -> Response:
        return body("health", {"ok": True})

    async def proof(request: Request) -> Response:
        return _view("proof", control.proof(read_query(request, ProofRequest)))

    async def compared(request: Request) -> Response:
        return _view("comparison", await control.compare(await read_body(request, CompareRequest)))

    async def descent(request: Request) -> Response:
        return _view("descent", control.descent(request.path_params["job"]))

    async def invite(request: Request) -> Response:
        wanted = await read_body(request, InviteRequest)
        return _view("invite", await control.invite(wanted.grant, wanted.to))

    async def stop(_request: Request) -> Response:
        await control.stop()
        return body("ok", {"ok": True}, 202)

    return [
        Route("/healthz", healthz),
        Route("/api/v1/ledger/proof", proof),
        Route("/api/v1/ledger/compare", compared, methods=["POST"]),
        Route("/api/v1/ledger/jobs/{job}", descent),
        Route("/api/v1/network/invite", invite, methods=["POST"]),
        Route("/api/v1/node/stop", stop, methods=["POST"]),
    ]


def _rest_routes(control: Control) -> list[Route]:
    async def drain(_request: Request) -> Response:
        return _view("rest", await control.drain())

    async def pause(request: Request) -> Response:
        return _view("rest", await control.pause(await read_body(request, PauseRequest)))

    async def resume(_request: Request) -> Response:
        return _view("rest", await control.resume())

    return [
        Route("/api/v1/node/drain", drain, methods=["POST"]),
        Route("/api/v1/node/pause", pause, methods=["POST"]),
        Route("/api/v1/node/resume", resume, methods=["POST"]),
    ]


def _network_routes(control: Control) -> list[Route]:
    async def network(_request: Request) -> Response:
        return _view("network", control.network())

    async def links(_request: Request) -> Response:
        return _views("links", control.links())

    async def bans(_request: Request) -> Response:
        return _views("bans", control.bans())

    async def lift(request: Request) -> Response:
        return _view("lifted", control.lift(await read_body(request, LiftRequest)))

    async def ping(request: Request) -> Response:
        return _view("ping", await control.ping(await read_body(request, PingRequest)))

    async def trace(request: Request) -> Response:
        return _view("trace", await control.trace(await read_body(request, TraceRequest)))

    async def metrics(_request: Request) -> Response:
        return Response(metrics_text(control), media_type=METRICS_TYPE)

    return [
        Route("/api/v1/network", network),
        Route("/api/v1/network/peers", links),
        Route("/api/v1/network/bans", bans),
        Route("/api/v1/network/lift", lift, methods=["POST"]),
        Route("/api/v1/network/ping", ping, methods=["POST"]),
        Route("/api/v1/network/trace", trace, methods=["POST"]),
        Route("/metrics", metrics),
    ]


def _validator_routes(control: Control) -> list[Route]:
    async def validators(_request: Request) -> Response:
        return _view("validators", control.validators())

    async def validate(request: Request) -> Response:
        return _view("transfer", await control.validate(await read_body(request, ValidatorRequest)))

    return [
        Route("/api/v1/validators", validators),
        Route("/api/v1/validator", validate, methods=["POST"]),
    ]
