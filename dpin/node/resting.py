"""Whether a node takes new work now, and if not, why and until when: its owner's word and limits.

What was taken is finished all the same: a lease that is left costs its bond.
"""

from dataclasses import dataclass
from typing import Final

from dpin.node.hours import ALWAYS, Hours, clock_text
from dpin.node.status import RestView

FOR_EVER: Final = 0  # of a pause: until somebody ends it
MINUTE_MS: Final = 60_000
TAKES: Final = RestView()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings say."""

    hours: Hours = ALWAYS
    on_battery: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What the machine says."""

    now_ms: int
    minute: int  # of the local week, from monday 00:00 on
    on_battery: bool = False


@dataclass(slots=True)
class Word:
    """What the owner has said since the start (`drained`), or for longer."""

    drained: bool = False
    paused_until_ms: int | None = None  # None: it is not; FOR_EVER, or Unix time


def rest(word: Word, limits: Limits, reading: Reading) -> RestView:
    """Why nothing new is taken now, and until when, if so. The strongest reason counts."""
    until = word.paused_until_ms
    if word.drained:
        return _rest("draining", "until `dpin node resume`, or the next start")
    if until == FOR_EVER:
        return _rest("paused", "paused by you, until `dpin node resume`")
    if until is not None and until > reading.now_ms:
        at = clock_text(reading.minute + _minutes(until - reading.now_ms), reading.minute)
        return _rest("paused", f"paused by you until {at}, or `dpin node resume`", until)
    if reading.on_battery and not limits.on_battery:
        return _rest("resting", "this machine runs on its battery, and share.on_battery is false")
    if wait := limits.hours.wait(reading.minute):
        at = clock_text(reading.minute + wait, reading.minute)
        until = (reading.now_ms // MINUTE_MS + wait) * MINUTE_MS
        return _rest("resting", f"outside of share.hours until {at}", until)
    return TAKES


def _rest(state: str, why: str, until_ms: int = 0) -> RestView:
    return RestView(state=state, why=why, until_ms=until_ms)


def _minutes(milliseconds: int) -> int:
    return -(-milliseconds // MINUTE_MS)
