"""Neighbours among internet addresses: what one attacker gets cheaply, in bulk, is one group.

A /16 of IPv4 and a /32 of IPv6 are what a provider hands out at once (as in Bitcoin Core's address
manager; Heilman et al., "Eclipse attacks on Bitcoin's peer-to-peer network", USENIX Security 2015).
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

KEPT_MAX: Final = 4096  # results of each function
IPV4: Final = 4
NOWHERE: Final = ""


def ip_in(address: str) -> str:
    """The IP address in `/ip4/…` or `/ip6/…`; empty where there is a name, or nothing."""
    kind, _, rest = address.removeprefix("/").partition("/")
    return rest.partition("/")[0] if kind in {"ip4", "ip6"} else NOWHERE


@lru_cache(maxsize=KEPT_MAX)
def _read(ip: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(ip.partition("%")[0])  # An interface may follow: fe80::1%eth0.
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


@lru_cache(maxsize=KEPT_MAX)
def _within(ip: str, bits: int, bits_of_ipv6: int) -> str:
    found = _read(ip)
    if found is None:
        return NOWHERE
    return str(
        ip_network(f"{found}/{bits if found.version == IPV4 else bits_of_ipv6}", strict=False)
    )


def group_of(ip: str) -> str:
    """The /16 or /32 that an address is in; empty, and so one group, for what is no address."""
    return _within(ip, 16, 32)


def site_of(ip: str) -> str:
    """The /24 or /48 that an address is in: one customer's. Empty for what is no address."""
    return _within(ip, 24, 48)


def is_near(ip: str) -> bool:
    """Whether an address is of this machine or of a private network."""
    found = _read(ip)
    return found is not None and (found.is_private or found.is_loopback)
