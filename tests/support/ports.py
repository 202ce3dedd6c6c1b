"""Ports for those who must know theirs before they listen."""

import socket
from contextlib import suppress
from random import SystemRandom
from typing import Final

# Below what systems give to those who take any port: nobody comes by one of these meanwhile.
CHOSEN_FROM: Final = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """So many ports of loopback on which nobody listens now."""
    found: list[int] = []
    for port in SystemRandom().sample(CHOSEN_FROM, len(CHOSEN_FROM)):
        if len(found) == count:
            break
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found
