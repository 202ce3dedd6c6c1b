"""What a side of the benchmark of bulk transfers is told, what it measures and what it says.

Imports nothing of the network: a side that needs none of it starts at once.
"""

import resource
import sys
import threading
import time
from typing import Final

import msgspec
import psutil

SAMPLE_SECONDS: Final = 0.02


class Orders(msgspec.Struct, kw_only=True):
    """What a side is told to do."""

    folder: str = ""
    file: str = ""
    seed: int = 1
    addresses: list[str] = []
    blob: str = ""
    length: int = 0
    counter: str = ""  # a file in which chunks that came whole are counted
    port: int = 0
    unpaced: bool = False  # a bare socket is set as the bulk plane sets its own


class Figures(msgspec.Struct, kw_only=True):
    """What a side has measured."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0  # above what the process had when it was ready
    chunks: int = 0  # that came
    address: str = ""
    blob: str = ""
    present: int = 0  # chunks that were there before


def say(figures: Figures) -> None:
    """One line to whoever started this."""
    sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
    sys.stdout.flush()


class Meter:
    """Wall time, CPU time and memory of this process, from now on."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._idle = self._process.memory_info().rss
        self._peak = self._idle
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self._cpu, self._wall = self._used(), time.perf_counter()

    def _used(self) -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def used(self) -> float:
        """CPU seconds so far."""
        return self._used() - self._cpu

    def read(self) -> Figures:
        """The figures so far."""
        seconds, cpu = time.perf_counter() - self._wall, self._used() - self._cpu
        self._over.set()
        self._watcher.join()
        return Figures(seconds=seconds, cpu_seconds=cpu, peak_bytes=self._peak - self._idle)
