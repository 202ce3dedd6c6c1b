"""Hours of a week, as people write them: "22:00-07:00, sat-sun 00:00-24:00"."""

import re
from dataclasses import dataclass
from typing import Final

from dpin.base.errors import Misuse

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOUR: Final = 60  # minutes
DAY: Final = 24 * HOUR
WEEK: Final = len(DAYS) * DAY
SPANS_MAX: Final = 32
TEXT_CHARS_MAX: Final = 1_024
_DAY_NAMES: Final = "|".join(DAYS)
_SPAN: Final = re.compile(
    rf"(?:(?P<first>{_DAY_NAMES})(?:-(?P<last>{_DAY_NAMES}))?\s+)?"
    r"(?P<begin>[0-9]{1,2}:[0-9]{2})-(?P<end>[0-9]{1,2}:[0-9]{2})"
)
_FIX: Final = 'write it as hours = "22:00-07:00, sat-sun 00:00-24:00", in local time'


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of minutes of the week from monday 00:00 on; none: always."""

    spans: tuple[tuple[int, int], ...] = ()  # begin and length

    def covers(self, minute: int) -> bool:
        """Whether they hold in this minute of the week."""
        near = any((minute - begin) % WEEK < length for begin, length in self.spans)
        return near or not self.spans

    def wait(self, minute: int) -> int:
        """Minutes from this one until they hold; 0 where they do."""
        if self.covers(minute):
            return 0
        return min((begin - minute) % WEEK for begin, _ in self.spans)


ALWAYS: Final = Hours()


def parse_hours(text: str) -> Hours:
    """Read them; raises Misuse. A span that ends before it begins goes on into the next day."""
    if len(text) > TEXT_CHARS_MAX:
        raise Misuse(f"hours of more than {TEXT_CHARS_MAX} characters", fix=_FIX)
    parts = [part.strip() for part in text.lower().split(",")] if text.strip() else []
    if len(parts) > SPANS_MAX:
        raise Misuse(f"{len(parts)} spans of hours, at most {SPANS_MAX} are taken", fix=_FIX)
    return Hours(tuple(span for part in parts for span in _spans(part)))


def _spans(part: str) -> list[tuple[int, int]]:
    found = _SPAN.fullmatch(part)
    if found is None:
        raise Misuse(f"{part!r} is no span of hours", fix=_FIX)
    begin, end = _minute(found["begin"]), _minute(found["end"])
    if begin in {end, DAY}:
        raise Misuse(f"{part!r} has no minute in it", fix=f"{_FIX}; all day is 00:00-24:00")
    length = (end - begin) % DAY or DAY
    return [(day * DAY + begin, length) for day in _days(found["first"], found["last"])]


def _days(first: str | None, last: str | None) -> list[int]:
    if first is None:
        return list(range(len(DAYS)))
    begin = DAYS.index(first)
    count = (DAYS.index(last or first) - begin) % len(DAYS) + 1
    return [(begin + step) % len(DAYS) for step in range(count)]


def _minute(text: str) -> int:
    hour, minute = (int(number) for number in text.split(":"))
    found = hour * HOUR + minute
    if minute >= HOUR or found > DAY:
        raise Misuse(f"{text!r} is no time of a day", fix=_FIX)
    return found


def clock_text(minute: int, now: int) -> str:
    """A minute of the week for people, with the day where it is another than that of `now`."""
    day, within = divmod(minute % WEEK, DAY)
    name = "" if day == now // DAY else f"{DAYS[day]} "
    return f"{name}{within // HOUR:02}:{within % HOUR:02}"
