"""A stock router that speaks UPnP: miniupnpd, as Debian ships it, and a host behind it.

The host is a process of its own, `python -m tests.support.upnp`: what a thread of trio does for it
must be in its namespace, and trio lends a thread to whoever needs one.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from dpin.base.machine import Received
from dpin.net.host import Host, HostOptions, open_host
from dpin.net.reach import Plan
from tests.support.boxes import LISTEN

STOP_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 90.0  # with the router; it takes a few
OUTSIDE: Final = "/ip4/11."  # the public network of `namespaces`
_CONFIG: Final = """
ext_ifname=wan
listening_ip=lan
enable_natpmp=no
enable_upnp=yes
secure_mode=yes
system_uptime=yes
notify_interval=60
uuid=6a2f8a5c-3f55-4d0e-9d5e-2f1d6f0b7a11
lease_file={folder}/leases
allow 1024-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
# What its own nft_init.sh makes, but for the policy: the router's own table drops what it should.
_CHAINS: Final = """
table inet filter {
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd
  }
  chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd
  }
  chain postrouting { type nat hook postrouting priority 100; jump postrouting_miniupnpd
  }
}
"""


def missing_router() -> str:
    """Why there is no stock router here; empty where there is."""
    if shutil.which("miniupnpd") is None:
        return "miniupnpd is missing: apt-get install miniupnpd"
    return ""


class Router:
    """The namespace of a router with a daemon in it."""

    def __init__(self, namespace: str) -> None:
        self._enter = ("ip", "netns", "exec", namespace)

    def passes_on(self, port: int) -> bool:
        """Whether connections to a port go on to somebody inside."""
        words = (*self._enter, "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd")
        listed = subprocess.run(words, check=True, capture_output=True, text=True, timeout=20)  # noqa: S603
        return f"dport {port} " in listed.stdout

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        """The daemon, until it is told to end."""
        config = folder / "miniupnpd.conf"
        config.write_text(_CONFIG.format(folder=folder))
        chains = (*self._enter, "nft", "-f", "-")
        subprocess.run(chains, input=_CHAINS, check=True, capture_output=True, text=True)  # noqa: S603
        pid = str(folder / "pid")  # Its usual place is one for all namespaces.
        words = (*self._enter, "miniupnpd", "-d", "-f", str(config), "-P", pid)
        with (folder / "log").open("w") as log:
            daemon = subprocess.Popen(words, stdout=log, stderr=log)  # noqa: S603
            try:
                yield
            finally:
                daemon.terminate()
                daemon.wait(STOP_SECONDS)


class Mapped:
    """A host behind a router, once its port is mapped: it says back what it hears."""

    def __init__(self, namespace: str) -> None:
        words = ("ip", "netns", "exec", namespace, sys.executable, "-m", __name__)
        self._process = subprocess.Popen(  # noqa: S603
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def address(self) -> str:
        """Where it believes to be reached from outside; waits until it knows."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it, and wait until it has given back what it had."""
        self._process.communicate(timeout=STOP_SECONDS)


async def _live() -> None:
    options = HostOptions(bytes([2]) * 32, LISTEN, routes=Plan(upnp=True))
    async with open_host(options) as host, trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE_SECONDS):
            while not (outside := [one for one in host.addresses if one.startswith(OUTSIDE)]):
                await trio.sleep(0.05)
        sys.stdout.write(f"{outside[0]}\n")
        sys.stdout.flush()
        nursery.start_soon(_echo, host)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


async def _echo(host: Host) -> None:
    while True:
        event = await host.events.receive()
        if isinstance(event, Received):
            host.send(event.peer, event.payload)


if __name__ == "__main__":
    trio.run(_live)
