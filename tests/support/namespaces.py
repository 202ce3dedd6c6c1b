"""A small internet of network namespaces, made and taken away by the test that needs it.

One public network (a bridge, 11.0.0.0/16 and 2a11::/64) and machines on it: with an address of
their own, behind one router or two, behind a firewall. Linux needs root and nft for it; where
either is missing, `missing` says what, and the test is skipped with that reason.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count

_NUMBERS = count(2)


class Kind(StrEnum):
    """How a machine stands in the internet."""

    PUBLIC = "public"
    FULL_CONE = "full cone"  # whoever has sent from a port can be sent to at that port, by anybody
    RESTRICTED = "port-restricted"  # ports are kept; only those sent to may answer
    SYMMETRIC = "symmetric"  # a new port for each connection
    TWO_NATS = "two NATs"  # both port-restricted
    NO_INBOUND = "no inbound"  # a public address, all that was not asked for is dropped
    IPV6_ONLY = "IPv6 only"


# What comes from outside and was not asked for is dropped, as home routers do.
_FILTER = """
table inet guard {
  chain in { type filter hook input priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" meta l4proto icmpv6 accept
    iifname "wan" drop
  }
  chain through { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ct status dnat accept
    iifname "lan" accept
  }
}
"""
_KEEPS_PORTS = """
table ip nat {
  chain out { type nat hook postrouting priority 100; oifname "wan" masquerade
  }
}
"""
_NEW_PORTS = """
table ip nat {
  chain out { type nat hook postrouting priority 100; oifname "wan" masquerade fully-random
  }
}
"""
_CONE = """
table ip nat {
  set mapped { type inet_service; flags timeout; timeout 10m; }
  chain sent { type filter hook forward priority -10;
    iifname "lan" ip protocol tcp add @mapped { tcp sport }
  }
  chain out { type nat hook postrouting priority 100; oifname "wan" masquerade
  }
  chain back { type nat hook prerouting priority -100;
    iifname "wan" tcp dport @mapped dnat to 192.168.1.2
  }
}
"""
_FIREWALL = """
table inet guard {
  chain in { type filter hook input priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" meta l4proto icmpv6 accept
    iifname "wan" drop
  }
}
"""


def missing() -> str:
    """Why no namespaces can be made here; empty where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    for tool, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(tool) is None:
            return f"{tool} is missing: apt-get install {package}"
    name = f"dpin-try-{os.getpid()}"
    try:
        _run("ip", "netns", "add", name)
    except subprocess.CalledProcessError as error:
        return f"ip netns add: {error.stderr.strip()}"
    try:
        _nft(name, _FILTER + _NEW_PORTS)
    except subprocess.CalledProcessError as error:
        return f"this kernel's nft has no NAT: {error.stderr.strip().splitlines()[0]}"
    finally:
        _run("ip", "netns", "del", name)
    return ""


def _run(*words: str, text: str | None = None) -> None:
    subprocess.run(  # noqa: S603 (our own words)
        words, input=text, check=True, capture_output=True, text=True, timeout=20
    )


def _nft(namespace: str, rules: str) -> None:
    _run("ip", "netns", "exec", namespace, "nft", "-f", "-", text=rules)


@dataclass
class Internet:
    """The bridge, and every namespace hung on it."""

    name: str
    made: list[str] = field(default_factory=list)

    def namespace(self, what: str) -> str:
        """A new empty namespace, loopback up."""
        name = f"{self.name}-{what}"
        _run("ip", "netns", "add", name)
        self.made.append(name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        # A second address is there at once, instead of after a second of asking for others.
        _sysctl(name, "net.ipv6.conf.default.accept_dad=0")
        return name

    def wire(self, one: str, ends: tuple[str, str], other: str) -> None:
        """A cable between two namespaces; `ends` are the names of its ends."""
        plug = f"v{os.getpid() % 10_000}{next(_NUMBERS)}"
        words = ("link", "add", plug, "netns", one, "type", "veth", "peer", "name", f"{plug}p")
        _run("ip", *words, "netns", other)
        for space, end, plugged in ((one, ends[0], plug), (other, ends[1], f"{plug}p")):
            _run("ip", "-n", space, "link", "set", plugged, "name", end)
            _run("ip", "-n", space, "link", "set", end, "up")

    def machine(self, kind: Kind) -> str:
        """A machine of a kind; returns its namespace."""
        number = next(_NUMBERS)
        inside = self.namespace(f"m{number}")
        if kind in {Kind.PUBLIC, Kind.NO_INBOUND, Kind.IPV6_ONLY}:
            self._plug(inside, number, v4=kind is not Kind.IPV6_ONLY)
            if kind is Kind.NO_INBOUND:
                _nft(inside, _FIREWALL)
            return inside
        router = self.namespace(f"r{number}")
        if kind is Kind.TWO_NATS:
            outer = self.namespace(f"o{number}")
            self._plug(outer, number)
            self._behind(outer, router, "wan", "10.1.1")
            self._route(outer, _KEEPS_PORTS)
        else:
            self._plug(router, number)
        self._behind(router, inside, "eth", "192.168.1")
        rules = {Kind.FULL_CONE: _CONE, Kind.SYMMETRIC: _NEW_PORTS}
        self._route(router, rules.get(kind, _KEEPS_PORTS))
        return inside

    def router_of(self, machine: str) -> str:
        """The namespace of the router that a machine is behind."""
        return machine.replace(f"{self.name}-m", f"{self.name}-r")

    def _plug(self, namespace: str, number: int, *, v4: bool = True) -> None:
        """Hang a namespace on the bridge, as its `wan`."""
        self.wire(namespace, ("wan", f"p{number}"), self.name)
        _run("ip", "-n", self.name, "link", "set", f"p{number}", "master", "bridge")
        if v4:
            address = f"11.0.{number // 250}.{number % 250 + 1}/16"
            _run("ip", "-n", namespace, "addr", "add", address, "dev", "wan")
            _run("ip", "-n", namespace, "route", "add", "default", "dev", "wan")
        address = f"2a11::{number:x}/64"
        _run("ip", "-n", namespace, "addr", "add", address, "dev", "wan", "nodad")

    def _behind(self, router: str, inside: str, end: str, net: str) -> None:
        self.wire(router, ("lan", end), inside)
        _run("ip", "-n", router, "addr", "add", f"{net}.1/24", "dev", "lan")
        _run("ip", "-n", inside, "addr", "add", f"{net}.2/24", "dev", end)
        _run("ip", "-n", inside, "route", "add", "default", "via", f"{net}.1")

    def _route(self, router: str, nat: str) -> None:
        _sysctl(router, "net.ipv4.ip_forward=1")
        _nft(router, _FILTER + nat)


def _sysctl(namespace: str, setting: str) -> None:
    _run("ip", "netns", "exec", namespace, "sysctl", "-qw", setting)


@contextmanager
def internet() -> Iterator[Internet]:
    """An empty internet; all of it is gone afterwards."""
    world = Internet(f"dpin{os.getpid()}-{next(_NUMBERS)}")
    try:
        _run("ip", "netns", "add", world.name)
        world.made.append(world.name)
        _run("ip", "-n", world.name, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", world.name, "link", "set", "bridge", "up")
        yield world
    finally:
        for name in reversed(world.made):
            subprocess.run(  # noqa: S603
                ["ip", "netns", "del", name],  # noqa: S607
                check=False,
                capture_output=True,
                timeout=20,
            )
