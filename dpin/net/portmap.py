"""UPnP: the router is asked to pass on connections to the port that a node listens on.

Optional, and never fatal or waited for: most of the time is the router's. The mapping is asked for
again now and then, as routers forget; leaving, the node takes it back.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio
from libp2p.discovery.upnp.upnp import UpnpManager

from dpin.net.address import is_loopback
from dpin.net.contained import Contained
from dpin.net.reach import Mapping

RENEW_SECONDS: Final = 1200.0
RETRY_SECONDS: Final = 600.0
LEAVE_SECONDS: Final = 2.0

Opened = Callable[[Mapping, tuple[str, ...]], None]


def _to_map(listening: Sequence[str]) -> list[tuple[int, str]]:
    """Ports to be opened, each with the ending of its address: those on IPv4 that are not alone."""
    found: dict[int, str] = {}
    for address in listening:
        parts = address.split("/")
        if parts[1] == "ip4" and not is_loopback(address):
            found.setdefault(int(parts[4]), parts[6])
    return sorted(found.items())


class Router(Protocol):
    """A router that may speak UPnP; no method raises."""

    async def discover(self) -> bool:
        """Look for it, for two seconds."""
        ...

    async def add_port_mapping(self, port: int) -> bool:
        """Have a port passed on to the same port here."""
        ...

    async def remove_port_mapping(self, port: int) -> bool:
        """No longer."""
        ...

    def get_external_ip(self) -> str | None:
        """Its address outside."""
        ...


async def keep(listening: Sequence[str], opened: Opened, router: Router | None = None) -> None:
    """Have the ports mapped until cancelled; `opened` is told of every change."""
    wanted = _to_map(listening)
    router = router or UpnpManager()
    mapped: set[int] = set()
    try:
        while wanted:
            opened(*await _map(router, wanted, mapped))
            await trio.sleep(RENEW_SECONDS if mapped else RETRY_SECONDS)
    finally:
        with trio.CancelScope(deadline=trio.current_time() + LEAVE_SECONDS, shield=True):
            for port in sorted(mapped):
                await router.remove_port_mapping(port)


async def _map(
    router: Router, wanted: Sequence[tuple[int, str]], mapped: set[int]
) -> tuple[Mapping, tuple[str, ...]]:
    mapped.clear()
    found = False
    with Contained():
        found = await router.discover()
    if not found:
        return Mapping.NO_GATEWAY, ()
    for port, _ in wanted:
        with Contained():
            if await router.add_port_mapping(port):
                mapped.add(port)
    if not mapped:
        return Mapping.REFUSED, ()
    outside = router.get_external_ip()
    at = [f"/ip4/{outside}/tcp/{port}/p2p/{peer}" for port, peer in wanted if port in mapped]
    return Mapping.MAPPED, tuple(at)
