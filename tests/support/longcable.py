"""A cable between two namespaces on which packets take long, and some are lost.

Both ends are TUN devices, so it is the kernel's TCP that notices a loss and sends again. It needs
what namespaces need and /dev/net/tun, and no netem, which many kernels are built without.
"""

import fcntl
import os
import random
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from select import select
from time import monotonic
from typing import Final

from tests.support.boxes import move_into
from tests.support.namespaces import Internet

DEVICE: Final = Path("/dev/net/tun")
ONE_WAY: Final = 0.1  # seconds
LOSS: Final = 0.02  # of packets, each way
UNDER_WAY_MAX: Final = 4096
PACKET_MAX: Final = 2048
TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
IFF_TUN_NO_PI: Final = 0x1001
NAME: Final = "far"
ENDS: Final = ("11.9.0.1", "11.9.0.2")


def missing_cable() -> str:
    """Why no such cable can be made here; empty where it can."""
    if not DEVICE.exists():
        return "/dev/net/tun is missing: modprobe tun"
    try:
        DEVICE.open("rb").close()
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"
    return ""


@dataclass
class Cable:
    """What goes through it."""

    ends: tuple[int, int]
    carried: int = 0
    lost: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _under_way: list[tuple[float, int, int, bytes]] = field(default_factory=list)

    def carry(self) -> None:
        """Until `cut`: every packet comes out at the other end, after a while, or never."""
        dice = random.Random(1)  # noqa: S311  No secret.
        while not self._over.is_set():
            due = self._under_way[0][0] if self._under_way else monotonic() + ONE_WAY
            ready, _, _ = select(self.ends, [], [], max(0.0, due - monotonic()))
            for end in ready:
                self._take(end, dice)
            while self._under_way and self._under_way[0][0] <= monotonic():
                _, _, target, packet = heappop(self._under_way)
                os.write(target, packet)

    def _take(self, end: int, dice: random.Random) -> None:
        packet = os.read(end, PACKET_MAX)
        self.carried += 1
        if dice.random() < LOSS or len(self._under_way) >= UNDER_WAY_MAX:
            self.lost += 1
            return
        other = self.ends[end == self.ends[0]]
        heappush(self._under_way, (monotonic() + ONE_WAY, self.carried, other, packet))

    def cut(self) -> None:
        """Nothing comes out any more."""
        self._over.set()


def _end(namespace: str, address: str) -> int:
    """The descriptor of a new device in a namespace, with its address."""
    made: list[int] = []

    def make() -> None:
        move_into(namespace)
        made.append(os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK))
        fcntl.ioctl(made[0], TUNSETIFF, struct.pack("16sH22x", NAME.encode(), IFF_TUN_NO_PI))

    thread = threading.Thread(target=make)  # A thread that has moved stays where it is.
    thread.start()
    thread.join()
    for words in (("addr", "add", f"{address}/30", "dev", NAME), ("link", "set", NAME, "up")):
        subprocess.run(["ip", "-n", namespace, *words], check=True, timeout=20)  # noqa: S603, S607
    return made[0]


@contextmanager
def long_cable(world: Internet) -> Iterator[tuple[str, str, Cable]]:
    """Two namespaces with nothing but the cable between them."""
    one, other = world.namespace("near"), world.namespace("far")
    cable = Cable((_end(one, ENDS[0]), _end(other, ENDS[1])))
    thread = threading.Thread(target=cable.carry, name="cable")
    thread.start()
    try:
        yield one, other, cable
    finally:
        cable.cut()
        thread.join()
        for end in cable.ends:
            os.close(end)


def sent_again(namespace: str) -> int:
    """How many segments the kernel's TCP had to send again in a namespace."""
    words = ("ip", "netns", "exec", namespace, "cat", "/proc/net/snmp")
    told = subprocess.run(words, check=True, capture_output=True, text=True, timeout=20).stdout  # noqa: S603
    names, values = (line.split() for line in told.splitlines() if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["RetransSegs"])
