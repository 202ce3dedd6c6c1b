"""How many requests are answered at once: a program that asks and never reads fills no node."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

REQUESTS_MAX: Final = 256  # readers of logs among them


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
        if self._inside >= REQUESTS_MAX:
            await self._refusal(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
