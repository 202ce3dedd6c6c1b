"""Python runs this at the start of a node process: what it dials takes the detour laid for it.

DPIN_TEST_ROUTES is "4001=5001,4002=5002": whoever connects to port 4001 comes to port 5001. It does
in one process what a rule of the firewall would do on a whole machine.
"""

import os
import socket

ROUTES = {
    int(port): int(detour)
    for port, _, detour in (
        pair.partition("=") for pair in os.environ.get("DPIN_TEST_ROUTES", "").split(",") if pair
    )
}
_plain = socket.socket.connect


def _connect(self: socket.socket, address: object) -> None:
    match address:
        case (str(host), int(port), *more) if port in ROUTES:
            _plain(self, (host, ROUTES[port], *more))
        case _:
            _plain(self, address)  # type: ignore[arg-type]


if ROUTES:
    setattr(socket.socket, "connect", _connect)  # noqa: B010  A method, which mypy guards.
