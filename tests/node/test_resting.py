"""When a node takes no new work: its owner's word, and its owner's limits."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import Misuse
from dpin.market.provider import Rest
from dpin.node.hours import DAY, WEEK, Hours, clock_text, parse_hours
from dpin.node.resting import FOR_EVER, TAKES, Limits, Reading, Word, rest
from dpin.node.seen import Seen
from dpin.node.warden import Warden, read_machine

NOON = DAY + 12 * 60  # tuesday
NOW_MS = 1_700_000_000_000
NIGHTS = parse_hours("22:00-07:00")
NOON_READ = Reading(NOW_MS, NOON)


def at(day: int, hour: int, minute: int = 0) -> int:
    return day * DAY + hour * 60 + minute


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("", [0, NOON, WEEK - 1], []),
        ("22:00-07:00", [at(0, 22), at(0, 23, 59), at(1, 6, 59), at(0, 0)], [at(0, 7), NOON]),
        ("09:00-17:30", [at(6, 17, 29)], [at(6, 17, 30), at(6, 8, 59)]),
        ("sat-sun 00:00-24:00", [at(5, 0), at(6, 23, 59)], [at(0, 0), at(4, 23, 59)]),
        ("Sun 22:00-07:00", [at(6, 22), at(0, 6, 59)], [at(0, 7), at(1, 0), at(6, 0)]),
        ("fri-mon 08:00-09:00", [at(day, 8) for day in (4, 5, 6, 0)], [at(1, 8), at(3, 8)]),
        ("22:00-07:00, sat-sun 00:00-24:00", [at(5, 12), at(2, 3)], [at(2, 12)]),
        ("00:00-00:01", [at(3, 0)], [at(3, 0, 1)]),
    ],
)
def test_hours_hold_in_the_minutes_that_they_name(
    text: str, inside: list[int], outside: list[int]
) -> None:
    hours = parse_hours(text)
    assert all(hours.covers(minute) for minute in inside)
    assert not any(hours.covers(minute) for minute in outside)


@pytest.mark.parametrize(
    "text",
    [
        "22-7", "22:00", "25:00-01:00", "24:01-02:00", "10:60-11:00", "10:00-10:00",
        "day 1:00-2:00", "24:00-01:00", "10:00-11:00,",
        "10:00-11:00;12:00-13:00", "٢٢:00-07:00", "1:00-2:00," * 40,
        "x" * 2_000,
    ],
)  # fmt: skip
def test_what_is_no_hours_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Misuse) as refused:
        parse_hours(text)
    assert "22:00-07:00" in refused.value.fix


spans = st.tuples(st.integers(0, WEEK - 1), st.integers(1, DAY))


@given(st.lists(spans, min_size=1, max_size=5), st.integers(0, WEEK - 1))
def test_the_wait_ends_with_the_first_minute_that_they_hold_in(
    found: list[tuple[int, int]], minute: int
) -> None:
    hours = Hours(tuple(found))
    wait = hours.wait(minute)
    assert hours.covers((minute + wait) % WEEK)
    assert not any(hours.covers((minute + step) % WEEK) for step in range(wait))


def test_a_time_is_told_with_its_day_where_it_is_another() -> None:
    assert clock_text(at(1, 22), NOON) == "22:00"
    assert clock_text(at(2, 7, 5), NOON) == "wed 07:05"
    assert clock_text(WEEK + 30, at(6, 23)) == "mon 00:30"


@pytest.mark.parametrize(
    ("word", "limits", "reading", "state", "why"),
    [
        (Word(), Limits(), NOON_READ, "", ""),
        (Word(drained=True), Limits(NIGHTS), NOON_READ, "draining", "the next start"),
        (Word(paused_until_ms=FOR_EVER), Limits(), NOON_READ, "paused", "until `dpin node resume`"),
        (Word(paused_until_ms=NOW_MS + 1_800_000), Limits(), NOON_READ, "paused", "until 12:30"),
        (Word(paused_until_ms=NOW_MS), Limits(), NOON_READ, "", ""),
        (Word(paused_until_ms=NOW_MS - 1), Limits(NIGHTS), NOON_READ, "resting", "until 22:00"),
        (Word(), Limits(NIGHTS), Reading(NOW_MS, at(3, 23)), "", ""),
        (Word(), Limits(), Reading(NOW_MS, NOON, on_battery=True), "resting", "battery"),
        (Word(), Limits(on_battery=True), Reading(NOW_MS, NOON, on_battery=True), "", ""),
    ],
)
def test_the_strongest_reason_to_rest_is_told(
    word: Word, limits: Limits, reading: Reading, state: str, why: str
) -> None:
    found = rest(word, limits, reading)
    assert found.state == state
    assert why in found.why
    assert (found == TAKES) == (not state)


def test_the_end_of_a_rest_is_told_to_the_minute() -> None:
    found = rest(Word(), Limits(NIGHTS), NOON_READ)
    assert found.until_ms // 60_000 == NOW_MS // 60_000 + 10 * 60


class Machine:
    """A clock that is set by hand, and what the provider was told."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.reading = NOON_READ
        self.told: list[bool] = []
        self.start()

    def start(self) -> None:
        self.seen = Seen()
        self.warden = Warden(self.path, self.limits, self.seen, self._tell, lambda: self.reading)

    async def _tell(self, event: Rest) -> None:
        self.told.append(event.rests)


async def test_a_pause_holds_over_a_restart_and_ends_by_itself(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "paused", Limits())
    await machine.warden.pause(1_800_000)
    machine.start()
    assert machine.told == [True]
    assert (await machine.warden.look()).state == machine.seen.rest.state == "paused"
    machine.reading = Reading(NOW_MS + 1_800_000, NOON + 30)
    assert await machine.warden.look() == TAKES
    assert machine.told == [True, True, False]


async def test_a_drain_ends_with_the_run_and_resume_ends_both(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "paused", Limits())
    await machine.warden.drain()
    machine.start()
    assert await machine.warden.look() == TAKES
    await machine.warden.drain()
    assert (await machine.warden.pause(0)).state == "draining"
    assert await machine.warden.resume() == TAKES
    machine.start()
    assert await machine.warden.look() == TAKES
    assert machine.told == [True, True, False]


async def test_to_resume_says_what_still_keeps_the_node_from_work(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "paused", Limits(NIGHTS))
    await machine.warden.pause(0)
    assert "share.hours until 22:00" in (await machine.warden.resume()).why
    machine.reading = Reading(NOW_MS, at(1, 22))
    assert await machine.warden.look() == TAKES


@pytest.mark.parametrize("text", [b"", b"soon\n", b"\xff", b"9" * 40])
async def test_a_file_that_is_no_time_never_stops_a_node(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "paused").write_bytes(text)
    assert (await Machine(tmp_path / "paused", Limits()).warden.look()).state in {"", "paused"}


def test_the_machine_is_read() -> None:
    found = read_machine()
    assert 0 <= found.minute < WEEK
    assert found.now_ms > NOW_MS
