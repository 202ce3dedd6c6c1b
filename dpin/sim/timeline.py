"""One heap, one clock, one seed; and the record of all that happened."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from heapq import heappop, heappush
from itertools import count
from typing import Final, Protocol

import msgspec

from dpin.base.chance import Chance
from dpin.base.ids import NodeId
from dpin.base.units import Instant

BEGINNING: Final = Instant(1_700_000_000_000_000)
CROWD_MAX: Final = 20_000  # more at one instant: some machines answer each other in a circle
TAIL_MAX: Final = 200  # last steps kept for people who look for a cause

_described = msgspec.msgpack.Encoder(order="deterministic")


def dice(seed: int, concern: str, *whose: bytes) -> Chance:
    """A stream for one concern of one owner; drawing from it moves no other stream."""
    return Chance(seed.to_bytes(8) + concern.encode() + b"\0" + b"".join(whose))


@dataclass(frozen=True, slots=True)
class Step:
    """One effect of one node."""

    now: Instant
    node: NodeId
    effect: object


class Check(Protocol):
    """Something that must hold at every step."""

    def see(self, step: Step) -> str | None:
        """Look at one effect, or at Booted or Crashed; say what is wrong, if anything is."""
        ...


class Trace:
    """Everything that happened, as a digest; and what the checks found wrong with it."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.problems: list[str] = []
        self.tail: deque[Step] = deque(maxlen=TAIL_MAX)
        self._checks = checks
        self._digest = sha256()

    @property
    def digest(self) -> str:
        """SHA-256 over time, node and canonical description of every effect; hexadecimal."""
        return self._digest.hexdigest()

    def record(self, step: Step) -> None:
        """Take in one step, and let every check look at it."""
        self.tail.append(step)
        head = step.now.to_bytes(8) + step.node + type(step.effect).__qualname__.encode()
        self._digest.update(head + b"\0" + _described.encode(step.effect))
        for check in self._checks:
            wrong = check.see(step)
            if wrong is not None:
                self.problems.append(f"{type(check).__name__}: {wrong}")


class Timeline:
    """What happens when. Things of one instant happen in the order in which they were planned."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self.steps = 0
        self._order = count()
        self._heap: list[tuple[Instant, int, Callable[[], None]]] = []

    def at(self, when: Instant, action: Callable[[], None]) -> None:
        """Do this when the time comes; now, if it has passed."""
        heappush(self._heap, (max(when, self.now), next(self._order), action))

    def run(self, until: Instant, trace: Trace) -> None:
        """Play all that happens up to `until`, or up to the first problem."""
        crowd = 0
        while self._heap and self._heap[0][0] <= until and not trace.problems:
            when, _, action = heappop(self._heap)
            crowd = crowd + 1 if when == self.now else 0
            if crowd > CROWD_MAX:
                trace.problems.append(f"{crowd} things happen at {when}: some machines circle")
            self.now = when
            self.steps += 1
            action()
        if not trace.problems:
            self.now = max(self.now, until)
