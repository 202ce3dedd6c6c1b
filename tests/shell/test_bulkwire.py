"""The socket under a bulk socket."""

import socket as plain
import sys
from typing import Final

import pytest
import trio

from dpin.net.bulkwire import UNPACED, unpaced_at_home

AWAY: Final = "192.0.2.7"  # of documentation: nobody's


class Socket:
    """What is set on a socket to some peer."""

    family = plain.AF_INET

    def __init__(self, peer: str) -> None:
        self.chosen: list[tuple[int, int, bytes]] = []
        self._peer = peer

    def getpeername(self) -> tuple[str, int]:
        """Where the other end is."""
        return self._peer, 1

    def setsockopt(self, *chosen: object) -> None:
        """Noted."""
        self.chosen.append(chosen)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a socket choose")
async def test_a_socket_within_one_machine_is_not_paced() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with listeners[0], await trio.open_tcp_stream("127.0.0.1", port) as stream:
        unpaced_at_home(stream.socket)
        kind = stream.socket.getsockopt(plain.IPPROTO_TCP, plain.TCP_CONGESTION, 16)
        assert bytes(kind).rstrip(b"\0") == UNPACED


def test_a_socket_to_another_machine_stays_as_the_system_has_it() -> None:
    away, home = Socket(AWAY), Socket("::1")
    unpaced_at_home(away)  # type: ignore[arg-type]
    unpaced_at_home(home)  # type: ignore[arg-type]
    assert away.chosen == []
    assert len(home.chosen) == (sys.platform == "linux")
