"""A line that delays and loses packets, in user space: a tunnel between two network namespaces."""

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import threading
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Final

from tests.support.boxes import move_into

TUNSETIFF: Final = 0x400454CA
IFF_TUN: Final = 0x0001
IFF_NO_PI: Final = 0x1000
PACKET_BYTES: Final = 65_536
IDLE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Badness:
    """How bad, each way."""

    delay_seconds: float = 0.1
    loss: float = 0.02
    seed: int = 1


def _tunnel(namespace: str, name: str) -> int:
    """A tunnel device in a namespace; whatever is sent into it can be read here."""
    move_into(namespace)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


class BadLine:
    """Carries packets between `one` and `other` until closed; the devices exist after the start."""

    def __init__(self, one: tuple[str, str], other: tuple[str, str], badness: Badness) -> None:
        self.carried = 0
        self.lost = 0
        self._ends = (one, other)
        self._badness = badness
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bad line")
        self._thread.start()
        assert self._ready.wait(5), "no tunnel"

    def _run(self) -> None:
        first, second = (_tunnel(*end) for end in self._ends)
        self._ready.set()
        try:
            self._carry({first: second, second: first})
        finally:
            os.close(first)
            os.close(second)

    def _carry(self, across: dict[int, int]) -> None:
        chance = random.Random(self._badness.seed)  # noqa: S311 (no secret)
        order = count()
        waiting: list[tuple[float, int, int, bytes]] = []
        while not self._stop.is_set():
            pause = max(0.0, waiting[0][0] - monotonic()) if waiting else IDLE_SECONDS
            for end in select.select(list(across), [], [], min(pause, IDLE_SECONDS))[0]:
                packet = os.read(end, PACKET_BYTES)
                if chance.random() < self._badness.loss:
                    self.lost += 1
                    continue
                at = monotonic() + self._badness.delay_seconds
                heapq.heappush(waiting, (at, next(order), across[end], packet))
            while waiting and waiting[0][0] <= monotonic():
                _, _, end, packet = heapq.heappop(waiting)
                self.carried += 1
                with contextlib.suppress(OSError):  # The device is down: so is the line.
                    os.write(end, packet)

    def close(self) -> None:
        """Cut it."""
        self._stop.set()
        self._thread.join(5)
