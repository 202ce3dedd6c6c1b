"""How many requests are answered at once: a program that asks and never reads fills no node."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

REQUESTS_MAX: Final = 256  # readers of logs among them
KEPT: Final = 8  # places more for the owner, who wants to look, or to have an end of it
OF_THE_OWNER: Final = frozenset(
    {
        ("GET", "/healthz"),
        ("GET", "/api/v1/node"),
        ("GET", "/api/v1/jobs"),
        ("GET", "/api/v1/doctor"),
        ("POST", "/api/v1/node/stop"),
        ("POST", "/api/v1/node/drain"),
        ("POST", "/api/v1/node/pause"),
        ("POST", "/api/v1/node/resume"),
    }
)


class Crowd:
    """Lets so many requests in; `refusal` answers the others."""

    def __init__(self, app: ASGIApp, refusal: ASGIApp) -> None:
        self._app = app
        self._refusal = refusal
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer now, or say that there is no room."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kept = KEPT if (scope["method"], scope["path"]) in OF_THE_OWNER else 0
        if self._inside >= REQUESTS_MAX + kept:
            await self._refusal(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
