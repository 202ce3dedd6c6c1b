"""Nodes on the same local network find each other by multicast DNS.

Optional, and never fatal: where multicast does not work, nothing is found. All of zeroconf runs in
its own threads; what it finds is hearsay, and passes through one bounded queue.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio
from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from dpin.net.address import (
    ADDRESS_TEXT_MAX,
    is_loopback,
    is_public,
    node_in,
    relay_in,
)

SERVICE_TYPE: Final = "_dpin._tcp.local."
LOOKUP_MILLISECONDS: Final = 2000
FOUND_MAX: Final = 64  # waiting to be looked up or told
ADDRESS_KEY: Final = b"address"


class Lan:
    """One presence on the local network. Every method blocks: call it in a thread."""

    def __init__(self) -> None:
        self._zeroconf = Zeroconf(ip_version=IPVersion.V4Only)
        self._browser: ServiceBrowser | None = None

    def announce(self, name: str, address: str) -> None:
        """Say that `address` is served here, under `name` (at most 63 characters)."""
        parts = address.split("/")
        self._zeroconf.register_service(
            ServiceInfo(
                SERVICE_TYPE,
                f"{name}.{SERVICE_TYPE}",
                port=int(parts[4]),
                parsed_addresses=[parts[2]],
                properties={ADDRESS_KEY: address.encode()},
            )
        )

    def browse(self, found: Callable[[str], None]) -> None:
        """Call `found`, in another thread, with the name of each service that appears."""

        def changed(
            zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
        ) -> None:
            del zeroconf, service_type
            if state_change is ServiceStateChange.Added:
                found(name)

        self._browser = ServiceBrowser(self._zeroconf, SERVICE_TYPE, handlers=[changed])

    def look_up(self, name: str) -> str | None:
        """The address that a service announces; None where there is no proper one."""
        info = self._zeroconf.get_service_info(SERVICE_TYPE, name, LOOKUP_MILLISECONDS)
        raw = info.properties.get(ADDRESS_KEY) if info is not None else None
        if raw is None or len(raw) > ADDRESS_TEXT_MAX:
            return None
        address = raw.decode(errors="replace")
        return address if node_in(address) is not None else None

    def close(self) -> None:
        """Take leave."""
        self._zeroconf.close()


def to_announce(addresses: Sequence[str]) -> str | None:
    """The address that others on the local network can dial, if there is one.

    A public one is of no local network: there, nothing is announced or looked for.
    """
    return next((address for address in addresses if _is_local(address)), None)


def _is_local(address: str) -> bool:
    there = address.startswith("/ip4/") and relay_in(address) is None
    return there and not is_loopback(address) and not is_public(address)


async def discover(
    name: str, addresses: Sequence[str], tell: Callable[[str], Awaitable[None]]
) -> None:
    """Announce this node and tell of others until cancelled; raises what zeroconf raises."""
    lan = await trio.to_thread.run_sync(Lan)
    try:
        await _discover(lan, name, addresses, tell)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(lan.close)


async def _discover(
    lan: Lan, name: str, addresses: Sequence[str], tell: Callable[[str], Awaitable[None]]
) -> None:
    token = trio.lowlevel.current_trio_token()
    put, take = trio.open_memory_channel[str](FOUND_MAX)

    def found(service: str) -> None:
        token.run_sync_soon(keep, service)

    def keep(service: str) -> None:
        try:
            put.send_nowait(service)
        except trio.WouldBlock:
            return  # It is announced again.

    mine = to_announce(addresses)
    if mine is not None:
        await trio.to_thread.run_sync(lan.announce, name, mine)
    await trio.to_thread.run_sync(lan.browse, found)
    async for service in take:
        address = await trio.to_thread.run_sync(lan.look_up, service)
        if address is not None and address not in addresses:
            await tell(address)
